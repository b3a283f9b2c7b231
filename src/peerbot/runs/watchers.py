"""The watchers of runs: each gets every event, and an event that comes twice before the watcher looks only once."""

import asyncio
import weakref
from collections.abc import AsyncIterator

from peerbot.runs.port import RunEvent


class _Watch(AsyncIterator[RunEvent]):
    """The events that one watcher has not taken yet."""

    def __init__(self) -> None:
        self._waiting: dict[RunEvent, None] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def tell(self, event: RunEvent) -> None:
        self._waiting[event] = None
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> RunEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event = next(iter(self._waiting))
        del self._waiting[event]
        return event


class Watchers:
    """The open watches. A watch that nobody holds is forgotten."""

    def __init__(self) -> None:
        self._watches: weakref.WeakSet[_Watch] = weakref.WeakSet()
        self._closed = False

    def add(self) -> AsyncIterator[RunEvent]:
        """Watch from now on. The watch ends when all are closed, at once if they already are."""
        watch = _Watch()
        if self._closed:
            watch.close()
        else:
            self._watches.add(watch)
        return watch

    def tell(self, event: RunEvent) -> None:
        """Tell every watcher."""
        for watch in list(self._watches):
            watch.tell(event)

    def close(self) -> None:
        """End every watch. Idempotent."""
        self._closed = True
        for watch in list(self._watches):
            watch.close()
