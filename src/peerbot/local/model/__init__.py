"""The demo model: a small server that speaks Anthropic's Messages API, so that people can try the product without a
key.

It plays a few fixed pieces, and says so. The real Claude Code writes the files and runs the commands that it asks for,
so everything around the model is real. The tests use it too, and break it on purpose through `Faults`.

Read `server` for the wire, `requests` for how a request is read, `performance` for how the model finds its next step
without a memory, and `plays` for the pieces.
"""

from peerbot.local.model.faults import Faults
from peerbot.local.model.server import DemoModel

__all__ = ["DemoModel", "Faults"]
