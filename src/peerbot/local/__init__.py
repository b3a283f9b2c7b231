"""The laptop mode: the same product against servers of our own (decision 0005)."""
