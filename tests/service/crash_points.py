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

from peerbot.conversation.keys import undone_branch
from peerbot.thread.present import CARD_EVENT
from peerbot.thread.questions import QUESTION_EVENT

_HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
_UNDONE = undone_branch("", 1).encode()
_MAY_I = b"0000"  # git asks whether it may push
GATEWAY = "gateway"
CHECKPOINT = "keep a checkpoint"
STATE = "work/…/bundle"
STATE_BEFORE, STATE_AT_END = f"delete {STATE} (the one before)", f"delete {STATE} (at the turn's end)"

Side = Literal["before", "after"]
Name = Callable[[web.Request, bytes], str | None]
"""Names the write that a request is; None if it writes nothing."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write: its service, its name, and the number among writes of that name."""

    service: str
    what: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.service}: {self.what}" + (f" ({self.number})" if self.number > 1 else "")


@dataclass(frozen=True, slots=True)
class Point:
    """The point at which a process is ended."""

    write: Write
    side: Side

    def __str__(self) -> str:
        return f"{self.side} {self.write}"


@dataclass(frozen=True, slots=True)
class Strike:
    """A process is ended at a point: a worker for calls of the gateway, otherwise a dispatcher."""

    point: Point
    sent: signal.Signals = signal.SIGKILL

    @property
    def worker(self) -> bool:
        return self.point.write.service == GATEWAY


class Trap:
    """Counts writes from a moment on, and strikes at the points that are set, one after the other.

    Each strike restarts the count, so that the next point names a write of the recovery.
    """

    def __init__(self, end: Callable[[Strike], Awaitable[None]]) -> None:
        self._end = end
        self._plan: deque[Strike] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.writes: list[Write] = []

    def set(self, plan: Sequence[Strike]) -> None:
        """Restart the count, and begin to strike."""
        self._plan = deque(plan)
        self._begin()

    @property
    def is_sprung(self) -> bool:
        """Whether it has struck at every point."""
        return not self._plan

    def count(self, service: str, what: str) -> Write:
        self._counts[service, what] += 1
        write = Write(service, what, self._counts[service, what])
        self.writes.append(write)
        return write

    async def strikes(self, write: Write, side: Side) -> bool:
        """Strike, if this is the point; True if nobody is left who waits for this write."""
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
        dropped = _HOP_BY_HOP | {"content-encoding"}  # packed bodies are unpacked by now
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in dropped)
        try:
            answer = await self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            )
            content = await answer.read()
        except aiohttp.ClientError:  # the process behind us was ended
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
    (re.compile(r"repositories/[^/]+/[^/]+"), "repositories/{owner}/{name}.json"),
    (re.compile(r"repositories/.+"), "repositories/{owner}/{name}/{i}.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/inputs/[\d.]+-(.+)"), r"inputs/{ts}-\1"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/(runs|turns)/\d+\.(.+)"), r"\1/{n}.\2"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/sessions/\d+/\d+/part-\d+\.json"), "sessions/…/part"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/sessions/\d+/\d+/(whole.+)"), r"sessions/…/\1"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/work/\d+/\d+/\d+\.bundle"), STATE),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/spent/\d+/\d+\.([a-z]+)(-\d+)?"), r"spent/{k}/{i}.\1"),
    (re.compile(r"spent-by/([a-z]+)/.+"), r"spent-by/\1/…"),
    (re.compile(r"pulls/[^/]+/[^/]+/[^/]+/[^/]+/(look|shown)-\d+"), r"pulls/…/\1"),
    (re.compile(r"pulls/.+"), "pulls/…"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/settled/.+\.again-\d+"), "settled/{id}.again-{i}"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/settled/.+"), "settled/{id}.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/questions/\d+/\d+\.(.+)"), r"questions/{k}/{i}.\1"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/chosen/\d+/\d+\.json"), "chosen/{k}/{i}.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/back/\d+\.json"), "back/{k}.json"),
    (re.compile(r"conversations/[^/]+/[^/]+/[^/]+/(.+)"), r"\1"),
]


def _key(name: str) -> str:
    name = re.sub(r"^\d+/", "", name)  # the folder of a system
    for pattern, short in _JOURNAL_KEYS:
        if found := pattern.fullmatch(name):
            return found.expand(short)
    return name


