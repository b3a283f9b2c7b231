"""Ends a process at a chosen write: proxies before the journal, Slack, GitHub and the gateway count what is written.

A point is a write and a side of it. `before`: whoever wrote is killed (SIGKILL) when it has sent the write and the
service has not seen it. `after`: the service has done it, and the writer never hears of it. What is written to the
gateway is a worker's, the rest a dispatcher's. Production code knows nothing of this.
"""

import json
import re
import signal
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from system import System
from yarl import URL

from peerbot.thread.present import CARD_EVENT

_HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
GATEWAY = "gateway"
PUSH, PUSH_CHECKPOINT = "push", "push (checkpoint)"

Side = Literal["before", "after"]
Name = Callable[[web.Request, bytes], str | None]
"""Names the write that a request is; None for one that writes nothing."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write: to which service, what, and the how manieth of these."""

    service: str
    what: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.service}: {self.what}" + (f" ({self.number})" if self.number > 1 else "")


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process is ended."""

    write: Write
    side: Side

    def __str__(self) -> str:
        return f"{self.side} {self.write}"


@dataclass(frozen=True, slots=True)
class Strike:
    """A process is ended at a point: a worker at what it asks of the gateway, else a dispatcher."""

    point: Point
    sent: signal.Signals = signal.SIGKILL

    @property
    def worker(self) -> bool:
        return self.point.write.service == GATEWAY


class Trap:
    """Counts writes from a moment on, and strikes at the points that are set, one after the other.

    With each strike the count begins anew, so that a point after it names a write of what followed.
    """

    def __init__(self, end: Callable[[Strike], Awaitable[None]]) -> None:
        self._end = end
        self._plan: deque[Strike] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.writes: list[Write] = []

    def set(self, plan: Sequence[Strike]) -> None:
        """Begin to count anew, and to strike."""
        self._plan = deque(plan)
        self._begin()

    @property
    def is_sprung(self) -> bool:
        """Whether it has struck wherever it should."""
        return not self._plan

    def count(self, service: str, what: str) -> Write:
        self._counts[service, what] += 1
        write = Write(service, what, self._counts[service, what])
        self.writes.append(write)
        return write

    async def strikes(self, write: Write, side: Side) -> bool:
        """Strike, if this is where; True where nobody is left who waits for this write."""
        if not self._plan or self._plan[0].point != Point(write, side):
            return False
        strike = self._plan.popleft()
        self._begin()
        await self._end(strike)
        return strike.sent is signal.SIGKILL

    def _begin(self) -> None:
        self._counts.clear()
        self.writes = []


class Proxy:
    """Forwards everything to `upstream`, with the address of the upstream in JSON answers replaced by its own."""

    def __init__(self, service: str, upstream: str, name: Name, trap: Trap, *, host: str = "127.0.0.1") -> None:
        self._service, self._upstream, self._name, self._trap, self._host = service, upstream, name, trap, host
        self._session: aiohttp.ClientSession
        self._runner: web.AppRunner
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()
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
        if await self._trap.strikes(write, "before"):
            return _nobody_hears(request)
        answer = await self._forward(request, body)
        if await self._trap.strikes(write, "after"):
            return _nobody_hears(request)
        return answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = URL(self._upstream + request.raw_path, encoded=True)
        dropped = _HOP_BY_HOP | {"content-encoding"}  # what was packed is unpacked by now
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in dropped)
        try:
            answer = await self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            )
            content = await answer.read()
        except aiohttp.ClientError:  # whoever is behind us was ended
            return _nobody_hears(request)
        async with answer:
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
    name = re.sub(r"^\d+/", "", name)  # the folder of a system
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
    if request.path.startswith("/upload/"):
        return "the file's content"
    if method.startswith("files."):
        return method
    if method == "chat.postMessage":
        return f"{method} ({'card' if CARD_EVENT in str(_arguments(request, body)['metadata']) else 'answer'})"
    return "chat.update (card)" if method == "chat.update" else None


def _arguments(request: web.Request, body: bytes) -> dict[str, object]:
    if request.content_type == "application/json":
        found: dict[str, object] = json.loads(body)
        return found
    return {**dict(parse_qsl(body.decode())), **request.query}


def github_write(request: web.Request, body: bytes) -> str | None:
    """A push, or a REST call that is no GET."""
    if request.path.endswith("/git-receive-pack"):
        return _push(body)
    if request.method == "GET" or request.path.endswith("/git-upload-pack"):
        return None
    path = re.sub(r"/(orgs|repos)/[^/]+(/[^/]+/pulls)?", r"/\1/…\2", request.path.removeprefix("/api/v3"))
    path = re.sub(r"/…/[^/]+/(pulls|git/refs)(/peerbot/[^/]+)?", r"/…/\1", path)
    return f"{request.method} {re.sub(r'/[0-9]+$', '/{number}', path)}"


def _push(body: bytes) -> str | None:
    if body == b"0000":
        return None  # git asks whether it may
    return PUSH_CHECKPOINT if b" refs/peerbot/" in body[:1000] else PUSH


_CALLS = [
    (re.compile(r"POST start"), "start"),
    (re.compile(r"POST turns"), "begin a turn"),
    (re.compile(r"PUT turns/\d+/progress"), "progress"),
    (re.compile(r"PUT turns/\d+/session/\d+"), "keep a part of the session"),
    (re.compile(r"PUT turns/\d+/session"), "keep the session"),
    (re.compile(r"POST turns/\d+/finish"), "finish the turn"),
    (re.compile(r"POST close"), "close the run"),
]


def gateway_write(request: web.Request, body: bytes) -> str | None:
    """What a worker's supervisor and its git ask for that leaves something behind."""
    called = f"{request.method} {request.path.split('/', 7)[-1]}"
    if called == "POST git/git-receive-pack":
        return _push(body)
    return next((name for pattern, name in _CALLS if pattern.fullmatch(called)), None)


class CrashSystem(System):
    """A system behind proxies: its dispatchers' journal (a bucket), Slack and GitHub, and its workers' gateway."""

    def __init__(self, directory: Path, trap: Trap, *, google: str, store: str) -> None:
        super().__init__(directory, {"PEERBOT_STORE": store})
        self._google = google
        self._trap = trap

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._proxies = await AsyncExitStack().__aenter__()
        enter, trap, port = self._proxies.enter_async_context, self._trap, _free_port()
        journal = await enter(Proxy("journal", self._google, journal_write, trap))
        slack = await enter(Proxy("Slack", self.slack.url.rstrip("/"), slack_write, trap))
        github = await enter(Proxy("GitHub", self.github.url, github_write, trap))
        gateway = await enter(Proxy(GATEWAY, f"http://127.0.0.1:{port}", gateway_write, trap))
        self.settings |= {
            "STORAGE_EMULATOR_HOST": journal.url,
            "SLACK_API_URL": f"{slack.url}/api/",
            "GITHUB_API_URL": f"{github.url}/api/v3",
            "PEERBOT_GATEWAY_URL": gateway.url,
            "GATEWAY_PORT": str(port),
        }
        # A new dispatcher is there within seconds on a busy machine; Slack's next try after 3 s would be a minute on.
        self.slack.faults.retry_scale = 2.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        await self._proxies.aclose()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
