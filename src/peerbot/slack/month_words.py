"""What a channel and a person have spent in a month, for the person who asked (`/peerbot cost`). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from peerbot.slack.blocks import count, mrkdwn
from peerbot.slack.cost_words import MONTHS

_MOST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """What a month's turns of somebody cost. `of_usd`: the budget; `rows`: the parts of it, by a word for what."""

    title: str
    usd: float
    turns: int
    of_usd: float | None = None
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    complete: bool = True  # whether the rows count all turns


def month_said(month: str, parts: Sequence[Part]) -> str:
    """Say what a month cost, in mrkdwn."""
    lines = [f"*{MONTHS[int(month[5:]) - 1]} {month[:4]}* (UTC), about, at list prices:"]
    for part in parts:
        budget = f" of ${part.of_usd:,.2f}" if part.of_usd is not None else ""
        lines.append(f"*{mrkdwn(part.title, 80)}:* ${part.usd:,.2f}{budget} in {count(part.turns, 'turn')}")
        for word, rows in part.rows.items():
            if rows:
                lines.append(f"• by {word}: {_listed(rows)}")
        if not part.complete:
            lines.append("• These are too many turns to divide here; `peerbot cost` does that for your operator.")
    return "\n".join(lines)


def _listed(rows: Mapping[str, float]) -> str:
    dearest = sorted(rows.items(), key=lambda row: (-row[1], row[0]))
    shown = [f"{mrkdwn(name, 60)} ${usd:,.2f}" for name, usd in dearest[:_MOST_ROWS]]
    rest = dearest[_MOST_ROWS:]
    return ", ".join([*shown, *([f"{len(rest)} more ${sum(usd for _, usd in rest):,.2f}"] if rest else [])])


NO_COST = "Only people who may use this bot here can see what work here has cost."
COST_TOO_SLOW = "I could not add this up in time. Try again in a moment."
