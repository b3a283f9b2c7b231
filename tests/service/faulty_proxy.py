"""A small HTTP proxy on loopback that plays the faults of a network and of the server behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import aiohttp
from aiohttp import web
from yarl import URL

_ASKED = ("Content-Type", "Accept", "Authorization", "If-None-Match")
_TOLD = ("Content-Type", "ETag", "Last-Modified")


class Fault(Enum):
    """The fault of one request."""

    LOSE_ANSWER = "the server takes it, and the connection drops before its answer"
    BUSY = "503 without asking the server"
    FORBIDDEN = "403 without asking the server"
    HANG = "no answer, ever"
    CONFLICT = "409 without asking the server: somebody else is at it this moment"
    EXISTS = "412 without asking the server: it is there already"
    ELSEWHERE = "301 without an address, as S3 says that a bucket is in another region"


@dataclass
class FaultyProxy:
    """Forwards to `upstream`; `plan` chooses the fault of each request (method, its number among that method's)."""

    upstream: str
    url: str = ""
    plan: Callable[[str, int], Fault | None] = lambda method, number: None
    seen: list[str] = field(default_factory=list)  # methods, in order
    faults: list[Fault] = field(default_factory=list)  # the faults that were played

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.method)
        body = await request.read()
        fault = self.plan(request.method, self.seen.count(request.method))
        if fault is not None:
            self.faults.append(fault)
        match fault:
            case Fault.BUSY:
                return web.Response(status=503, text="busy")
            case Fault.FORBIDDEN:
                return web.Response(status=403, text="forbidden")
            case Fault.CONFLICT:
                return web.Response(status=409, text="<Error><Code>ConditionalRequestConflict</Code></Error>")
            case Fault.EXISTS:
                return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
            case Fault.ELSEWHERE:
                return web.Response(status=301, text="<Error><Code>PermanentRedirect</Code></Error>")
            case Fault.HANG:
                await asyncio.Event().wait()
        answer = await self._forward(request, body)
        if fault is Fault.LOSE_ANSWER:
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = URL(self.upstream + request.raw_path, encoded=True)
        kept = {name: request.headers[name] for name in _ASKED if name in request.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body, headers=kept) as answer,
        ):
            told = {"Content-Type": "application/octet-stream"}
            told |= {name: answer.headers[name] for name in _TOLD if name in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=told)


@asynccontextmanager
async def faulty_proxy(upstream: str) -> AsyncIterator[FaultyProxy]:
    """Run a proxy before `upstream`; it plays no fault until its `plan` is set."""
    proxy = FaultyProxy(upstream)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    # Handlers that hang end with their connection.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    proxy.url = f"http://{host}:{port}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
