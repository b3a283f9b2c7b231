"""The tools that both relays share: bounded bodies, a deadline that moves with each byte, and an honest cut.

A reply has no total deadline (a clone or a thinking model may take long), but silence has one. A request comes from a
worker that is near, so it has to come at a least rate, and within a total time. If a stream breaks after its reply
began, we close the connection: the other side then sees a cut, and never takes half a reply for a whole one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

LEAST_BYTES_A_SECOND = 4096
"""How fast a request has to come on the average, after its first `GRACE_SECONDS`."""

GRACE_SECONDS = 10.0
UPLOAD_SECONDS = 600.0
"""How long a request may keep us waiting for its bytes in all. (The largest takes a few seconds in a cluster.)"""

_LOOK_SECONDS = 0.25

T = TypeVar("T")


class IdleDeadline:
    """Inside `async with`, raises `TimeoutError` if nobody calls `touch` for `seconds`.

    May be entered again once it was left: the parts of a request, one after the other, share one deadline.
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
        # It sets no timer: that would cost a stream more than passing a chunk on.
        self._touched = asyncio.get_running_loop().time()

    def within(self, seconds: float) -> None:
        """Allow this many seconds of silence from now on."""
        self.seconds = seconds
        self.touch()
        if self._timer:
            self._timer.cancel()
        self._set_timer()

    def expire(self) -> None:
        """Say that no more bytes will move."""
        # The upload runs in its own task, and may call this after the deadline has already passed.
        with contextlib.suppress(RuntimeError):
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def _set_timer(self) -> None:
        """Set the timer for the time at which the silence may have lasted too long."""
        self._timer = asyncio.get_running_loop().call_at(self._touched + self.seconds, self._check)

    def _check(self) -> None:
        if asyncio.get_running_loop().time() >= self._touched + self.seconds:
            self.expire()
        else:
            self._set_timer()


class RequestBody:
    """A request's body, read once, chunk by chunk, at most `limit_bytes` of it.

    A reader may be cancelled (the upload to a server that answered early), and another may then go on reading.
    """

    def __init__(self, request: web.Request, idle: IdleDeadline, *, limit_bytes: int) -> None:
        self.bytes = 0
        self._waited = 0.0  # for the client: a slow server is not its fault
        self._content = request.content
        self._idle = idle
        self._limit = limit_bytes
        self._lock = asyncio.Lock()

    @property
    def too_large(self) -> bool:
        """Whether the body is larger than its limit."""
        return self.bytes > self._limit

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the part that is not read yet; raises `ConnectionError` if the body is too large or broken.

        That error ends the whole exchange, even if a server has already begun its reply.
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
                chunk = await self._in_time()
        except web.RequestPayloadError as error:
            raise ConnectionError("the request's body can't be read") from error
        self._idle.touch()
        self.bytes += len(chunk)
        if self.too_large:
            raise ConnectionError(f"the request has more than {self._limit} bytes")
        return chunk

    async def _in_time(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        chunk = await self._content.readany()
        self._waited += loop.time() - began
        late = self._waited > GRACE_SECONDS and self.bytes < self._waited * LEAST_BYTES_A_SECOND
        if chunk and (late or self._waited > UPLOAD_SECONDS):
            raise ConnectionError("the request comes too slowly")
        return chunk

    async def drain(self) -> None:
        """Read and drop the rest: a client that is still sending does not read our reply."""
        async for _ in self.chunks():
            pass


async def relay_body(
    upstream: aiohttp.ClientResponse,
    request: web.Request,
    response: web.StreamResponse,
    idle: IdleDeadline,
    tap: Callable[[bytes], None] | None = None,
) -> None:
    """Pass a reply on as it comes, as fast as its reader takes it. `tap` then gets each chunk."""
    await response.prepare(request)
    async for chunk in upstream.content.iter_any():
        await response.write(chunk)
        idle.touch()
        if tap:
            tap(chunk)
    await response.write_eof()


def cut(request: web.Request) -> None:
    """Close the connection without ending the reply properly."""
    if request.transport is not None:
        request.transport.close()


async def while_connected(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`. If the client goes away, cancel it and raise `ConnectionResetError`."""
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
