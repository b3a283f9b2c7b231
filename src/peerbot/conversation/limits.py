"""The budgets that may hold for a request to Claude, and the time for which each holds. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from peerbot.conversation.keys import Conversation

NEAR = 0.8
"""People are told when this part of a budget is spent."""

MONTH = r"^([0-9]{4}-(0[1-9]|1[0-2]))?$"
"""How months are written, as 2026-11; empty: no month."""

LEAST_USD = 0.01
"""A budget with less than this left is used up: no request is cheaper."""


class Scope(StrEnum):
    """Whose spending a budget bounds, from the narrowest to the widest."""

    TURN = "turn"
    THREAD = "thread"
    PERSON = "person"  # in a month, as the two below
    CHANNEL = "channel"
    MONTH = "month"  # everybody's, everywhere


class Limit(BaseModel):
    """A budget in US dollars. `set_by`: whose setting it is, so that people know who may raise it."""

    model_config = ConfigDict(frozen=True)

    scope: Scope
    usd: float
    set_by: Literal["operator", "channel", "person"] = "operator"
    of_app: bool = False  # an app's own


@dataclass(frozen=True, slots=True)
class Purse:
    """What a budget other than a turn's is for: one thread; or one person, one channel or everybody, in one month."""

    scope: Scope
    identity: str
    month: str = ""  # as 2026-11, in UTC; empty: for ever

    @property
    def path(self) -> str:
        """Its part of the journal's keys."""
        return "/".join(filter(None, (self.scope.value, self.identity, self.month)))


def purse(scope: Scope, conversation: Conversation, user: str, moment: datetime) -> Purse:
    """Say from which purse a request of `user` in `conversation` is paid at that moment. A turn has none."""
    month = month_of(moment)
    match scope:
        case Scope.THREAD:
            return Purse(scope, str(conversation))
        case Scope.PERSON:
            return Purse(scope, f"{conversation.team}-{user}", month)
        case Scope.CHANNEL:
            return Purse(scope, f"{conversation.team}-{conversation.channel}", month)
        case Scope.MONTH:
            return Purse(scope, "all", month)
    raise ValueError(f"a {scope} has no purse")


def month_of(moment: datetime) -> str:
    """Name the month of a moment, in UTC: `2026-11`."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def begins_again(month: str) -> date:
    """Say on which day a month's budget begins again. Raises `ValueError` if `month` is none."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).date()
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
