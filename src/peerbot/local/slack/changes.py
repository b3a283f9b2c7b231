"""Watchers of the local Slack's world: the terminal's live view, and tests that wait for a change."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from weakref import WeakSet

T = TypeVar("T")

KEPT = 2_000
"""How many of the last changes are kept for a page that was cut off."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to one message.

    `message` is the message as it is now. For a deleted message it is the last state, or the tombstone that stands in
    its thread. One person alone sees a whispered message.
    """

    kind: Literal["posted", "updated", "deleted", "reaction", "whispered"]
    channel: str
    ts: str
    thread_ts: str | None
    message: dict[str, Any]
    previous: dict[str, Any] | None = None  # the message before an update or a deletion


class Watch(AsyncIterator[Change]):
    """Yields all changes since the watcher was made, in order, until the world is closed."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()

    def put(self, change: Change | None) -> None:
        """Hand a change over; None marks the end."""
        self._queue.put_nowait(change)

    async def __anext__(self) -> Change:
        change = await self._queue.get()
        if change is None:
            self._queue.put_nowait(None)  # the next call gets the end again
            raise StopAsyncIteration
        return change


class Changes:
    """Tells every watcher."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watch] = WeakSet()  # nobody holds this watcher any more, so nobody has to close it
        self._waiting: set[asyncio.Event] = set()
        self.count = 0
        """How many changes there were: the number of the last one."""
        self._last: deque[Change] = deque(maxlen=KEPT)

    def since(self, number: int) -> list[tuple[int, Change]] | None:
        """List the changes after one, with their numbers; None if not all of them are kept any more."""
        first = self.count - len(self._last)
        if not first <= number <= self.count:
            return None
        return [(first + 1 + i, change) for i, change in enumerate(self._last) if first + i >= number]

    def watch(self) -> Watch:
        """Listen from now on."""
        watch = Watch()
        self._watches.add(watch)
        return watch

    def publish(self, change: Change) -> None:
        """Tell the watchers of a change."""
        self.count += 1
        self._last.append(change)
        for watch in list(self._watches):
            watch.put(change)
        self.touch()

    def touch(self) -> None:
        """Check the conditions again, since something other than a message changed (a call, a connection, an ack)."""
        for event in self._waiting:
            event.set()

    async def wait_for(self, condition: Callable[[], T | None], timeout_seconds: float) -> T:
        """Wait until `condition` gives something other than None or False, and return it.

        Raises `TimeoutError`.
        """
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    changed.clear()
                    found = condition()
                    if found is not None and found is not False:
                        return found
                    await changed.wait()
        finally:
            self._waiting.discard(changed)

    def close(self) -> None:
        """End every watch."""
        for watch in list(self._watches):
            watch.put(None)
