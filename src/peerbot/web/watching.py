"""Follows conversations for the viewers of this replica: one look for all viewers of a conversation, and none without.

So what pages cost grows with the conversations that somebody looks at, not with those there are. Each look lists a few
folders of the journal, which any replica writes, and reads what is new there.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from peerbot.conversation.keys import Conversation
from peerbot.errors import Busy, PeerBotError
from peerbot.logs import logger
from peerbot.tasks import Tasks
from peerbot.web.overview import Overview, Overviews
from peerbot.web.parts import Parts, Place

log = logger(__name__)

MOST_VIEWERS = 120
"""How many streams a replica has open at once …"""

MOST_OF_ONE = 8
"""… and how many one person."""

BUSY_SECONDS = 1.0
"""The time between two looks at a conversation while somebody works on it …"""

QUIET_SECONDS = 5.0
"""… and while nobody does."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A conversation as the last look found it: its turns as JSON by number, and the parts of its newest turn.

    `trouble` is a sentence if the last look failed; the rest is then of the look before.
    """

    look: int = 0
    overview: Overview | None = None
    turns: dict[int, str] = field(default_factory=dict)
    newest: int = 0
    places: tuple[Place, ...] = ()
    trouble: str = ""


class _Watch:
    """One conversation that somebody looks at."""

    def __init__(self) -> None:
        self.viewers = 0
        self.seen = Seen()
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def show(self, seen: Seen) -> None:
        self.seen = seen
        self.changed.set()
        self.changed = asyncio.Event()


class Watching:
    """Looks at conversations as long as they have viewers."""

    def __init__(self, overviews: Overviews, parts: Parts) -> None:
        self._overviews = overviews
        self._parts = parts
        self._watches: dict[Conversation, _Watch] = {}
        self._people: dict[str, int] = {}
        self._tasks = Tasks()
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether this replica is ending, so that streams end at once."""
        return self._ended.is_set()

    def end(self) -> None:
        """Let all streams end: viewers come back, to another replica."""
        self._ended.set()
        for watch in self._watches.values():
            watch.show(watch.seen)

    async def close(self) -> None:
        """End all looks. Idempotent."""
        self.end()
        await self._tasks.close(0)

    @asynccontextmanager
    async def viewer(self, conversation: Conversation, person: str) -> AsyncIterator["Viewer"]:
        """Let somebody look at a conversation. Raises `Busy` if there are too many viewers."""
        theirs = self._people.get(person, 0)
        if self.ended or theirs >= MOST_OF_ONE or sum(self._people.values()) >= MOST_VIEWERS:
            raise Busy("Too many pages are open here. Close some, or look again in a moment.")
        self._people[person] = theirs + 1
        watch = self._watches.setdefault(conversation, _Watch())
        watch.viewers += 1
        if watch.task is None:
            watch.task = self._tasks.spawn(self._look(conversation, watch))
        try:
            yield Viewer(self, watch)
        finally:
            self._people[person] -= 1
            if not self._people[person]:
                del self._people[person]
            watch.viewers -= 1
            if not watch.viewers:
                del self._watches[conversation]
                watch.task.cancel()

    async def _look(self, conversation: Conversation, watch: _Watch) -> None:
        while not self.ended:
            try:
                watch.show(await self._seen(conversation, watch.seen))
            except PeerBotError as error:
                log.warning("session_not_read", conversation=str(conversation), reason=str(error))
                before = watch.seen
                watch.show(
                    Seen(before.look + 1, before.overview, before.turns, before.newest, before.places, str(error))
                )
            turns = watch.seen.overview.turns if watch.seen.overview else []
            busy = bool(turns) and turns[-1].state in ("waiting", "working", "asks")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), BUSY_SECONDS if busy else QUIET_SECONDS)

    async def _seen(self, conversation: Conversation, before: Seen) -> Seen:
        overview = await self._overviews.of(conversation)
        newest = overview.turns[-1].number if overview.turns else 0
        places = await self._parts.places(conversation, newest) if newest else []
        turns = {turn.number: turn.model_dump_json() for turn in overview.turns}
        return Seen(before.look + 1, overview, turns, newest, tuple(places))


class Viewer:
    """One stream: what is new for it."""

    def __init__(self, watching: Watching, watch: _Watch) -> None:
        self._watching = watching
        self._watch = watch
        self._look = 0
        self._told: dict[int, str] = {}

    async def next(self, seconds: float) -> Seen | None:
        """Wait for the next look; None if there was none in time, or this replica ends."""
        changed = self._watch.changed
        if self._watch.seen.look == self._look and not self._watching.ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), seconds)
        if self._watching.ended or self._watch.seen.look == self._look:
            return None
        self._look = self._watch.seen.look
        return self._watch.seen

    def news(self, seen: Seen) -> list[str]:
        """List the turns that changed since the last call, as JSON."""
        found = []
        for number, made in seen.turns.items():
            digest = hashlib.sha256(made.encode()).hexdigest()
            if self._told.get(number) != digest:
                self._told[number] = digest
                found.append(made)
        return found
