"""A GitHub for one machine: REST as far as PeerBot uses it, and git over HTTP. Keeps everything in one directory."""

from peerbot.local.github.faults import Call, Fault, Faults
from peerbot.local.github.server import LocalGitHub

__all__ = ["Call", "Fault", "Faults", "LocalGitHub"]
