"""The Claude API: its credential, its prices, and what a reply has used."""
