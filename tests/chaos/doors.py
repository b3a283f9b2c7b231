"""The doors between the product and its services: they make every fault of a service, and note what passes.

A door is `crash_points.Proxy` with weather instead of a trap. Production code knows nothing of it.
"""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from crash_points import Proxy, Strike, Trap
from faulty_proxy import Fault

from peerbot.local.model.requests import check, is_aside, read_turn

TOKEN = re.compile(r"\bc\d{3,}-m\d+\b")
_PUSH = "/git-receive-pack"
_BUNDLE = re.compile(rb'"name":\s*"(?:[^"]*/)?conversations/([^"]+)/work/(\d+)/(\d+)/(\d+)\.bundle"')


@dataclass
class Weather:
    """The faults at a door: for a time, and with the next calls."""

    away_until: float = 0.0  # monotonic
    slow_until: float = 0.0
    next: deque[tuple[Fault | int, Callable[[web.Request], bool], Callable[[], None]]] = field(default_factory=deque)
    """Faults that wait for a call that they fit, and who is told when it came; a number is a 429's `Retry-After`."""
    last_met: float = 0.0  # when a call met a fault; seconds since 1970

    def take(self, request: web.Request) -> Fault | int | None:
        """The fault of this call."""
        if time.monotonic() < self.away_until:
            self.last_met = time.time()
            return Fault.BUSY
        for waiting in self.next:
            fault, fits, met = waiting
            if fits(request):
                met()
                self.next.remove(waiting)
                self.last_met = time.time()
                return fault
        return None

    def clear(self) -> None:
        """Good weather from now on."""
        self.away_until = self.slow_until = 0.0
        self.next.clear()


class Door(Proxy):
    """A proxy with weather. `passed` hears of every call that the service answered and the caller still waits for."""

    def __init__(
        self,
        service: str,
        upstream: str,
        passed: Callable[[web.Request, bytes, web.Response], None] | None = None,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(service, upstream, lambda *_: None, Trap(_nobody), host=host)
        self.weather = Weather()
        self._passed = passed

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        fault = self.weather.take(request)
        if fault is Fault.BUSY:
            return web.Response(status=503, text="busy")
        if isinstance(fault, int):
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(fault)}
            )
        if time.monotonic() < self.weather.slow_until:
            await asyncio.sleep(0.7)
        try:
            answer = await self._forward(request, body)
        except aiohttp.ClientError:  # the service itself has cut its answer
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        if fault is Fault.LOSE_ANSWER and request.transport is not None:
            request.transport.abort()
        elif self._passed and request.transport is not None and not request.transport.is_closing():
            self._passed(request, body, answer)
        return answer


async def _nobody(_: Strike) -> None:
    """Weather ends nobody."""


@dataclass(frozen=True, slots=True)
class Push:
    """A ref that GitHub moved, and whose mover could hear of it."""

    at: float  # seconds since 1970
    repository: str
    ref: str
    commit: str


@dataclass(frozen=True, slots=True)
class State:
    """A saved state that the store has taken, and whose writer could hear of it."""

    at: float  # seconds since 1970
    conversation: str
    turn: int
    run: int
    part: int
    bundle: bytes

    def __str__(self) -> str:
        return f"work/{self.turn}/{self.run}/{self.part}.bundle"


@dataclass(frozen=True, slots=True)
class Asked:
    """The content of a request to the model: the messages to answer now, and all that it knows."""

    at: float
    now: frozenset[str]  # tokens
    known: frozenset[str]


class Notes:
    """Everything that passed the doors of GitHub, of the store and of the model."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.states: list[State] = []
        self.asked: list[Asked] = []
        self.first_asked: dict[str, asyncio.Event] = {}

    def push(self, request: web.Request, body: bytes, answer: web.Response) -> None:
        """Note a push that GitHub has taken."""
        if not request.path.endswith(_PUSH) or not isinstance(answer.body, bytes):
            return
        repository = request.path.removesuffix(_PUSH).strip("/").removesuffix(".git")
        for ref, commit in _commands(body):
            if f"ok {ref}".encode() in answer.body and set(commit) != {"0"}:
                self.pushes.append(Push(time.time(), repository, ref, commit))

    def store(self, request: web.Request, body: bytes, answer: web.Response) -> None:
        """Note a saved state that the store has taken."""
        if request.path.startswith("/upload/") and answer.status == 200 and (named := _BUNDLE.search(body)):
            turn, run, part = map(int, named.groups()[1:])
            self.states.append(State(time.time(), named[1].decode(), turn, run, part, _content(request, body)))

    def ask(self, request: web.Request, body: bytes, _answer: web.Response) -> None:
        """Note a request to the model. (The demo model's own reader says which messages are its task.)"""
        if not request.path.endswith("/v1/messages"):
            return
        document = check(json.loads(body))
        if is_aside(document):
            return
        turn = read_turn(document)
        now = frozenset(TOKEN.findall("\n".join(turn.asks)))
        self.asked.append(Asked(time.time(), now, frozenset(TOKEN.findall(_read(document)))))
        for token in now:
            self.began(token).set()

    def began(self, token: str) -> asyncio.Event:
        """Set when the model was first asked to answer a message."""
        return self.first_asked.setdefault(token, asyncio.Event())


def _read(document: dict[str, Any]) -> str:
    """Return all texts that the model reads: new messages, earlier ones, others of the thread, and what tools say.

    An answer in words to the agent's question is what a tool says.
    """
    contents = [message["content"] for message in document["messages"] if message["role"] != "assistant"]
    blocks = [block for content in contents for block in ([{"text": content}] if isinstance(content, str) else content)]
    return "\n".join(f"{block.get('text', '')}{block.get('content', '')}" for block in blocks)


def _content(request: web.Request, body: bytes) -> bytes:
    """The second part of a multipart upload: the object, after its description."""
    boundary = re.search(r"boundary=\"?([^\";]+)", request.headers["Content-Type"])
    assert boundary, request.headers["Content-Type"]
    _, _, part, _ = body.split(f"--{boundary[1]}".encode())
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


def _commands(body: bytes) -> list[tuple[str, str]]:
    """Which refs a push moves, and to what: git's pkt-lines up to the first flush."""
    found, at = [], 0
    while (length := int(body[at : at + 4] or b"0", 16)) > 4:
        line = body[at + 4 : at + length].split(b"\0")[0].decode()
        if re.match(r"[0-9a-f]{40} [0-9a-f]{40} ", line):
            _, new, ref = line.strip().split(" ", 2)
            found.append((ref, new))
        at += length
    return found
