"""The bodies that workers send and fetch: bounded in size and time, and never in memory whole while they move.

A small body is read into memory. A larger one goes through a temporary file, at the speed of its sender, and is in
memory only while the journal takes it: one at a time in the whole process (`Journal.large`).
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO, cast

from aiohttp import web

from peerbot.errors import Refused, Unavailable
from peerbot.gateway.streams import cut

IN_MEMORY_BYTES = 1024 * 1024
"""A body up to this size is small."""

SMALL_SECONDS = 10.0
LARGE_SECONDS = 60.0
"""How long a body may take to come or to go; workers are as near as their cluster."""

BYTES_A_SECOND = 24 * 1024 * 1024
"""The speed of a large body, so that one run's megabytes do not hold up the others' requests."""

_PIECE_BYTES = 256 * 1024


def is_large(request: web.Request) -> bool:
    """Whether a request's body may be large: it says so, or does not say how large it is."""
    return request.content_length is None or request.content_length > IN_MEMORY_BYTES


async def small(request: web.Request, most: int) -> bytes:
    """Read a body of at most `most` bytes. Raises `Refused` if it is larger, `Unavailable` if it is too slow."""
    if (request.content_length or 0) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(SMALL_SECONDS):
            while chunk := await _next(request):
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError as error:
        raise _too_slow() from error
    return bytes(body)


@asynccontextmanager
async def spooled(request: web.Request, most: int) -> AsyncIterator["Spool"]:
    """Receive a body of at most `most` bytes. Raises as `small`."""
    if (request.content_length or 0) > most:
        raise _too_large(most)
    with Spool() as spool:
        try:
            async with asyncio.timeout(LARGE_SECONDS):
                pace = _Pace()
                while chunk := await _next(request):
                    if spool.bytes + len(chunk) > most:
                        raise _too_large(most)
                    await spool.write(chunk)
                    await pace.keep(spool.bytes)
        except TimeoutError as error:
            raise _too_slow() from error
        yield spool


class Spool:
    """Bytes on their way: in memory up to `IN_MEMORY_BYTES`, in a temporary file beyond that."""

    def __init__(self) -> None:
        self.bytes = 0
        self._pending = bytearray()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    async def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        self.bytes += len(data)
        if len(self._pending) + len(data) > IN_MEMORY_BYTES:
            await asyncio.to_thread(self._flush, data)
        else:
            self._pending += data

    async def clear(self) -> None:
        """Forget all bytes, for another try."""
        self.bytes = 0
        self._pending.clear()
        if self._file:
            await asyncio.to_thread(self._file.truncate, 0)
            self._file.seek(0)

    async def store(self, large: asyncio.Semaphore, put: Callable[[bytes], Awaitable[bool]]) -> bool:
        """Hand all bytes to `put`, and return its reply. If they are many, they are in memory only inside `large`."""
        if self._file is None:
            return await put(bytes(self._pending))
        async with large:
            return await put(await asyncio.to_thread(self._read))

    async def send(self, request: web.Request, content_type: str) -> web.StreamResponse:
        """Send all bytes as the reply to `request`; hangs up if its reader is too slow."""
        if self._file is None:
            return web.Response(body=bytes(self._pending), content_type=content_type)
        await asyncio.to_thread(self._flush)
        self._file.seek(0)
        response = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(self.bytes)})
        try:
            async with asyncio.timeout(LARGE_SECONDS):
                await response.prepare(request)
                pace, sent = _Pace(), 0
                while piece := await asyncio.to_thread(self._file.read, _PIECE_BYTES):
                    await response.write(piece)
                    sent += len(piece)
                    await pace.keep(sent)
                await response.write_eof()
        except TimeoutError:
            cut(request)
        return response

    def _flush(self, data: bytes = b"") -> None:
        if self._file is None:
            self._file = cast(IO[bytes], tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 (closed by `__exit__`)
        for waits in (self._pending, data):
            left = memoryview(waits)
            while left:
                left = left[self._file.write(left) :]
            left.release()
        self._pending.clear()

    def _read(self) -> bytes:
        self._flush()
        assert self._file is not None
        self._file.seek(0)
        return self._file.read()


class _Pace:
    """Keeps a body at `BYTES_A_SECOND` once it has turned out to be large."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def keep(self, moved: int) -> None:
        """Wait until so many bytes may have moved."""
        ahead = (moved - IN_MEMORY_BYTES) / BYTES_A_SECOND - (self._loop.time() - self._began)
        if ahead > 0:
            await asyncio.sleep(ahead)


async def _next(request: web.Request) -> bytes:
    try:
        return await request.content.readany()
    except web.RequestPayloadError as error:
        raise Refused("This request's body can't be read.") from error


def _too_large(most: int) -> Refused:
    return Refused(f"This is too large: PeerBot takes at most {most} bytes here.")


def _too_slow() -> Unavailable:
    return Unavailable("This request came too slowly.")
