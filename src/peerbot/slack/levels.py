"""How plain the blocks of a message have to be: Slack's refusals, remembered for an hour.

A refusal says something about one message, which may be edited later. Only if Slack does not know a type of block at
all does it say something about the workspace; and then too it is tried again after an hour, for Slack may have learnt.
"""

import time
from collections.abc import Callable
from enum import IntEnum

_SECONDS = 3600.0
_MOST = 1_000  # messages
_WORKSPACE = ""

Clock = Callable[[], float]


class Level(IntEnum):
    """Which blocks a message has."""

    ALL = 0
    OLD = 1  # only those that Slack has always had
    NONE = 2


class Levels:
    """What Slack refused in the last hour. `clock` returns seconds, and never goes back."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, tuple[Level, float]] = {}  # by message, oldest first

    def of(self, message: str = _WORKSPACE) -> Level:
        """Return the level to begin with, for a message or a new one."""
        return max(self._known(message), self._known(_WORKSPACE))

    def remember(self, level: Level, message: str = _WORKSPACE) -> None:
        """Keep for an hour that a message needs this level, or that all do."""
        if level <= self.of(message):
            return
        self._refused.pop(message, None)
        self._refused[message] = (level, self._clock() + _SECONDS)
        while len(self._refused) > _MOST:
            del self._refused[next(iter(self._refused))]

    def _known(self, message: str) -> Level:
        level, until = self._refused.get(message, (Level.ALL, 0.0))
        return level if self._clock() < until else Level.ALL
