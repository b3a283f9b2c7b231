"""What a conversation is and what comes next in it. Pure: nothing here does input or output."""
