"""Walks through the journal's turns, a conversation at a time, with bounded memory.

It lists every key once and reads the turns alone; of conversations that were silent for long before `since`, nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError

from peerbot.conversation.documents import Document, Input, Slice, Turn
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.journal import paths
from peerbot.journal.storage import Storage
from peerbot.logs import logger

log = logger(__name__)

_READS_AT_ONCE = 32
_CONVERSATIONS_AT_ONCE = 16
_LONGEST_ANSWER = timedelta(days=7)
"""No turn ends this long after the last thing that somebody wrote."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A turn, its conversation, and the person who pays for it (`team/user`; empty if nobody is known)."""

    conversation: Conversation
    turn: Turn
    person: str


@dataclass(slots=True)
class _Keys:
    """What a conversation has: its last input, its turns, and the first slice of each turn's budget."""

    conversation: Conversation
    last_said: float = 0.0
    turns: list[int] = field(default_factory=list)
    slices: dict[int, int] = field(default_factory=dict)

    def add(self, rest: str, key: str) -> None:
        folder = rest.rpartition("/")[0]
        numbered = paths.parse_numbered(key)
        if folder == "inputs":
            try:
                self.last_said = max(self.last_said, float(input_ts(paths.parse_input(key))))
            except ValueError:
                return
        elif folder == "turns" and numbered and numbered[1] == "json":
            self.turns.append(numbered[0])
        elif folder.startswith("spent/") and numbered and numbered[1] == "json" and folder[6:].isdecimal():
            turn = int(folder[6:])
            self.slices[turn] = min(numbered[0], self.slices.get(turn, numbered[0]))


class Reader:
    """Reads turns on `storage`. Raises as the store does: `Unavailable`, `Refused`.

    `conversations` counts those that were read, `unreadable` the turns that this release can't read.
    """

    def __init__(self, storage: Storage, *, since: datetime | None, people: bool) -> None:
        self.conversations = 0
        self.unreadable = 0
        self._storage = storage
        self._since = since
        self._people = people
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    async def turns(self) -> AsyncIterator[Paid]:
        """Yield the turns that ended since the time that was asked for, in no order."""
        reading: set[asyncio.Task[list[Paid]]] = set()
        try:
            async for keys in self._kept():
                self.conversations += 1
                reading.add(asyncio.create_task(self._of(keys)))
                while len(reading) >= _CONVERSATIONS_AT_ONCE:
                    done, reading = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                    for paid in (each for task in done for each in task.result()):
                        yield paid
            for task in asyncio.as_completed(reading):
                for paid in await task:
                    yield paid
        finally:
            for left in reading:
                left.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _kept(self) -> AsyncIterator[_Keys]:
        """Yield every conversation with a turn that may be asked for, while the keys are listed page by page."""
        current: _Keys | None = None
        async for key in self._storage.list(paths.CONVERSATIONS):
            try:
                conversation, rest = paths.parse_conversation(key)
            except ValueError:
                log.warning("not_a_conversation", key=key)
                continue
            if current is None or conversation != current.conversation:
                if current and self._may_count(current):
                    yield current
                current = _Keys(conversation)
            current.add(rest, key)
        if current and self._may_count(current):
            yield current

    def _may_count(self, keys: _Keys) -> bool:
        since = self._since - _LONGEST_ANSWER if self._since else None
        return bool(keys.turns) and (since is None or keys.last_said >= since.timestamp())

    async def _of(self, keys: _Keys) -> list[Paid]:
        found = []
        for k in keys.turns:
            turn = await self._read(paths.turn_document(keys.conversation, k), Turn)
            if not isinstance(turn, Turn):
                self.unreadable += 1
            elif self._since is None or turn.ended_at >= self._since:
                person = await self._person(keys, turn) if self._people else ""
                found.append(Paid(keys.conversation, turn, person))
        return found

    async def _person(self, keys: _Keys, turn: Turn) -> str:
        """Find the person who paid: as the budget has it, or the author of the first message that it answers."""
        if i := keys.slices.get(turn.k):
            taken = await self._read(paths.slice_document(keys.conversation, turn.k, i), Slice)
            if isinstance(taken, Slice) and taken.user:
                return f"{keys.conversation.team}/{taken.user}"
        first = (
            await self._read(paths.input_document(keys.conversation, turn.inputs[0]), Input) if turn.inputs else None
        )
        return f"{keys.conversation.team}/{first.user}" if isinstance(first, Input) else ""

    async def _read(self, key: str, kind: type[Document]) -> Document | None:
        async with self._reading:
            data = await self._storage.get(key)
        try:
            return kind.model_validate_json(data) if data is not None else None
        except ValidationError:
            log.warning("unreadable", key=key)
            return None
