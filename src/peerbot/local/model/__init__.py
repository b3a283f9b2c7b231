"""The demo model: a small server that speaks Anthropic's Messages API, so that the product can be tried without a key.

It plays a few fixed pieces and says that it does. What it asks for (files, commands) the real Claude Code does, so
everything around the model is the real thing. The tests use it too, and break it on purpose through `Faults`.

Read `server` for the wire, `requests` for what a request tells, `performance` for how a step is found again without any
memory, `plays` for the pieces.
"""

from peerbot.local.model.faults import Faults
from peerbot.local.model.server import DemoModel

__all__ = ["DemoModel", "Faults"]
