"""Where runs run: a port, and one module for each place."""
