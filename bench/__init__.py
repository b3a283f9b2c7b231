"""What PeerBot adds to the bare Claude Code CLI, measured in one run: `make bench`. Times are reported, not asserted."""
