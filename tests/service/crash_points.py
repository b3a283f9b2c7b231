"""Ends a dispatcher at a chosen write: proxies before the journal, Slack and GitHub count what it writes.

A point is a write and a side of it. `before`: the dispatcher is killed (SIGKILL) when it has sent the write and the
service has not seen it. `after`: the service has done it, and the dispatcher never hears of it. Production code knows
nothing of this.
"""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from system import System
from yarl import URL

from peerbot.gateway.present import CARD_EVENT

_HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "expect"}

Side = Literal["before", "after"]
Name = Callable[[web.Request, bytes], str | None]
"""Names the write that a request is; None for one that writes nothing."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a turn: to which service, what, and the how manieth of these."""

    service: str
    what: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.service}: {self.what}" + (f" ({self.number})" if self.number > 1 else "")


@dataclass(frozen=True, slots=True)
class Point:
    """Where a dispatcher is ended."""

    write: Write
    side: Side

    def __str__(self) -> str:
        return f"{self.side} {self.write}"


@dataclass(slots=True)
class Trap:
    """Counts the writes of one turn, and ends the dispatcher at the point that is set."""

    writes: list[Write] = field(default_factory=list)
    point: Point | None = None
    dispatcher: asyncio.subprocess.Process | None = None
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def set(self, point: Point | None, dispatcher: asyncio.subprocess.Process) -> None:
        """Begin to count anew; `dispatcher` is ended at `point`."""
        self.point, self.dispatcher = point, dispatcher
        self.writes = []
        self.sprung = asyncio.Event()
        self._counts = Counter()

    def count(self, service: str, what: str) -> Write:
        self._counts[service, what] += 1
        write = Write(service, what, self._counts[service, what])
        self.writes.append(write)
        return write

    def is_at(self, write: Write, side: Side) -> bool:
        return not self.sprung.is_set() and self.point == Point(write, side)

    async def spring(self) -> None:
        """Kill the dispatcher; returns when it is dead."""
        assert self.dispatcher is not None
        self.sprung.set()
        os.kill(self.dispatcher.pid, signal.SIGKILL)
        await self.dispatcher.wait()


class Proxy:
    """Forwards everything to `upstream`, with the address of the upstream in JSON answers replaced by its own."""

    def __init__(self, service: str, upstream: str, name: Name, trap: Trap) -> None:
        self._service, self._upstream, self._name, self._trap = service, upstream, name, trap
        self._session: aiohttp.ClientSession
        self._runner: web.AppRunner
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        what = self._name(request, body)
        if what is None:
            return await self._forward(request, body)
        write = self._trap.count(self._service, what)
        if self._trap.is_at(write, "before"):
            await self._trap.spring()
            return _nobody_hears(request)
        answer = await self._forward(request, body)
        if self._trap.is_at(write, "after"):
            await self._trap.spring()
            return _nobody_hears(request)
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = URL(self._upstream + request.raw_path, encoded=True)
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP)
        async with self._session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            kept = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
        if "json" in kept.get("Content-Type", "") and "Content-Encoding" not in kept:
            content = content.replace(self._upstream.encode(), self.url.encode())
        return web.Response(status=answer.status, body=content, headers=kept)


def _nobody_hears(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


_JOURNAL_KEYS = [
    (re.compile(r"pending/.+"), "marker"),
    (re.compile(r"repositories/.+"), "repositories/{owner}/{name}.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/inputs/.+"), "inputs/{ts}-message.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/(runs|turns)/\d+\.(.+)"), r"\1/{n}.\2"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/sessions/\d+/\d+/part-\d+\.json"), "sessions/…/part"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/sessions/\d+/\d+/(whole.+)"), r"sessions/…/\1"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/(.+)"), r"\1"),
]


def _key(name: str) -> str:
    for pattern, short in _JOURNAL_KEYS:
        if found := pattern.fullmatch(name):
            return found.expand(short)
    return name


def journal_write(request: web.Request, body: bytes) -> str | None:
    """A create (an upload) or a delete of Google's JSON API."""
    if request.method == "DELETE":
        return f"delete {_key(unquote(request.raw_path.partition('/o/')[2].partition('?')[0]))}"
    if request.method == "POST" and request.path.startswith("/upload/"):
        named = re.search(rb'"name":\s*"([^"]+)"', body)
        assert named is not None, body[:500]
        return f"create {_key(named[1].decode())}"
    return None


def slack_write(request: web.Request, body: bytes) -> str | None:
    """A message, an edit or a reaction."""
    method = request.path.rpartition("/")[2]
    if method.startswith("reactions."):
        return f"{method} {_arguments(request, body)['name']}"
    if method == "chat.postMessage":
        return f"{method} ({'card' if CARD_EVENT in str(_arguments(request, body)['metadata']) else 'answer'})"
    return "chat.update (card)" if method == "chat.update" else None


def _arguments(request: web.Request, body: bytes) -> dict[str, object]:
    if request.content_type == "application/json":
        found: dict[str, object] = json.loads(body)
        return found
    return dict(parse_qsl(body.decode())) | dict(request.query)


def github_write(request: web.Request, body: bytes) -> str | None:
    """A push, or a REST call that is no GET."""
    if request.path.endswith("/git-receive-pack"):
        return "push" if body != b"0000" else None
    if request.method == "GET" or request.path.endswith("/git-upload-pack"):
        return None
    path = re.sub(r"/(orgs|repos)/[^/]+(/[^/]+/pulls)?", r"/\1/…\2", request.path.removeprefix("/api/v3"))
    path = re.sub(r"/…/[^/]+/pulls", "/…/pulls", path)
    return f"{request.method} {re.sub(r'/[0-9]+$', '/{number}', path)}"


class CrashSystem(System):
    """A system whose dispatchers keep their journal in a bucket, and reach it, Slack and GitHub through proxies."""

    def __init__(self, directory: Path, *, google: str, bucket: str) -> None:
        super().__init__(directory, {"PEERBOT_STORE": f"gs://{bucket}"})
        self._google = google
        self.trap = Trap()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._proxies = await AsyncExitStack().__aenter__()
        enter = self._proxies.enter_async_context
        journal = await enter(Proxy("journal", self._google, journal_write, self.trap))
        slack = await enter(Proxy("Slack", self.slack.url.rstrip("/"), slack_write, self.trap))
        github = await enter(Proxy("GitHub", self.github.url, github_write, self.trap))
        self.settings |= {
            "STORAGE_EMULATOR_HOST": journal.url,
            "SLACK_API_URL": f"{slack.url}/api/",
            "GITHUB_API_URL": f"{github.url}/api/v3",
        }
        # A new dispatcher is there within seconds on a busy machine; Slack's next try after 3 s would be a minute on.
        self.slack.faults.retry_scale = 2.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        await self._proxies.aclose()
