"""The sockets to Slack: two at once, of which one may be reconnecting.

Slack closes a socket every few hours and opens at most ten for an app. The SDK mends most of what breaks, but not all.
So everything about a socket's life is here: opening it, closing one that is too many, watching it, replacing it. What
arrives over a socket is for `slack/receive.py`.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMessage
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from peerbot import metrics
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import refusal_code, sdk_log
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.tasks import kept

log = logger(__name__)

RECORD_SECONDS = 2.0
"""How long anything that comes in may take before its ack: Slack waits for three seconds."""

MOST_SOCKETS = 10
"""How many Slack opens for an app (api.slack.com/apis/event-delivery)."""

CONNECTIONS = 2
"""How many a replica opens."""

_CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
_LOOK_SECONDS = 1.0

OnGap = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a receiver is with its sockets, in seconds."""

    down: float = 40.0
    """A connection that stays down for this long is replaced: the SDK can hang on an address that was used before."""
    ping: float = 5.0
    """How often a socket is pinged. If the answer is not there after half of that, the socket counts as closed."""
    spare: float = 60.0
    """After about this long a socket that was one too many is tried again."""


PACE = Pace()


class Sockets:
    """Keeps two sockets open for a Bolt app.

    During a rolling update there can be more replicas than Slack opens sockets for. A socket that is one too many is
    closed and tried again later; the other replicas receive meanwhile.

    If every socket misses a ping's answer and Slack is heard again later, `on_gap` gets the time since when something
    may have been missed, in seconds since 1970. It must return at once.
    """

    def __init__(self, *, app: AsyncApp, outbound: Outbound, app_token: str, on_gap: OnGap, pace: Pace) -> None:
        self._app = app
        self._outbound = outbound
        self._app_token = app_token
        self._on_gap = on_gap
        self._pace = pace
        self._connections: list[_Connection] = []
        self._letting_go: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect, and watch the connections from then on.

        Raises `Refused`, naming the setting, where Slack does not accept the app token, and `Unavailable` where it does
        not answer in time; then nothing is left open.
        """
        try:
            for _ in range(CONNECTIONS):
                self._connections.append(await self._connect())
        except BaseException:
            await self.close()
            raise
        self._watch = asyncio.create_task(kept("slack_connections", self._keep_connected), name="slack connections")

    def connected(self) -> bool:
        """Whether at least one socket is open."""
        return any(connection.connected() for connection in self._connections)

    def measure(self) -> None:
        """Show how many sockets are open."""
        metrics.slack_sockets.set(sum(connection.connected() for connection in self._connections))

    async def close(self) -> None:
        """Finish what is under way, and close every socket. Bounded in time; idempotent."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await asyncio.gather(*(connection.end() for connection in self._connections), *self._letting_go)
        self._connections.clear()

    async def _connect(self) -> "_Connection":
        try:
            opened = await self._outbound.call(
                "a connection", "apps.connections.open", Urgency.FIRST, {"app_token": self._app_token}
            )
        except Refused as refused:
            code = refusal_code(refused)
            raise Refused(
                f"Slack does not accept the app token ({code}). Check SLACK_APP_TOKEN: it begins with xapp- and has "
                "the scope connections:write, and Socket Mode is switched on for the app."
            ) from refused
        connection = _Connection(
            self._app, self._app_token, self._outbound.client, self._pace.ping, self._sockets, self._let_go
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection.open(str(opened["url"]))
        except BaseException as error:
            await connection.end()
            if isinstance(error, TimeoutError):
                raise Unavailable("Slack's socket could not be opened in time.") from error
            raise
        return connection

    def _sockets(self, open_now: int) -> None:
        """Slack says how many sockets the app has: from that one sees how many replicas there are."""
        self._outbound.shared_by(max(1, math.ceil(open_now / CONNECTIONS)))

    def _let_go(self, connection: "_Connection") -> None:
        """Close a socket that is one too many; its place is tried again later."""
        if connection.spare_until or self._closing:
            return
        connection.client.auto_reconnect_enabled = False  # else the SDK asks for another as soon as Slack closes it
        log.warning("slack_socket_let_go", most=MOST_SOCKETS)
        seconds = self._pace.spare * random.uniform(0.5, 1.5)  # noqa: S311 - not all replicas at once
        connection.spare_until = time.time() + seconds
        task = asyncio.create_task(connection.end(), name="let a socket go")
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _keep_connected(self) -> None:
        """Replace the connections that stay down, and tell of the time in which nothing was heard."""
        look_seconds = min(_LOOK_SECONDS, self._pace.down / 4, self._pace.ping / 4)
        heard_at = time.time()
        while True:
            await asyncio.sleep(look_seconds)
            heard = max((c.heard_at() for c in self._connections if c.connected()), default=0.0)
            if heard - heard_at >= 1.5 * self._pace.ping:  # a network that was away, a machine that slept
                log.warning("slack_gap", seconds=round(heard - heard_at, 1))
                metrics.slack_gaps.inc()
                self._on_gap(heard_at)
            all_spare = all(connection.spare_until for connection in self._connections)
            heard_at = time.time() if all_spare else max(heard_at, heard)  # then it is for the others to hear
            await asyncio.gather(*(self._look_after(place) for place in range(len(self._connections))))

    async def _look_after(self, place: int) -> None:
        """Replace one connection where it stays down; what failed is tried again a little later."""
        connection, now = self._connections[place], time.time()
        if connection.spare_until:
            if now >= connection.spare_until:
                connection.spare_until = now + self._pace.spare
                await self._replace(place)
        elif connection.connected():
            connection.fine_at = now
        elif now - connection.fine_at >= self._pace.down and now >= connection.try_again_at:
            log.warning("slack_connection_replaced", place=place)
            connection.try_again_at = now + self._pace.down / 4
            await self._replace(place)

    async def _replace(self, place: int) -> None:
        before = self._connections[place]
        try:
            self._connections[place] = await self._connect()
        except PeerBotError as error:
            log.warning("slack_not_connected", place=place, reason=str(error))
        else:
            await before.end()


class _Connection(AsyncSocketModeHandler):
    """One socket, which knows what it is busy with, so that closing leaves nothing behind."""

    def __init__(
        self,
        app: AsyncApp,
        app_token: str,
        client: AsyncWebClient,
        ping_seconds: float,
        on_sockets: Callable[[int], None],
        on_too_many: "Callable[[_Connection], None]",
    ) -> None:
        super().__init__(app, app_token, logger=sdk_log, web_client=client, ping_interval=ping_seconds)
        self._frame_at = time.time()
        self._on_sockets = on_sockets
        self._on_too_many = on_too_many
        self.client.on_message_listeners.append(self._frame)
        self.client.proxy = client.proxy
        self.fine_at = time.time()  # when it was last seen open
        self.try_again_at = 0.0  # to replace it
        self.spare_until = 0.0  # it was one too many, and is tried again from then on
        self._busy: set[asyncio.Task[Any]] = set()

    async def open(self, url: str) -> None:
        self.client.wss_uri = url  # issued already, by a call whose refusal could be told
        await self.client.connect()  # type: ignore[no-untyped-call]
        self.client.last_ping_pong_time = time.time()  # else the SDK takes its next ping for an answer

    def connected(self) -> bool:
        session = self.client.current_session
        return not self.client.closed and not self.client.stale and session is not None and not session.closed

    def heard_at(self) -> float:
        """When the last frame or answer to a ping came, in seconds since 1970."""
        return max(self._frame_at, self.client.last_ping_pong_time or 0.0)

    async def _frame(self, frame: WSMessage) -> None:
        self._frame_at = time.time()
        text = str(frame.data)
        if "num_connections" in text or "too_many_websockets" in text:
            said = json.loads(text)
            if said.get("type") == "hello":
                self._on_sockets(open_now := int(said["num_connections"]))
                if open_now > MOST_SOCKETS:
                    self._on_too_many(self)
            elif said.get("type") == "disconnect" and said.get("reason") == "too_many_websockets":
                with suppress(asyncio.QueueEmpty):
                    self.client.message_queue.get_nowait()  # otherwise the SDK reads it, too, and connects again
                self._on_too_many(self)

    async def handle(self, client: AsyncBaseSocketModeClient, req: SocketModeRequest) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await super().handle(client, req)  # type: ignore[arg-type] # its own client's base class
        finally:
            self._busy.discard(task)

    async def end(self) -> None:
        """Finish what is being recorded, then close; the SDK's tasks are gone when this returns."""
        if self._busy:
            await asyncio.wait(self._busy, timeout=RECORD_SECONDS + 0.5)
        with suppress(Exception):  # a socket that is broken may fail to close, or hang
            await asyncio.wait_for(self.client.close(), _CLOSE_SECONDS)  # type: ignore[no-untyped-call]
        sdk = (self.client.message_processor, self.client.current_session_monitor, self.client.message_receiver)
        left = [task for task in (*sdk, *self._busy) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.client.aiohttp_client_session.close()
