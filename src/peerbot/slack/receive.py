"""What comes in from Slack: Socket Mode, and the promise that an event is recorded before Slack gets its ack.

Bolt acks an event before its listener is done, but runs its global middleware first, and sends no ack for a 503. So
everything is done in one middleware: what could not be recorded in time is not acked, and Slack sends it again. There
are no listeners: what is not for us is acked there, too, since Slack would send it again otherwise.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.conversation.policy import Candidate, Us, read_event
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import bolt_log, call, new_session, refusal_code, sdk_log, web_client

log = logger(__name__)

RECORD_SECONDS = 2.0  # Slack waits for three
_CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_CONNECTIONS = 2  # one may be reconnecting

OnInput = Callable[[Candidate], Awaitable[bool]]
OnGap = Callable[[float], None]


class Receiver:
    """Listens to one workspace's Slack, over two sockets at once.

    `on_input` is awaited before the ack and has written everything when it returns; what it returns says whether the
    message was for us. Where it raises or takes longer than two seconds, Slack sends the event again. Whoever starts
    it closes it. A connection that stays down for `down_seconds` is replaced: the SDK mends most, but can hang on a
    socket's address that was used up. A socket that leaves a ping (one every `ping_seconds`) without an answer
    for half as long counts as closed, and the SDK opens another.

    `on_gap` is told, when Slack is heard again after every socket missed a ping's answer, since when something may have
    been missed, in seconds since 1970. It must return at once.
    """

    def __init__(
        self,
        *,
        bot_token: str,
        app_token: str,
        api_url: str,
        trigger_phrase: str,
        on_input: OnInput,
        on_gap: OnGap = lambda _: None,
        down_seconds: float = 40.0,
        ping_seconds: float = 5.0,
    ) -> None:
        self.client: AsyncWebClient = web_client(api_url, bot_token)
        self._app_token = app_token
        self._api_url = api_url
        self._trigger_phrase = trigger_phrase
        self._on_input = on_input
        self._on_gap = on_gap
        self._down_seconds = down_seconds
        self._ping_seconds = ping_seconds
        self._connections: list[_Connection] = []
        self._watch: asyncio.Task[None] | None = None
        self._us: Us | None = None
        self._app: AsyncApp | None = None
        self._closing = False

    async def identify(self) -> Us:
        """Find out who we are; nothing is received before `start`.

        Raises `Refused`, naming the setting, where Slack does not accept the bot token, `Unavailable` where it does not
        answer in time; then nothing is left open.
        """
        if self._us is not None:
            return self._us
        self.client.session = new_session()
        try:
            me = await call("the check of SLACK_BOT_TOKEN", self.client.auth_test())
        except BaseException:
            await self.close()
            raise
        self._us = Us(str(me["team_id"]), str(me["user_id"]), self._trigger_phrase)
        self._app = self._bolt(self._us, str(me.get("bot_id") or ""))
        return self._us

    async def start(self) -> Us:
        """Find out who we are, if that is not known yet, and connect.

        Raises as `identify` does, and `Refused` where Slack does not accept the app token.
        """
        us = await self.identify()
        try:
            for _ in range(_CONNECTIONS):
                self._connections.append(await self._connect())
        except BaseException:
            await self.close()
            raise
        self._watch = asyncio.create_task(self._keep_connected(), name="slack connections")
        log.info("slack_connected", team=us.team, connections=_CONNECTIONS)
        return us

    def connected(self) -> bool:
        """Whether at least one socket is open."""
        return any(connection.connected() for connection in self._connections)

    async def close(self) -> None:
        """Ack what is being recorded, take nothing more, and let go of everything. Bounded in time; idempotent."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await asyncio.gather(*(connection.end() for connection in self._connections))
        self._connections.clear()
        if self.client.session is not None:
            await self.client.session.close()

    def _bolt(self, us: Us, bot_id: str) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            # What Bolt would ask Slack for at the first event: it acks that event when the question fails.
            return AuthorizeResult(
                enterprise_id=None,
                team_id=us.team,
                bot_user_id=us.bot_user,
                bot_id=bot_id or None,
                bot_token=self.client.token,
            )

        app = AsyncApp(
            name="bolt",  # a logger of this name is made, and ours is called peerbot
            logger=bolt_log,
            client=web_client(self._api_url, None),
            authorize=authorize,
            request_verification_enabled=False,  # a socket's messages carry no signature
            attaching_conversation_kwargs_enabled=False,
        )

        @app.middleware
        async def receive(body: dict[str, Any]) -> BoltResponse:
            return BoltResponse(status=200 if await self._receive(body, us) else 503)

        return app

    async def _receive(self, body: Mapping[str, Any], us: Us) -> bool:
        """Whether Slack may have its ack."""
        if self._closing:
            return False
        candidate = read_event(body, us)
        if candidate is None:
            return True
        said = candidate.input
        heard = log.bind(conversation=str(said.conversation), input=said.id, event=said.event_id)
        try:
            for_us = await asyncio.wait_for(self._on_input(candidate), RECORD_SECONDS)
        except PeerBotError as error:
            heard.warning("not_acked", reason=str(error), cause=repr(error.__cause__))
            return False
        except TimeoutError:
            heard.warning("not_acked", reason=f"took longer than {RECORD_SECONDS:g} s")
            return False
        except Exception:
            heard.exception("not_acked")
            return False
        heard.info("received", for_us=for_us)
        return True

    async def _connect(self) -> "_Connection":
        assert self._app is not None
        try:
            opened = await call("a connection", self.client.apps_connections_open(app_token=self._app_token))
        except Refused as refused:
            code = refusal_code(refused)
            raise Refused(
                f"Slack does not accept the app token ({code}). Check SLACK_APP_TOKEN: it begins with xapp- and has "
                "the scope connections:write, and Socket Mode is switched on for the app."
            ) from refused
        connection = _Connection(self._app, self._app_token, self.client, self._ping_seconds)
        try:
            await asyncio.wait_for(connection.open(str(opened["url"])), _CONNECT_SECONDS)
        except BaseException as error:
            await connection.end()
            if isinstance(error, TimeoutError):
                raise Unavailable("Slack's socket could not be opened in time.") from error
            raise
        return connection

    async def _keep_connected(self) -> None:
        """Replace the connections that stay down, and tell of the time in which nothing was heard."""
        look_seconds = min(_LOOK_SECONDS, self._down_seconds / 4, self._ping_seconds / 4)
        heard_at = time.time()
        while True:
            await asyncio.sleep(look_seconds)
            heard = max((c.heard_at() for c in self._connections if c.connected()), default=0.0)
            if heard - heard_at >= 1.5 * self._ping_seconds:  # a network that was away, a machine that slept
                log.warning("slack_gap", seconds=round(heard - heard_at, 1))
                self._on_gap(heard_at)
            heard_at = max(heard_at, heard)
            await asyncio.gather(*(self._look_after(place) for place in range(len(self._connections))))

    async def _look_after(self, place: int) -> None:
        """Replace one connection where it stays down; what failed is tried again a little later."""
        connection, now = self._connections[place], time.time()
        if connection.connected():
            connection.fine_at = now
        elif now - connection.fine_at >= self._down_seconds and now >= connection.try_again_at:
            log.warning("slack_connection_replaced", place=place)
            connection.try_again_at = now + self._down_seconds / 4
            try:
                self._connections[place] = await self._connect()
            except PeerBotError as error:
                log.warning("slack_not_connected", place=place, reason=str(error))
            else:
                await connection.end()


class _Connection(AsyncSocketModeHandler):
    """One socket, which knows what it is busy with, so that closing leaves nothing behind."""

    def __init__(self, app: AsyncApp, app_token: str, client: AsyncWebClient, ping_seconds: float) -> None:
        super().__init__(app, app_token, logger=sdk_log, web_client=client, ping_interval=ping_seconds)
        self._frame_at = time.time()
        self.client.on_message_listeners.append(self._frame)
        self.client.proxy = client.proxy
        self.fine_at = time.time()  # when it was last seen open
        self.try_again_at = 0.0  # to replace it
        self._busy: set[asyncio.Task[Any]] = set()

    async def open(self, url: str) -> None:
        self.client.wss_uri = url  # issued already, by a call whose refusal could be told
        await self.client.connect()  # type: ignore[no-untyped-call]

    def connected(self) -> bool:
        session = self.client.current_session
        return not self.client.closed and not self.client.stale and session is not None and not session.closed

    def heard_at(self) -> float:
        """When the last frame or answer to a ping came, in seconds since 1970."""
        return max(self._frame_at, self.client.last_ping_pong_time or 0.0)

    async def _frame(self, _: object) -> None:
        self._frame_at = time.time()

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
