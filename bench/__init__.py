"""What PeerBot adds to the bare Claude Code CLI, measured in one run: `make bench`. It asserts no times."""
