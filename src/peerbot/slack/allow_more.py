"""“Allow $5 more”: the button on an answer that people's own budget ended, and what people read about it. Pure.

The button's value says which budget of which month it would raise, and how high that was. So it raises it once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.conversation.limits import Scope
from peerbot.conversation.notes import BudgetUsedUp, Note, Refusal
from peerbot.slack.blocks import Block

ALLOW_MORE = "peerbot_allow_more"
MORE_USD = 5.0

_VALUE = re.compile(r"(channel|person)/([A-Z0-9]{1,40})/(\d{4}-\d{2})/(\d{1,12})")


@dataclass(frozen=True, slots=True)
class More:
    """The budget that a button would raise. `of`: the channel's id, or the person's."""

    scope: Scope
    of: str
    month: str
    usd: float  # before


def allow_more_button(notes: Sequence[Note], *, channel: str, payer: str) -> Block | None:
    """Show the button, if the turn of these notes ended with a budget that people set themselves."""
    for note in notes:
        if isinstance(note, BudgetUsedUp) and note.set_by != "operator" and note.month:
            of = channel if note.scope is Scope.CHANNEL else payer
            button = {
                "type": "button",
                "action_id": ALLOW_MORE,
                "value": f"{note.scope.value}/{of}/{note.month}/{round(note.budget_usd * 100)}",
                "text": {"type": "plain_text", "text": f"Allow ${MORE_USD:g} more"},
                "accessibility_label": f"Raise this budget by ${MORE_USD:g} for this month.",
            }
            return {"type": "actions", "elements": [button]}
    return None


def read_more(value: str) -> More | None:
    """Read a button's value; None if it is none of ours."""
    found = _VALUE.fullmatch(value)
    return More(Scope(found[1]), found[2], found[3], int(found[4]) / 100) if found else None


def allowed_more(name: str, more: More, usd: float) -> str:
    """Say who allowed how much more, and how to go on."""
    whose = "this channel" if more.scope is Scope.CHANNEL else "their own work"
    return f"{name} allowed ${usd - more.usd:g} more for {whose} this month: ${usd:g} in all. Write here to go on."


def already_allowed(name: str, usd: float) -> str:
    """Say that somebody else was first."""
    return f"{name} had already changed this budget: it is ${usd:g} this month. Write in the thread to go on."


NOT_YOURS = "Only the person whose budget this is can raise it."
BUDGET_GONE = "This budget no longer holds, so there is nothing to raise. Write in the thread to go on."
MONTH_OVER = "This was the budget of a month that is over. Write in the thread to go on with the new one."


def at_the_operators(usd: float) -> str:
    """Say that only the operator can raise it further."""
    return f"Your PeerBot operator allows at most ${usd:g} a month, so only they can raise this further."


def may_not_raise(refusal: Refusal) -> str:
    """Say that somebody may not raise a channel's budget."""
    if refusal in (Refusal.UNKNOWN_PERSON, Refusal.UNKNOWN_CHANNEL):
        return "I could not find out who you are, so I changed nothing. Try again in a moment."
    return "Only people who may use this bot in this channel can raise its budget."
