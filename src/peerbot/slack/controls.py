"""The controls that people find on our messages. Pure.

A button's value is an id of ours, and nothing that we trust: the journal says what it is for.
"""

from collections.abc import Collection

from peerbot.conversation.choices import Act
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


LABELS = {
    Act.CONTINUE: "Continue",
    Act.RETRY: "Retry",
    Act.UNDO: "Undo",
    Act.NEW_SESSION: "New session",
    Act.TERMINAL: "Continue in terminal",
}
CHOICE = "peerbot_choice_"
"""The action ids of the controls below an answer begin with this."""

_BUTTONS = (Act.CONTINUE, Act.RETRY, Act.UNDO)


def choices(turn: int, offered: Collection[Act]) -> list[Block]:
    """Show the controls below the answer of a turn: at most three buttons, a menu, and what people think of it."""
    elements = [_button(act, turn) for act in _BUTTONS if act in offered]
    if menu := [act for act in (Act.NEW_SESSION, Act.TERMINAL) if act in offered]:
        options = [{"text": _plain(LABELS[act]), "value": _value(act, turn)} for act in menu]
        elements.append({"type": "overflow", "action_id": f"{CHOICE}more", "options": options})
    blocks: list[Block] = [{"type": "actions", "elements": elements}] if elements else []
    if Act.GOOD in offered:
        feedback = {
            "type": "feedback_buttons",
            "action_id": f"{CHOICE}feedback",
            "positive_button": _thumb(Act.GOOD, turn, "👍", "Helpful"),
            "negative_button": _thumb(Act.BAD, turn, "👎", "Not helpful"),
        }
        blocks.append({"type": "context_actions", "elements": [feedback]})
    return blocks


def as_buttons(block: Block) -> list[Block]:
    """Show a block of feedback buttons as plain buttons."""
    return [
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": f"{element['action_id']}_{name}"} | element[name]
                for element in block["elements"]
                for name in ("positive_button", "negative_button")
            ],
        }
    ]


def chosen(value: str) -> tuple[str, int] | None:
    """Read the value of a control: the act and the turn; None if it is none of ours."""
    act, _, turn = value.partition(":")
    return (act, int(turn)) if turn.isdecimal() and 0 < len(turn) < 8 and len(act) < 30 and act else None


def _button(act: Act, turn: int) -> Block:
    return {
        "type": "button",
        "action_id": f"{CHOICE}{act.value}",
        "value": _value(act, turn),
        "text": _plain(LABELS[act]),
    }


def _thumb(act: Act, turn: int, sign: str, label: str) -> Block:
    return {"text": _plain(sign), "value": _value(act, turn), "accessibility_label": label}


def _value(act: Act, turn: int) -> str:
    return f"{act.value}:{turn}"


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text}
