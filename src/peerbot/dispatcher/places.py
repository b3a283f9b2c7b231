"""At most so many runs at once; who has to wait is served in turn (`conversation/line.py`).

The count is taken from where runs run, not from memory. Two replicas that look in the same moment may start one run
too many each: a bound on load, not a lock.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from peerbot.conversation.keys import Conversation
from peerbot.conversation.line import Waiting, in_turn
from peerbot.journal.journal import Journal
from peerbot.runs.port import Phase, Runs, RunState


class Places:
    """Who waits for a run, in order. A cache: `Reconciler.next_in_line` and the sweep find everybody again."""

    def __init__(self, runs: Runs, journal: Journal, most: int) -> None:
        self._runs = runs
        self._most = most
        self._journal = journal
        self._people: dict[tuple[Conversation, int], str] = {}  # of the runs that there are
        self._served_at: dict[str, float] = {}  # people, since when they have their newest run
        self._waiting: dict[Conversation, Waiting] = {}
        self._held = 0
        self._placing = asyncio.Lock()

    @asynccontextmanager
    async def place(self, conversation: Conversation, waiting: Waiting) -> AsyncIterator[int]:
        """Enter the line; yields 0 where it is the conversation's turn, else its place in line (1 is next).

        The lock is held inside, so that what is started there is counted by the next.
        """
        async with self._placing:
            self._waiting[conversation] = waiting
            free, line = await self._count()
            place = max(0, line.index(conversation) + 1 - free)
            if place == 0 and self._held:
                place = 1
            if place == 0:
                del self._waiting[conversation]
            yield place

    async def settled(self) -> None:
        """Wait until nobody is being placed."""
        async with self._placing:
            pass

    def leave(self, conversation: Conversation) -> None:
        """Take a conversation that waits for no run out of the line."""
        self._waiting.pop(conversation, None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody be placed while it is found out who waits: else the first that is looked at would be first."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def line(self) -> list[Conversation]:
        """Who waits, as far as it is known here; in no order."""
        return list(self._waiting)

    async def free(self) -> int:
        """How many places there are now."""
        return (await self._count())[0]

    async def called(self) -> tuple[list[Conversation], list[Conversation]]:
        """Those of the line for whom there is a place now, the next first; and those who go on waiting, in order."""
        async with self._placing:
            free, line = await self._count()
        return line[:free], line[free:]

    async def _count(self) -> tuple[int, list[Conversation]]:
        """How many places are free, and the line."""
        running = [state for state in await self._runs.list() if state.phase is not Phase.ENDED]
        free = max(0, self._most - len(running))
        people = [await self._person(state) for state in running] if self._waiting else []
        there = {(state.conversation, state.run) for state in running}
        self._people = {key: person for key, person in self._people.items() if key in there}
        return free, in_turn(self._waiting, people, self._served_at)

    async def _person(self, state: RunState) -> str:
        """For whom a run was started (a user id); empty where that can't be found out."""
        key = (state.conversation, state.run)
        if key not in self._people:
            record = await self._journal.run(*key)
            first = await self._journal.input(state.conversation, record.run.serves[0]) if record else None
            person = self._people[key] = first.user if first else ""
            if record:
                self._served_at[person] = max(self._served_at.get(person, 0.0), record.run.reserved_at.timestamp())
        return self._people[key]
