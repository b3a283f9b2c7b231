"""Which settings hold for a new conversation: the operator's bounds, then its channel's settings, then its person's.

Pure, so that tests can list every case. What somebody set and the operator does not allow (any more) is named, and
never replaced by something else without a word.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from peerbot.conversation.chosen import Choice
from peerbot.conversation.limits import Limit, Scope

Kind = Literal["user", "channel"]
"""Whose settings they are."""

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._*-]{1,100}")

MOST_INSTRUCTIONS = 3_000
"""The longest instructions that people may set, in characters: as many as Slack's forms take."""

_SMALL = "haiku"
"""Claude Code uses these models for small tasks of its own, such as a summary of a web page."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator lets people choose: repositories by patterns, and models. `model`: if nobody chooses one."""

    repositories: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    model: str | None = None

    def repository(self, name: str) -> bool:
        """Whether people may choose this repository (`owner/name`, in any case)."""
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.repositories)

    def passes(self, model: str) -> bool:
        """Whether a request for this model may pass."""
        return not self.models or model in (*self.models, self.model) or _SMALL in model

    def model_for(self, chosen: str) -> str | None:
        """The model for work for which people chose this one (or none); None: Claude Code's own default."""
        if chosen and chosen in self.models:
            return chosen
        return self.model or next(iter(self.models), None)


@dataclass(frozen=True, slots=True)
class Held:
    """The settings that hold. `repositories`: none means the person's own, of several somebody picks one.

    `refused`: repositories that are set, and that the operator does not allow; `whose` says who set them.
    """

    repositories: tuple[str, ...] = ()
    base: str = ""
    model: str = ""
    channel_instructions: str = ""
    person_instructions: str = ""
    refused: tuple[str, ...] = ()
    whose: str = ""  # `channel` or `person`


def held(bounds: Bounds, channel: Choice | None, person: Choice | None) -> Held:
    """Say which settings hold. A channel's repositories win over a person's, and bring their base branch."""
    whose, chosen = "channel", channel
    if not (channel and channel.repositories):
        whose, chosen = "person", person
    named = chosen.repositories if chosen else ()
    allowed = tuple(name for name in named if bounds.repository(name))
    models = [choice.model for choice in (channel, person) if choice and choice.model in bounds.models]
    return Held(
        repositories=allowed,
        base=chosen.base if chosen and named else "",
        model=next(filter(None, models), ""),
        channel_instructions=channel.instructions[:MOST_INSTRUCTIONS] if channel else "",
        person_instructions=person.instructions[:MOST_INSTRUCTIONS] if person else "",
        refused=tuple(name for name in named if name not in allowed),
        whose=whose if named else "",
    )


def limits(operators: Iterable[Limit], channel: Choice | None, person: Choice | None, month: str) -> tuple[Limit, ...]:
    """Say which budgets hold in a month: the operator's, and people's own where these are lower."""
    found = {limit.scope: limit for limit in operators}
    theirs = ((Scope.CHANNEL, "channel", channel), (Scope.PERSON, "person", person))
    for scope, set_by, choice in theirs:
        usd = choice.budget_in(month) if choice else None
        if usd is not None and (scope not in found or usd < found[scope].usd):
            found[scope] = Limit(scope=scope, usd=usd, set_by=set_by)
    return tuple(found[scope] for scope in Scope if scope in found)


def most(operators: Iterable[Limit], scope: Scope) -> float | None:
    """The operator's own budget of a scope, which no other may exceed; None if there is none."""
    return next((limit.usd for limit in operators if limit.scope is scope), None)
