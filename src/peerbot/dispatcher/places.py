"""At most so many runs at once; first come, first served.

The count is taken from where runs run, not from memory. Two replicas that look in the same moment may start one run
too many each: a bound on load, not a lock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peerbot.conversation.keys import Conversation
from peerbot.runs.port import Phase, Runs


class Places:
    """Who waits for a run, in order. A cache: the sweep finds everybody again."""

    def __init__(self, runs: Runs, most: int) -> None:
        self._runs = runs
        self._most = most
        self._waiting: dict[Conversation, str] = {}  # since: the ts of its oldest waiting input
        self._placing = asyncio.Lock()

    @asynccontextmanager
    async def place(self, conversation: Conversation, since: str) -> AsyncIterator[int]:
        """Enter the line; yields 0 where it is the conversation's turn, else its place in line (1 is next).

        The lock is held inside, so that what is started there is counted by the next.
        """
        async with self._placing:
            self._waiting[conversation] = since
            free = self._most - sum(state.phase is not Phase.ENDED for state in await self._runs.list())
            line = sorted(self._waiting, key=lambda c: (self._waiting[c], c))
            place = max(0, line.index(conversation) + 1 - max(0, free))
            if place == 0:
                del self._waiting[conversation]
            yield place

    def leave(self, conversation: Conversation) -> None:
        """Take a conversation that waits for no run out of the line."""
        self._waiting.pop(conversation, None)

    def line(self) -> list[Conversation]:
        """Who waits, first come first."""
        return sorted(self._waiting, key=lambda c: (self._waiting[c], c))
