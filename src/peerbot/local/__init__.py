"""The laptop mode: the same product against servers of our own (D6)."""
