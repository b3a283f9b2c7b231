"""The bound on runs at once, and the line for a place: people take turns (`conversation/line.py`).

A replica asks the runtime for the count and keeps none in memory. Two replicas that look in the same moment may each
start one run too many: this is a bound on load, not a lock.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from peerbot import metrics
from peerbot.conversation.keys import Conversation
from peerbot.conversation.line import Waiting, in_turn
from peerbot.journal.journal import Journal
from peerbot.runs.port import Phase, Runs, RunState


class Places:
    """The conversations that wait for a run. A cache: `Reconciler.next_in_line` and the sweep find them all again."""

    def __init__(self, runs: Runs, journal: Journal, most: int) -> None:
        self._runs = runs
        self._most = most
        self._journal = journal
        self._people: dict[tuple[Conversation, int], str] = {}  # of the runs that exist now
        self._served_at: dict[str, float] = {}  # when each person got their newest run
        self._waiting: dict[Conversation, Waiting] = {}
        self._held = 0
        self._placing = asyncio.Lock()

    @asynccontextmanager
    async def place(self, conversation: Conversation, waiting: Waiting) -> AsyncIterator[int]:
        """Enter the line; yields 0 if it is the conversation's turn, otherwise its place in line (1 is next).

        Hold the lock inside, so that the next caller counts the run that is started there.
        """
        async with self._placing:
            new = conversation not in self._waiting
            self._waiting[conversation] = waiting
            free, line = await self._count()
            place = max(0, line.index(conversation) + 1 - free)
            if place == 0 and self._held:
                place = 1
            if place == 0:
                del self._waiting[conversation]
            elif new:
                metrics.line_place.observe(place)
            yield place

    async def settled(self) -> None:
        """Wait until no conversation is being placed."""
        async with self._placing:
            pass

    def leave(self, conversation: Conversation) -> None:
        """Take a conversation that waits for no run out of the line."""
        self._waiting.pop(conversation, None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Place nothing while we look for those that wait: otherwise the first one we look at would be served first."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def line(self) -> list[Conversation]:
        """List the conversations that this replica knows to be waiting, in no order."""
        return list(self._waiting)

    async def free(self) -> int:
        """Count the free places. Raises what the runtime raises."""
        return (await self._count())[0]

    async def called(self) -> tuple[list[Conversation], list[Conversation]]:
        """Split the line: conversations that have a place now, the next one first, and those that still wait."""
        async with self._placing:
            free, line = await self._count()
        return line[:free], line[free:]

    async def _count(self) -> tuple[int, list[Conversation]]:
        """Return how many places are free, and the line in order."""
        running = [state for state in await self._runs.list() if state.phase is not Phase.ENDED]
        free = max(0, self._most - len(running))
        people = [await self._person(state) for state in running] if self._waiting else []
        there = {(state.conversation, state.run) for state in running}
        self._people = {key: person for key, person in self._people.items() if key in there}
        return free, in_turn(self._waiting, people, self._served_at)

    async def _person(self, state: RunState) -> str:
        """Find the user id of the person for whom a run was started; empty if the journal does not have it."""
        key = (state.conversation, state.run)
        if key not in self._people:
            record = await self._journal.run(*key)
            first = await self._journal.input(state.conversation, record.run.serves[0]) if record else None
            person = self._people[key] = first.user if first else ""
            if record:
                self._served_at[person] = max(self._served_at.get(person, 0.0), record.run.reserved_at.timestamp())
        return self._people[key]
