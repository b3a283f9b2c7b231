"""PeerBot: Claude Code in Slack threads, on your own machines."""

__version__ = "0.1.0"
