"""Reads whole request bodies in bounded memory: of each request, of each run, and of all together."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from peerbot.gateway.streams import IdleDeadline, RequestBody

MOST_BYTES = 32 * 1024 * 1024
"""The API's own limit."""

READ_SECONDS = 60.0
"""How long a body may take to arrive, and to find room before it."""

_ALL_BYTES = 8 * MOST_BYTES
_RUNS_BYTES = 2 * MOST_BYTES


class TooLarge(Exception):
    """The body is larger than `MOST_BYTES`."""


class Bodies:
    """The room for bodies. A run has a quarter of it, so that it takes it away from nobody else."""

    def __init__(self) -> None:
        self._used: Counter[object] = Counter()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def room(self, run: object, request: web.Request) -> AsyncIterator["Room"]:
        """Wait for the room that the request's body needs; it is free again at the end, or after `Room.leave`.

        Raises `TooLarge`, and `TimeoutError` if there is no room in time.
        """
        size = MOST_BYTES if request.content_length is None else request.content_length
        if size > MOST_BYTES:
            raise TooLarge
        async with asyncio.timeout(READ_SECONDS):
            while self._used[run] + size > _RUNS_BYTES or self._used.total() + size > _ALL_BYTES:
                self._freed.clear()
                await self._freed.wait()
        self._used[run] += size
        room = Room(self, run, size)
        try:
            yield room
        finally:
            room.leave()

    def leave(self, run: object, size: int) -> None:
        """Free `size` bytes."""
        self._used[run] -= size
        if not self._used[run]:
            del self._used[run]
        self._freed.set()


class Room:
    """The room of one body."""

    def __init__(self, bodies: Bodies, run: object, size: int) -> None:
        self._bodies = bodies
        self._run = run
        self._size = size

    async def read(self, request: web.Request) -> bytes:
        """Read the whole body. Raises `TooLarge`, `TimeoutError`, and `ConnectionError` if it can't be read."""
        comes, body = RequestBody(request, IdleDeadline(READ_SECONDS), limit_bytes=MOST_BYTES), bytearray()
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for chunk in comes.chunks():
                    body += chunk
        except ConnectionError as error:
            if comes.too_large:
                raise TooLarge from error
            raise
        return bytes(body)

    def leave(self) -> None:
        """Free the room: the body is not needed any more. May be repeated."""
        size, self._size = self._size, 0
        if size:
            self._bodies.leave(self._run, size)
