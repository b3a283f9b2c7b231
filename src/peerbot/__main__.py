"""`python -m peerbot`."""

from peerbot.cli import main

main()
