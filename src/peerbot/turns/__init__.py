"""The beginning and the end of a turn: its repository, branch, session and result."""
