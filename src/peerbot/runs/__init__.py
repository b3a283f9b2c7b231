"""Where runs run: the port, and what both kinds of run share."""
