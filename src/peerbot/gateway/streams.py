"""What both relays share: bodies within bounds, a deadline that moves with each byte, and an honest cut.

A stream has no total deadline (a clone or a thinking model may take long), but silence has one. A stream that breaks
after its reply began is ended by closing the connection: the other side sees a cut, never a whole reply that is not.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

_LOOK_SECONDS = 0.25

T = TypeVar("T")


class IdleDeadline:
    """Inside `async with`, raises `TimeoutError` when `touch` was not called for `seconds`.

    May be entered again once it was left: a request's parts, one after the other, have the same deadline.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._touched = 0.0  # by the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "IdleDeadline":
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self.touch()
        self._set_timer()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def touch(self) -> None:
        """Say that a byte has moved."""
        # No timer is set here: that would cost a stream more than to pass a chunk on.
        self._touched = asyncio.get_running_loop().time()

    def within(self, seconds: float) -> None:
        """Allow so many seconds of silence from now on."""
        self.seconds = seconds
        self.touch()
        if self._timer:
            self._timer.cancel()
        self._set_timer()

    def expire(self) -> None:
        """Say that no byte will move any more."""
        # The upload runs in a task of its own and may say so when the deadline has passed already.
        with contextlib.suppress(RuntimeError):
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def _set_timer(self) -> None:
        """Look when silence would have lasted long enough, whether it has."""
        self._timer = asyncio.get_running_loop().call_at(self._touched + self.seconds, self._check)

    def _check(self) -> None:
        if asyncio.get_running_loop().time() >= self._touched + self.seconds:
            self.expire()
        else:
            self._set_timer()


class RequestBody:
    """A request's body, read once, chunk by chunk, at most `limit_bytes` of it.

    Whoever reads it may be cancelled (the upload to a server that answered early) and somebody else go on reading.
    """

    def __init__(self, request: web.Request, idle: IdleDeadline, *, limit_bytes: int) -> None:
        self.bytes = 0
        self._content = request.content
        self._idle = idle
        self._limit = limit_bytes
        self._lock = asyncio.Lock()

    @property
    def too_large(self) -> bool:
        """Whether it went over its limit."""
        return self.bytes > self._limit

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what has not been read yet; raises `ConnectionError` when there is too much, or it is broken.

        That ends the whole exchange, though a server may have begun its reply already.
        """
        try:
            while chunk := await self._next():
                yield chunk
        except (aiohttp.ClientError, ConnectionError):
            self._idle.expire()
            raise

    async def _next(self) -> bytes:
        try:
            async with self._lock:
                chunk = await self._content.readany()
        except web.RequestPayloadError as error:
            raise ConnectionError("the request's body can't be read") from error
        self._idle.touch()
        self.bytes += len(chunk)
        if self.too_large:
            raise ConnectionError(f"the request has more than {self._limit} bytes")
        return chunk

    async def drain(self) -> None:
        """Read the rest and forget it: a client that is still sending does not read our reply."""
        async for _ in self.chunks():
            pass


async def relay_body(
    upstream: aiohttp.ClientResponse,
    request: web.Request,
    response: web.StreamResponse,
    idle: IdleDeadline,
    tap: Callable[[bytes], None] | None = None,
) -> None:
    """Pass a reply on as it comes, as fast as its reader takes it. `tap` sees each chunk after it was passed on."""
    await response.prepare(request)
    async for chunk in upstream.content.iter_any():
        await response.write(chunk)
        idle.touch()
        if tap:
            tap(chunk)
    await response.write_eof()


def cut(request: web.Request) -> None:
    """Close the connection without the reply's proper end."""
    if request.transport is not None:
        request.transport.close()


async def while_connected(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it when the client has gone; then raises `ConnectionResetError`."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=_LOOK_SECONDS))[0]:
            # aiohttp tells a handler about a lost connection only when it writes, and a model thinks in silence.
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
        return await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
