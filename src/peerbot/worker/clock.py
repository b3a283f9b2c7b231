"""A turn's time: it runs while the agent works, and stands still while people think."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator


class Clock:
    """Counts down. Start it when the turn begins."""

    def __init__(self) -> None:
        self._left = 0.0  # while it stands still, or has no limit to keep
        self._over = 0.0  # on the loop's clock, while it runs
        self._limit: asyncio.Timeout | None = None
        self._standing = 0
        self._goes_on = asyncio.Event()

    def start(self, seconds: float) -> None:
        """Begin a turn that may take so long."""
        self._over = asyncio.get_running_loop().time() + seconds
        self._standing = 0
        self._goes_on.set()

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[asyncio.Timeout]:
        """Raise `TimeoutError` in what happens in here as soon as the time is over."""
        async with asyncio.timeout_at(self._over) as limit:
            self._limit = limit
            try:
                yield limit
            finally:
                self._limit = None

    @contextlib.contextmanager
    def stands_still(self) -> Iterator[None]:
        """Stop the clock in here."""
        loop = asyncio.get_running_loop()
        if not self._standing:
            self._left = self._over - loop.time()
            self._goes_on.clear()
            self._reschedule(None)
        self._standing += 1
        try:
            yield
        finally:
            self._standing -= 1
            if not self._standing:
                self._over = loop.time() + self._left
                self._goes_on.set()
                self._reschedule(self._over)

    async def until(self, left: float) -> None:
        """Wait until only `left` seconds are left."""
        loop = asyncio.get_running_loop()
        while (seconds := self._over - left - loop.time()) > 0 or self._standing:
            await self._goes_on.wait()
            await asyncio.sleep(min(max(0.0, seconds), 3600.0))

    def _reschedule(self, at: float | None) -> None:
        if self._limit and not self._limit.expired():
            self._limit.reschedule(at)
