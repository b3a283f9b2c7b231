"""The controls that people find on our messages. Pure.

A button's value is an id of ours, and nothing that we trust: the journal says what it is for.
"""

from peerbot.slack.blocks import Block

COMMAND = "/peerbot"
STOP = "peerbot_stop"
STOP_SIGNS = ("x", "octagonal_sign")
"""The reactions that stop the work: ❌ and 🛑."""


def stop_button(turn: int) -> Block:
    """Show the button that stops a turn."""
    button = {
        "type": "button",
        "action_id": STOP,
        "value": str(turn),
        "text": {"type": "plain_text", "text": "Stop"},
        "accessibility_label": "Stop this work. What is done so far is kept.",
    }
    return {"type": "actions", "elements": [button]}
