"""Reads, walks and removes what an agent could write: nothing there is taken for what its name says."""
