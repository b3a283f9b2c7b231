"""Bounds the connections of an HTTP server, so that a client that opens many and says nothing stops nobody else.

aiohttp limits neither: it waits for a request's head for as long as the client likes, and it accepts sockets until the
process has no file left. So each connection gets `ANONYMOUS_SECONDS` for a whole request, unless the app says that it
knows the caller (`known`). If there are too many connections, or too many of one peer, the one that has said nothing
complete for the longest time is closed for the newcomer. So a client that sends its request at once always gets in.

A peer is an address. In a cluster each worker has its own, and gets at most half of all connections. On a laptop, or
behind a proxy in the same pod, everybody comes from loopback, and only the limit of all counts.
"""

import asyncio
import ipaddress
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from peerbot.logs import logger

log = logger(__name__)

ANONYMOUS_SECONDS = 10.0
"""How long a request may take until the app knows its caller; without one, until it is answered."""

KEEP_ALIVE_SECONDS = 75.0
"""How long a connection may stay open between two requests. Our clients close theirs earlier."""

LINGER_SECONDS = 0.5
"""How long a client that was answered may still be sending, so that it can read why. We throw away what it sends."""

MOST = 4096
"""How many connections a port takes at most. Each may need a second one, to the service that it is relayed to."""

READ_AHEAD_BYTES = 64 * 1024
"""How much of a request's body is read before somebody wants it."""

BACKLOG = 1024
"""How many connections the system may hold that we have not accepted yet."""

_KEY: "web.AppKey[Connections]" = web.AppKey("connections")


@dataclass(slots=True)
class _Peer:
    """The connections of one address: the order of each is that in which they began to wait."""

    all: int = 0
    silent: "dict[_Connection, None]" = field(default_factory=dict)  # a request that has not come, or is nobody's yet
    idle: "dict[_Connection, None]" = field(default_factory=dict)  # between two requests


class Connections:
    """The connections of one server: `watch` its app, then set its runner up, then `listen`."""

    def __init__(self, most: int, *, anonymous_seconds: float = ANONYMOUS_SECONDS) -> None:
        self.most = most
        self.anonymous_seconds = anonymous_seconds
        self.all = 0
        self._peers: dict[str, _Peer] = {}
        self._of: dict[asyncio.BaseProtocol, _Connection] = {}

    def watch(self, app: web.Application) -> None:
        """Follow the requests of `app`."""
        app[_KEY] = self
        app.middlewares.insert(0, _followed)

    async def listen(self, runner: web.AppRunner, host: str | None, port: int) -> None:
        """Listen for the server of `runner`, which closes the sockets. Raises `OSError`."""
        await _Site(runner, self, host, port).start()

    def add(self, connection: "_Connection", address: str) -> bool:
        """Count a new connection; closes another if there are too many. False: all others work, so close this one."""
        peer = self._peers.get(address) or _Peer()
        if not _is_loopback(address) and peer.all >= self.most // 2:
            room = self._make_room(peer)
        elif self.all >= self.most:
            room = self._make_room(max(self._peers.values(), key=lambda each: len(each.silent)))
        else:
            room = True
        if room:
            connection.peer = self._peers.setdefault(address, peer)
            connection.peer.all += 1
            connection.address = address
            self.all += 1
            self._of[connection.inner] = connection
        return room

    def remove(self, connection: "_Connection") -> None:
        """Forget a connection. Idempotent."""
        if self._of.pop(connection.inner, None) is None:
            return
        self.all -= 1
        connection.peer.all -= 1
        if not connection.peer.all:
            del self._peers[connection.address]

    def holds(self, connection: "_Connection") -> bool:
        """Whether a connection is still counted."""
        return connection.inner in self._of

    def of(self, request: web.Request) -> "_Connection | None":
        """Find the connection of a request; None if it is gone."""
        return self._of.get(cast(asyncio.BaseProtocol, request.protocol))

    def _make_room(self, peer: _Peer) -> bool:
        leaves = next(iter(peer.silent), None) or next(iter(peer.idle), None)
        log.warning("too_many_connections", connections=self.all, of_this_peer=peer.all, closed=bool(leaves))
        if leaves:
            leaves.abort()
        return leaves is not None


class _Site(web.BaseSite):
    """What `web.TCPSite` does, with our own connections."""

    def __init__(self, runner: web.AppRunner, connections: Connections, host: str | None, port: int) -> None:
        super().__init__(runner)
        self._connections, self._host, self._port = connections, host, port

    @property
    def name(self) -> str:
        return f"http://{self._host or '0.0.0.0'}:{self._port}"  # noqa: S104 (for people)

    async def start(self) -> None:
        await super().start()
        make = cast(Callable[[], asyncio.Protocol], self._runner.server)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self._connections, make()), self._host, self._port, backlog=BACKLOG
        )


class _Connection(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's protocol, and has a timer while its caller is unknown."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self.inner = inner
        self.address = ""
        self.peer = _Peer()
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._known = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if self._connections.add(self, str(peer[0]) if peer else ""):
            self._silent()
            self.inner.connection_made(transport)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and not self._known:
            self._silent()
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.inner.connection_lost(exc)

    def known(self) -> None:
        """Stop the timer: the app knows the caller of the request, and other limits hold from here on."""
        self._known = True
        self._stop()

    def answered(self) -> None:
        """Wait for the next request."""
        self._known = False
        self._stop()
        if self._connections.holds(self):
            self.peer.idle[self] = None

    def abort(self) -> None:
        """Close the connection at once."""
        self._leave()
        if self._transport:
            self._transport.abort()

    def _silent(self) -> None:
        """Give the connection its time for a whole request."""
        self.peer.idle.pop(self, None)
        self.peer.silent[self] = None
        # Not all at the same time: a thousand that came together would all be closed, and come again, together.
        seconds = self._connections.anonymous_seconds * random.uniform(0.75, 1.0)  # noqa: S311 (no secret)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._late)

    def _late(self) -> None:
        log.info("connection_too_slow", connections=self._connections.all)
        self.abort()

    def _stop(self) -> None:
        self.peer.silent.pop(self, None)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._stop()
        self.peer.idle.pop(self, None)
        self._connections.remove(self)


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """Takes what aiohttp's server logs: a client that breaks HTTP's rules is a line, and its bytes are not in it."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("aiohttp.server"), {})

    def exception(self, msg: object, *args: object, exc_info: Any = True, **how: Any) -> None:
        """Log an error of a request."""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError | ConnectionError):
            log.info("bad_request", cause=type(exc_info).__name__)
        else:
            super().exception(msg, *args, exc_info=exc_info, **how)


def known(request: web.Request) -> None:
    """Say that we know a request's caller, whose other limits bound it: the request may take its time."""
    connections = next((app[_KEY] for app in request.match_info.apps if _KEY in app), None)
    if connections and (connection := connections.of(request)):
        connection.known()


@web.middleware
async def _followed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if connection := request.app[_KEY].of(request):
            connection.answered()


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True  # no network at all
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
