"""A card that is drawn again and again: its newest face, and the one that people see."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from peerbot.conversation.progress import Progress
from peerbot.conversation.spent import Spent
from peerbot.slack.card import State


@dataclass(frozen=True, slots=True)
class Face:
    """The changing part of a card."""

    state: State
    report: Progress | None = None
    place: int | None = None
    note: str = ""
    spent: Sequence[Spent] = ()  # at the turn's end
    moved_at: float = 0


@dataclass(slots=True)
class Live:
    """A card that we draw again and again."""

    newest: Face
    drawn: Face | None = None
    read: set[str] = field(default_factory=set)  # later messages that have our sign that the agent has read them
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def face(self) -> Face:
        """Take the newest face, to draw it now."""
        self.drawn = self.newest
        return self.newest
