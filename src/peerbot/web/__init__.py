"""What browsers and probes see of a dispatcher."""
