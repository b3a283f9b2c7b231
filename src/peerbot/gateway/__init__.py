"""The API for workers, and its two relays. It checks every caller, and holds all credentials; a worker holds none."""
