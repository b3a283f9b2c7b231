"""What a turn begins with and what it leaves behind."""
