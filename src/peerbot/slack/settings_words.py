"""The sentences about settings: who changed what, and why something can't be changed. Pure."""

from collections.abc import Mapping, Sequence

from peerbot.conversation.chosen import Choice
from peerbot.conversation.held import Kind
from peerbot.conversation.notes import Refusal

_WORDS = (
    ("repository", "repository", "each person's own"),
    ("others", "further repositories", "none"),
    ("base", "base branch", "the default branch"),
    ("model", "model", "the usual one"),
    ("instructions", "instructions for the agent", "none"),
    ("plan_first", "plan before the work", "no"),
    ("askers", "who may ask", "everybody who may use the bot"),
    ("budget_usd", "budget for a month", "your operator's"),
)
FIELDS = {field: label for field, label, _ in _WORDS}
"""The settings by their names in `Choice`, in words."""

_NOTHING = {field: nothing for field, _, nothing in _WORDS}
_MOST_SHOWN = 600

NOTHING_CHANGED = "Nothing is different from before, so nothing changed."
WAIT = "One moment …"
NOT_OPENED = "I could not open the settings. Try again in a moment."
NOT_SAVED_NOW = "GitHub or Slack does not answer just now, so nothing is saved. Try again in a moment."
NOT_OURS = "This form belongs to another release of PeerBot, so nothing is saved. Open the settings again."
BASE_ALONE = "A base branch needs a repository: fill that in, too, or leave this empty."
YOU_LEAVE_YOURSELF_OUT = "Add yourself, too: otherwise you could not change this any more."


def may_not_set(refusal: Refusal) -> str:
    """Say that somebody may not change a channel's settings."""
    if refusal in (Refusal.UNKNOWN_PERSON, Refusal.UNKNOWN_CHANNEL):
        return "I could not find out who you are or what channel this is, so I changed nothing. Try again in a moment."
    return "Only people who may use this bot in this channel can see and change its settings."


def too_high(most_usd: float) -> str:
    """Say that a budget is above the operator's."""
    return f"Your PeerBot operator allows at most ${most_usd:g} a month. Ask them for more."


def changed(name: str, kind: Kind, before: Choice, after: Choice, names: Mapping[str, str]) -> str:
    """Say who changed which settings, and how. `names`: people's names, by id."""
    whose = "for this channel" if kind == "channel" else "for your own work"
    who = f"{name} changed my settings" if kind == "channel" else "You changed my settings"
    lines = [
        f"• {label}: {shown(field, after, names)} (before: {shown(field, before, names, 80)})"
        for field, label in FIELDS.items()
        if getattr(before, field) != getattr(after, field)
    ]
    when = "They hold for new threads. A budget, plans, and who may ask, hold at once."
    return "\n".join([f"{who} {whose}:", *lines, when])


def changed_meanwhile(name: str, kept: Sequence[str], over: Sequence[str]) -> str:
    """Say what somebody else changed while a person filled in the form, and which of the two holds."""
    parts = []
    if kept:
        parts.append(f"{name} changed {_listed(kept)} meanwhile: that holds, too.")
    if over:
        parts.append(f"{name} had just changed {_listed(over)}, too: yours holds now.")
    return " ".join(parts)


def last_changed(name: str, choice: Choice) -> str:
    """Say who changed the settings last, and when."""
    return f"Changed last by {name} on {choice.chosen_at:%Y-%m-%d at %H:%M} (UTC)."


def _listed(fields: Sequence[str]) -> str:
    return ", ".join(FIELDS[field] for field in fields)


def shown(field: str, choice: Choice, names: Mapping[str, str], most: int = _MOST_SHOWN) -> str:
    """Show what one setting is, as plain text in one line."""
    value = getattr(choice, field)
    if value in ("", [], None, False):
        return _NOTHING[field]
    if field == "budget_usd":
        return f"${value:.2f}"
    if field == "plan_first":
        return "yes"
    if field == "askers":
        return ", ".join(names.get(user, user) for user in value)
    text = ", ".join(value) if isinstance(value, list) else str(value)
    said = " ".join(text.split())
    return said if len(said) <= most else f"{said[:most]} … ({len(text)} characters)"
