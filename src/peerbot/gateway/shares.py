"""Each run's share of the gateway: how many of its requests are served at once, and how many wait.

A run is one person's turn, and what it may ask for is an agent's to decide. So a run that asks for too much waits for
itself alone. If too many of its requests wait, or one waits for too long, it is told to come back later.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from peerbot.errors import Busy
from peerbot.gateway.access import Caller
from peerbot.gateway.bodies import is_large
from peerbot.gateway.streams import while_connected
from peerbot.logs import logger

log = logger(__name__)

WAIT_SECONDS = 60.0
"""How long a request waits for its turn."""

REFUSE_SECONDS = 1.0
"""How long a request waits for its refusal, so that a run that asks again at once does not keep the gateway busy."""


class Kind(StrEnum):
    """A kind of request; each has its own share, so that one does not wait for another."""

    MODEL = "model"
    GIT = "git"
    OWN = "own"  # the supervisor's: inputs, progress, sessions, turns
    LARGE = "large"  # of those, the ones that move megabytes


@dataclass(frozen=True, slots=True)
class Size:
    """How many requests of a kind are served at once, and how many may wait."""

    at_once: int
    waiting: int


SIZES = {
    Kind.MODEL: Size(8, 32),  # the CLI asks for itself, for its helpers, and for small things beside them
    Kind.GIT: Size(4, 16),
    Kind.OWN: Size(8, 16),
    Kind.LARGE: Size(1, 4),
}


class _Share:
    """One kind of requests of one run."""

    def __init__(self, size: Size) -> None:
        self.free = asyncio.Semaphore(size.at_once)
        self.waiting = 0
        self.used = 0  # served and waiting
        self._most_waiting = size.waiting

    async def take(self, request: web.Request, seconds: float) -> None:
        """Wait for a place. Raises `Busy`, and `ConnectionResetError` if the client goes away meanwhile."""
        if not self.free.locked():
            await self.free.acquire()
            return
        if self.waiting >= self._most_waiting:
            await while_connected(request, asyncio.sleep(min(REFUSE_SECONDS, seconds)))
            raise Busy
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await while_connected(request, self.free.acquire())
        except TimeoutError as error:
            raise Busy from error
        finally:
            self.waiting -= 1


class Shares:
    """The shares of all runs, by a run's name. A run without requests takes no memory."""

    def __init__(self, *, sizes: dict[Kind, Size] | None = None, wait_seconds: float = WAIT_SECONDS) -> None:
        self._sizes = sizes or SIZES
        self._wait_seconds = wait_seconds
        self._shares: dict[tuple[str, Kind], _Share] = {}

    @asynccontextmanager
    async def of(self, request: web.Request, run: str, kind: Kind) -> AsyncIterator[None]:
        """Hold a place in a run's share for `request`.

        Raises `Busy` if the run should come back later, `ConnectionResetError` if its client goes away meanwhile.
        """
        key = (run, kind)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _Share(self._sizes[kind])
        share.used += 1
        try:
            await share.take(request, self._wait_seconds)
            try:
                yield
            finally:
                share.free.release()
        except Busy:
            log.warning("share_used_up", kind=kind.value, waiting=share.waiting)
            raise
        finally:
            share.used -= 1
            if not share.used:
                self._shares.pop(key, None)

    def waiting(self, run: str, kind: Kind) -> int:
        """Say how many requests of a run wait for their place."""
        share = self._shares.get((run, kind))
        return share.waiting if share else 0

    def of_large(self, request: web.Request, caller: Caller) -> AbstractAsyncContextManager[None]:
        """Hold the place of the run's large request if this request's body may be one; a small one needs none."""
        return self.of(request, caller.name, Kind.LARGE) if is_large(request) else nullcontext()
