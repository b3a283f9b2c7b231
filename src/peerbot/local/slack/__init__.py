"""The local Slack: a small workspace with Slack's own Web API and Socket Mode, for one machine.

It is a server of the product: `peerbot local` runs it in Slack's place, and the tests run the dispatcher against it.
"""

from peerbot.local.slack.changes import Change
from peerbot.local.slack.faults import ANY_METHOD, Call, Fault, Faults
from peerbot.local.slack.server import LocalSlack
from peerbot.local.slack.world import NotOk

__all__ = ["ANY_METHOD", "Call", "Change", "Fault", "Faults", "LocalSlack", "NotOk"]
