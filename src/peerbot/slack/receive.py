"""What comes in from Slack, and the promise that it is recorded before Slack gets its ack.

Bolt acks an event before its listener is done, but runs its global middleware first, and sends no ack for a 503. So
everything is done in one middleware: what could not be recorded in time is not acked, and Slack sends it again. There
are no listeners: what is not for us is acked there, too, since Slack would send it again otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.slack.api import bolt_log, new_session, web_client
from peerbot.slack.events import Candidate, Us, read_event
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.sockets import CONNECTIONS, PACE, RECORD_SECONDS, OnGap, Pace, Sockets

log = logger(__name__)

OnInput = Callable[[Candidate], Awaitable[bool]]


class Receiver:
    """Listens to one workspace's Slack, over two sockets at once.

    `on_input` is awaited before the ack and has written everything when it returns; what it returns says whether the
    message was for us. Where it raises or takes longer than two seconds, Slack sends the event again; what takes longer
    goes on to its end all the same. Whoever starts it closes it.

    `on_gap` and `pace` are for its sockets (slack/sockets.py).
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
        pace: Pace = PACE,
    ) -> None:
        self.client: AsyncWebClient = web_client(api_url, bot_token)
        self.outbound = Outbound(self.client)
        self._app_token = app_token
        self._api_url = api_url
        self._trigger_phrase = trigger_phrase
        self._on_input = on_input
        self._on_gap = on_gap
        self._pace = pace
        self._us: Us | None = None
        self._sockets: Sockets | None = None
        self._closing = False
        self._recording: set[asyncio.Task[bool]] = set()

    async def identify(self) -> Us:
        """Find out who we are; nothing is received before `start`.

        Raises `Refused`, naming the setting, where Slack does not accept the bot token, `Unavailable` where it does not
        answer in time; then nothing is left open.
        """
        if self._us is not None:
            return self._us
        self.client.session = new_session()
        try:
            me = await self.outbound.call("the check of SLACK_BOT_TOKEN", "auth.test", Urgency.FIRST, {})
        except BaseException:
            await self.close()
            raise
        self._us = Us(str(me["team_id"]), str(me["user_id"]), self._trigger_phrase)
        self._sockets = Sockets(
            app=self._bolt(self._us, str(me.get("bot_id") or "")),
            outbound=self.outbound,
            app_token=self._app_token,
            on_gap=self._on_gap,
            pace=self._pace,
        )
        return self._us

    async def start(self) -> Us:
        """Find out who we are, if that is not known yet, and connect.

        Raises as `identify` does, and `Refused` where Slack does not accept the app token.
        """
        us = await self.identify()
        assert self._sockets is not None
        try:
            await self._sockets.open()
        except BaseException:
            await self.close()
            raise
        log.info("slack_connected", team=us.team, connections=CONNECTIONS)
        return us

    def connected(self) -> bool:
        """Whether at least one socket is open."""
        return self._sockets is not None and self._sockets.connected()

    async def close(self) -> None:
        """Ack what is being recorded, take nothing more, and let go of everything. Bounded in time; idempotent."""
        self._closing = True
        if self._sockets is not None:
            await self._sockets.close()
        for recording in self._recording:
            recording.cancel()
        await asyncio.gather(*self._recording, return_exceptions=True)
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
        recording = asyncio.create_task(self._record(candidate, heard))
        self._recording.add(recording)
        recording.add_done_callback(self._recording.discard)
        done, _ = await asyncio.wait([recording], timeout=RECORD_SECONDS)
        if not done:
            # It goes on: Slack may send it again in a minute only, when the next message has long been answered.
            heard.warning("not_acked", reason=f"takes longer than {RECORD_SECONDS:g} s")
            return False
        return recording.result()

    async def _record(self, candidate: Candidate, heard: Any) -> bool:
        """Whether it could be recorded, where it is for us. Raises nothing."""
        try:
            for_us = await self._on_input(candidate)
        except PeerBotError as error:
            heard.warning("not_acked", reason=str(error), cause=repr(error.__cause__))
            return False
        except Exception:
            heard.exception("not_acked")
            return False
        heard.info("received", for_us=for_us)
        return True
