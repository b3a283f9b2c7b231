"""The pages of a dispatcher for browsers and probes."""