class JournalWrites:
    """Names the creates (uploads) and deletes of Google's JSON API; it remembers which saved states it has seen."""

    def __init__(self) -> None:
        self._states: set[str] = set()

    def __call__(self, request: web.Request, body: bytes) -> str | None:
        if request.method == "DELETE":
            name = unquote(request.raw_path.partition("/o/")[2].partition("?")[0])
            return self._delete_of_state(name) if _key(name) == STATE else f"delete {_key(name)}"
        if request.method == "POST" and request.path.startswith("/upload/"):
            named = re.search(rb'"name":\s*"([^"]+)"', body)
            assert named is not None, body[:500]
            if _key(named[1].decode()) == STATE:
                self._states.add(named[1].decode())
            return f"create {_key(named[1].decode())}"
        return None

    def _delete_of_state(self, name: str) -> str:
        folder, _, file = name.rpartition("/")
        following = f"{folder}/{int(file.removesuffix('.bundle')) + 1}.bundle"
        return STATE_BEFORE if following in self._states else STATE_AT_END


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
        metadata = str(_arguments(request, body)["metadata"])
        kinds = {CARD_EVENT: "card", QUESTION_EVENT: "question"}
        return f"{method} ({next((kind for event, kind in kinds.items() if event in metadata), 'answer')})"
    if method == "chat.update":
        return f"{method} ({_drawn(_arguments(request, body))})"
    return method if method == "chat.postEphemeral" else None


def _drawn(arguments: dict[str, object]) -> str:
    if "Chosen by" in str(arguments["blocks"]):
        return "question"
    return "answer" if "Pull request #" in str(arguments["text"]) else "card"


def _arguments(request: web.Request, body: bytes) -> dict[str, object]:
    if request.content_type == "application/json":
        found: dict[str, object] = json.loads(body)
        return found
    return {**dict(parse_qsl(body.decode())), **request.query}


def github_write(request: web.Request, body: bytes) -> str | None:
    """A push, or a REST call that is no GET."""
    if request.path.endswith("/git-receive-pack"):
        return None if body == _MAY_I else ("push (an undo)" if _UNDONE in body else "push")
    if request.method == "GET" or request.path.endswith("/git-upload-pack"):
        return None
    path = re.sub(r"/(orgs|repos)/[^/]+(/[^/]+/pulls)?", r"/\1/…\2", request.path.removeprefix("/api/v3"))
    path = re.sub(r"/…/[^/]+/(pulls|git/refs)(/peerbot/[^/]+)?", r"/…/\1", path)
    return f"{request.method} {re.sub(r'/[0-9]+$', '/{number}', path)}"


_CALLS = [
    (re.compile(r"POST start"), "start"),
    (re.compile(r"POST turns"), "begin a turn"),
    (re.compile(r"POST turns/\d+/ask"), "ask people"),
    (re.compile(r"PUT turns/\d+/progress"), "progress"),
    (re.compile(r"PUT turns/\d+/session/\d+"), "keep a part of the session"),
    (re.compile(r"PUT turns/\d+/session"), "keep the session"),
    (re.compile(r"PUT turns/\d+/work/\d+"), CHECKPOINT),
    (re.compile(r"POST turns/\d+/finish"), "finish the turn"),
    (re.compile(r"POST close"), "close the run"),
]


def gateway_write(request: web.Request, body: bytes) -> str | None:
    """Names a write of a worker's supervisor, or of its git, at the gateway."""
    called = f"{request.method} {request.path.split('/', 7)[-1]}"
    if called == "POST git/git-receive-pack":
        return None if body == _MAY_I else "push"
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
        journal = await enter(Proxy("journal", self._google, JournalWrites(), trap))
        slack = await enter(Proxy("Slack", self.slack.url.rstrip("/"), slack_write, trap))
        github = await enter(Proxy("GitHub", self.github.url, github_write, trap))
        gateway = await enter(Proxy(GATEWAY, f"http://127.0.0.1:{port}", gateway_write, trap))
        self.settings |= {
            "STORAGE_EMULATOR_HOST": journal.url,
            "SLACK_API_URL": f"{slack.url}/api/",
            "GITHUB_API_URL": f"{github.url}/api/v3",
            "PEERBOT_GATEWAY_URL": gateway.url,
            "GATEWAY_PORT": str(port),
            "PEERBOT_PULL_REQUEST_SECONDS": "86400",  # otherwise every scenario writes now and then
        }
        # A new dispatcher is there within seconds on a busy machine; Slack's tries come after 3 s and after a minute.
        self.slack.faults.retry_scale = 2.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        await self._proxies.aclose()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
