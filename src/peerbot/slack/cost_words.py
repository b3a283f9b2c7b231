"""What work costs, in words for people: in an answer's last line, on the card, and in the notes about budgets. Pure."""

from collections.abc import Sequence

from peerbot.conversation.documents import Turn
from peerbot.conversation.limits import Scope, begins_again
from peerbot.conversation.notes import BudgetNear, BudgetUsedUp
from peerbot.conversation.spent import Spent, dollars, tokens_read, tokens_written

_WHOSE = {
    Scope.TURN: "This turn's budget",
    Scope.THREAD: "This thread's budget",
    Scope.PERSON: "Your budget",
    Scope.CHANNEL: "This channel's budget",
    Scope.MONTH: "The budget for everybody",
}
_SETTINGS = {
    Scope.TURN: "PEERBOT_RUN_BUDGET_USD",
    Scope.THREAD: "PEERBOT_THREAD_BUDGET_USD",
    Scope.PERSON: "PEERBOT_PERSON_MONTH_BUDGET_USD",
    Scope.CHANNEL: "PEERBOT_CHANNEL_MONTH_BUDGET_USD",
    Scope.MONTH: "PEERBOT_MONTH_BUDGET_USD",
}
_APPS = "PEERBOT_ALLOWED_APPS"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def turn_cost(turn: Turn) -> list[str]:
    """Say what a turn has cost, as parts of a line. Turns of earlier releases have dollars alone."""
    if turn.spent:
        return cost(turn.spent)
    return [_usd(turn.cost_usd)] if turn.cost_usd is not None else []


def cost(spent: Sequence[Spent]) -> list[str]:
    """Say what work has cost, as parts of a line: dollars, and the tokens that the models read and wrote."""
    if not spent:
        return []
    return [_usd(dollars(spent)), f"{_count(tokens_read(spent))} tokens read, {_count(tokens_written(spent))} written"]


def budget_used_up(note: BudgetUsedUp) -> str:
    """Say which budget is used up, when it begins again, and who may raise it."""
    used_up = f"{_which(note)} is used up."
    match note.scope:
        case Scope.TURN:
            return f"{used_up} Write here again to go on with a new one, or ask {_may_raise(note)} to raise it."
        case Scope.THREAD:
            return f"{used_up} Start a new thread, or ask {_may_raise(note)} to raise it. Then write here again."
    again = begins_again(note.month) if note.month else None
    begins = f" It begins again on 1 {MONTHS[again.month - 1]} (UTC)." if again else ""
    return f"{used_up}{begins} If you need it earlier, ask {_may_raise(note)} to raise it. Then write here again."


def budget_near(note: BudgetNear) -> str:
    """Say how much of a budget is spent, and who may raise it."""
    return (
        f"_{_which(note)} is nearly spent: ${note.spent_usd:.2f} so far. I stop when nothing is left. "
        f"{_may_raise(note, first=True)} can raise it._"
    )


def _which(note: BudgetUsedUp | BudgetNear) -> str:
    month = f" for {MONTHS[int(note.month[5:7]) - 1]}" if note.month else ""
    whose = "This app's budget" if note.of_app else _WHOSE[note.scope]
    return f"{whose} of {_amount(note.budget_usd)}{month}"


def _may_raise(note: BudgetUsedUp | BudgetNear, *, first: bool = False) -> str:
    """Name the people who may raise a budget. `first`: at the beginning of a sentence."""
    match note.set_by:
        case "channel":
            return "A member of this channel" if first else "a member of this channel"
        case "person":
            return "The person who set it" if first else "the person who set it"
    setting = _APPS if note.of_app else _SETTINGS[note.scope]
    return f"{'Your' if first else 'your'} PeerBot operator (`{setting}`)"


def _amount(usd: float) -> str:
    return f"${usd:g}" if usd == round(usd) else f"${usd:.2f}"


def _usd(usd: float) -> str:
    return f"${usd:.2f}" if usd >= 0.005 else "less than $0.01"


def _count(tokens: int) -> str:
    """Write a number of tokens in three digits or so: `950`, `2.3k`, `118k`, `4.2M`."""
    if tokens < 1000:
        return str(tokens)
    for unit, size in (("k", 1_000), ("M", 1_000_000)):
        if tokens < 999_500 * size / 1000 or unit == "M":
            return f"{tokens / size:.1f}{unit}" if tokens < 9_950 * size / 1000 else f"{tokens / size:.0f}{unit}"
    raise AssertionError("the last unit takes all")
