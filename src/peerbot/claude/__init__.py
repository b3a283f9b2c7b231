"""Claude: credentials and the relay to the model API."""
