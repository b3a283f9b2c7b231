"""Socket Mode: how events reach an app, with everything that Slack does to them on the way.

Each event goes to one connection, chosen at random. If no ack comes, it is sent again after 3 s, 60 s and 300 s, and is
then given up. That holds even if no connection is open. The world keeps the events on their way, so they still come
after this process has ended. Interactions and commands are sent once.
"""

import asyncio
import contextlib
import json
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import WSCloseCode, WSMsgType, web

from peerbot.local.slack.faults import Faults
from peerbot.local.slack.shapes import APP, Object
from peerbot.local.slack.store import Store
from peerbot.local.slack.world import NotOk
from peerbot.logs import logger

RETRY_SECONDS = (3.0, 60.0, 300.0)  # from one delivery to the next
ACK_SECONDS = 3.0  # the time that the last delivery gets
MAX_CONNECTIONS = 10
CLOSE_ANSWER_SECONDS = 1.0  # the time that the other side has to say good-bye
REORDER_SECONDS = 0.05
KEPT_ACKS = 10_000

log = logger(__name__)
_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledged event, the time of its ack (seconds since 1970), and how long the ack took."""

    event: Object
    at: float
    seconds: float  # since its first delivery
    attempts: int


class SocketMode:
    """The connections of one app, and the events on their way to it."""

    def __init__(self, store: Store, faults: Faults, changed: Callable[[], None]) -> None:
        self._store = store
        self._faults = faults
        self._changed = changed
        self._tickets: set[str] = set()
        self._open: dict[web.WebSocketResponse, web.Request] = {}
        self._leaving: set[web.WebSocketResponse] = set()
        self._silent: set[web.WebSocketResponse] = set()
        self._on_their_way: set[str] = set()  # event ids
        self._awaited: dict[str, asyncio.Future[Object | None]] = {}  # by envelope_id: the content of the ack
        self._tasks: set[asyncio.Task[None]] = set()
        self.acks: deque[Ack] = deque(maxlen=KEPT_ACKS)

    @property
    def connections(self) -> int:
        """The number of connections that take events."""
        return len(self._open.keys() - self._silent)

    @property
    def undelivered(self) -> int:
        """The number of events on their way: neither acknowledged nor given up."""
        return len(self._on_their_way)

    def start(self) -> None:
        """Go on with the events that an earlier process had on their way."""
        for kept in self._store.all("delivery").values():
            self._keep(kept["payload"], kept["attempt"])
            self._spawn(self._deliver(kept["payload"], kept["attempt"]))

    async def close(self) -> None:
        """Close every connection. Events on their way are kept."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        sockets = [*self._open, *self._leaving]
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets))

    def new_ticket(self) -> str:
        """Make the secret of one WebSocket handshake; it opens one connection."""
        ticket = secrets.token_urlsafe(24)
        self._tickets.add(ticket)
        return ticket

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection from its handshake to its end."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403, text="this URL was used before, or never given out")
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(timeout=CLOSE_ANSWER_SECONDS)  # answers PING by itself, with its payload
        await socket.prepare(request)
        if self.connections >= MAX_CONNECTIONS:
            await socket.send_json(_disconnect("too_many_websockets"))
            await socket.close()
            return socket
        self._open[socket] = request
        try:
            await socket.send_json(self._hello())
            self._changed()
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    self._acknowledge(frame.data)
        except ConnectionError:
            pass  # the other side is gone: events that it did not acknowledge are sent again
        finally:
            self._open.pop(socket, None)
            self._leaving.discard(socket)
            self._silent.discard(socket)
            self._changed()
        return socket

    def _hello(self) -> Object:
        return {
            "type": "hello",
            "num_connections": self.connections,
            "debug_info": {"host": "applink-local", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": APP},
        }

    def _acknowledge(self, data: str) -> None:
        # Nothing that an app sends may end its connection.
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            ack = json.loads(data)
            awaited = self._awaited.get(ack.get("envelope_id", ""))
            if awaited and not awaited.done():
                awaited.set_result(ack.get("payload"))
        self._changed()

    async def disconnect(self, reason: str) -> None:
        """Ask every client to connect again, as Slack does every few hours. The old connections get no more events."""
        leaving = list(self._open)
        self._leaving.update(leaving)
        self._open.clear()
        for socket in leaving:
            with contextlib.suppress(ConnectionError):
                await socket.send_json(_disconnect(reason))

    def drop(self) -> None:
        """Break every connection without a word, as a network does."""
        for request in self._open.values():
            if request.transport:
                request.transport.abort()
        self._open.clear()

    def silence(self) -> None:
        """Keep every connection open but pass nothing on: nothing comes out of it, and nobody reads what goes in."""
        for socket, request in self._open.items():
            self._silent.add(socket)
            if request.transport and isinstance(request.transport, asyncio.ReadTransport):
                request.transport.pause_reading()

    def deliver(self, payload: Object) -> None:
        """Send an event on its way. The world has kept it before this returns."""
        self._keep(payload, 0)
        self._spawn(self._deliver(payload, 0))

    async def ask(self, kind: Literal["interactive", "slash_commands"], payload: Object) -> Object | None:
        """Send an interaction or a command, and return the content of the ack.

        Raises `NotOk` with the word that people see: `dispatch_failed` if no connection takes it, `operation_timeout`
        if there is no ack in time.
        """
        taking = self._taking()
        if not taking:
            raise NotOk("dispatch_failed")
        takes_reply = payload.get("type") != "block_actions"
        envelope = _envelope(kind, payload) | {"accepts_response_payload": takes_reply}
        acknowledged: asyncio.Future[Object | None] = asyncio.get_running_loop().create_future()
        self._awaited[envelope["envelope_id"]] = acknowledged
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await _random.choice(taking).send_json(envelope)
                return await acknowledged
        except (TimeoutError, ConnectionError) as error:
            raise NotOk("operation_timeout") from error
        finally:
            del self._awaited[envelope["envelope_id"]]

    def _keep(self, payload: Object, attempt: int) -> None:
        self._on_their_way.add(payload["event_id"])
        self._store.put("delivery", payload["event_id"], {"payload": payload, "attempt": attempt})

    async def _deliver(self, payload: Object, first_attempt: int) -> None:
        event_id = payload["event_id"]
        acknowledged: asyncio.Future[Object | None] = asyncio.get_running_loop().create_future()
        envelopes: list[str] = []
        began = time.monotonic()
        if self._faults.reorder_events:
            await asyncio.sleep(_random.uniform(0, REORDER_SECONDS))
        try:
            for attempt in range(first_attempt, len(RETRY_SECONDS) + 1):
                if attempt > first_attempt:
                    self._keep(payload, attempt)
                envelope = _envelope("events_api", payload) | {
                    "retry_attempt": attempt,
                    "retry_reason": "timeout" if attempt else "",
                }
                envelopes.append(envelope["envelope_id"])
                self._awaited[envelope["envelope_id"]] = acknowledged
                if await self._sent_and_acknowledged(envelope, acknowledged, attempt):
                    self.acks.append(Ack(payload["event"], time.time(), time.monotonic() - began, attempt + 1))
                    break
            else:
                log.warning("event_given_up", event_id=event_id)
            self._store.delete("delivery", event_id)
            self._on_their_way.discard(event_id)
            self._changed()
        finally:
            for identity in envelopes:
                del self._awaited[identity]

    async def _sent_and_acknowledged(
        self, envelope: Object, acknowledged: asyncio.Future[Object | None], attempt: int
    ) -> bool:
        seconds = RETRY_SECONDS[attempt] if attempt < len(RETRY_SECONDS) else ACK_SECONDS
        try:
            async with asyncio.timeout(seconds * self._faults.retry_scale):
                for _ in range(2 if self._faults.duplicate_events else 1):
                    if taking := self._taking():
                        with contextlib.suppress(ConnectionError):
                            await _random.choice(taking).send_json(envelope)
                await asyncio.shield(acknowledged)
        except TimeoutError:
            return False
        return True

    def _taking(self) -> list[web.WebSocketResponse]:
        return [socket for socket in self._open if socket not in self._silent]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _envelope(kind: str, payload: Object) -> Object:
    return {"envelope_id": str(uuid.uuid4()), "type": kind, "payload": payload, "accepts_response_payload": False}


def _disconnect(reason: str) -> Object:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-local"}}
