"""Runs as child processes of a dispatcher, each in a sandbox."""
