"""What the agent remembers when a turn begins, and which unfinished work it goes on with.

A turn goes on with the newest session before it. People may change that: a retry begins from before the turn that it
repeats, and a new session begins without any (decision 0029). The turn that does so says it (`forgets`, `undoes`).
"""

from collections.abc import AsyncIterator, Callable
from typing import Self

from peerbot.conversation.documents import Input, KeptWork, SessionRef, Turn
from peerbot.conversation.keys import Conversation
from peerbot.journal import chosen
from peerbot.journal.journal import Journal
from peerbot.journal.turn_list import TurnList


class Memory:
    """What turn `turn` goes on with, by the turns before it as they are now: make one for each look.

    It lists the turns once, and reads each at most once.
    """

    def __init__(self, journal: Journal, conversation: Conversation, turns: TurnList, turn: int) -> None:
        self.turn = turn
        self._journal = journal
        self._conversation = conversation
        self._numbers = turns.numbers
        self._removed = turns.removed > 0
        self._retry: Input | None = None  # what the turn answers, if somebody chose to retry
        self._turns: dict[int, Turn | None] = {}

    @classmethod
    async def of(cls, journal: Journal, conversation: Conversation, turn: int | None = None) -> Self:
        """Look at the turns before `turn`, or before the next turn if it is None. Raises what the journal raises."""
        turns = await journal.turn_list(conversation)
        memory = cls(journal, conversation, turns, turns.next if turn is None else turn)
        if memory.turn == turns.next:
            waiting = await journal.pending_in(conversation)
            memory._retry = await chosen.retry_among(journal, conversation, waiting)
        return memory

    async def before(self) -> Turn | None:
        """Read the turn just before."""
        return await self._read(self.turn - 1)

    async def last_session(self) -> SessionRef | None:
        """Find the session to go on with; skip turns without one (a refusal), and those that are forgotten."""
        async for before in self.remembered():
            if before.session:
                return before.session
        return None

    async def remembered(self) -> AsyncIterator[Turn]:
        """Yield the turns before that the agent may remember, newest first."""
        async for before in self._back(lambda each: each.forgets):
            yield before

    async def standing(self) -> AsyncIterator[Turn]:
        """Yield the turns before whose work stands: nobody has undone it, newest first."""
        async for before in self._back(lambda each: each.undoes):
            yield before

    async def forgotten(self) -> bool:
        """Whether the turn is the first in a new session: people asked for one, or what was before is removed."""
        async for before in self.remembered():
            if before.session:
                return False
            if before.forgets == 1 and before.run is None:
                return True
        return self._removed

    async def removed(self) -> bool:
        """Whether what was before is removed, and the agent has no session since."""
        return self._removed and await self.last_session() is None

    async def kept_work(self) -> KeptWork | None:
        """Find the work that could not be pushed with which the turn goes on.

        The newest turn with a run names all of it; the work of turns that were undone does not count.
        """
        async for before in self.standing():
            if before.run is not None:
                return before.kept
        return None

    async def unfinished_since(self, *, session: bool = False) -> int:
        """Find the first turn whose work the turn goes on with: itself, or the first of a row that did nothing.

        Those turns come just before it. They were given up, or failed before they asked their agent. `session`: the
        first turn whose parts of a session it goes on with. What people undid or let the agent forget does not count.
        """
        since = self.turn
        if self._retry:
            return since
        while since > 1 and (before := await self._read(since - 1)) and _took_nothing_up(before):
            since -= 1
            if before.undoes or (session and before.forgets):
                break
        return since

    async def _back(self, jump: Callable[[Turn], int | None]) -> AsyncIterator[Turn]:
        """Yield the turns before, newest first; `jump` says from which turn on the ones before it do not count.

        A retry jumps to before the turn that it repeats, and from there as that turn did.
        """
        below = self._retry.turn if self._retry and self._retry.turn else self.turn
        for k in reversed(self._numbers):
            if k > below:
                continue
            if before := await self._read(k):
                if k < below:
                    yield before
                below = min(below, jump(before) or below)

    async def _read(self, k: int) -> Turn | None:
        if k not in self._turns:
            self._turns[k] = await self._journal.turn(self._conversation, k) if k in self._numbers else None
        return self._turns[k]


def _took_nothing_up(turn: Turn) -> bool:
    return turn.run is None or not turn.began
