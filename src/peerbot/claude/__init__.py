"""The Claude API: its credential, what may pass to it, its prices, and what a reply has used."""
