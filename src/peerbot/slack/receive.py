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
from peerbot.slack.api import bolt_log, web_client
from peerbot.slack.events import Candidate, Us, read_event
from peerbot.slack.outbound import Outbound
from peerbot.slack.sockets import CONNECTIONS, PACE, RECORD_SECONDS, OnGap, Pace, Sockets

log = logger(__name__)

OnInput = Callable[[Candidate], Awaitable[bool]]


class Receiver:
    """Listens to one workspace's Slack, over two sockets at once.

    `on_input` is awaited before the ack and has written everything when it returns; what it returns says whether the
    message was for us. Where it raises or takes longer than two seconds, Slack sends the event again; what takes longer
    goes on to its end all the same.

    `outbound` opens the sockets; `on_gap` and `pace` are for them, too (slack/sockets.py).
    """

    def __init__(
        self,
        *,
        outbound: Outbound,
        app_token: str,
        us: Us,
        on_input: OnInput,
        on_gap: OnGap = lambda _: None,
        pace: Pace = PACE,
    ) -> None:
        self._us = us
        self._on_input = on_input
        self._closing = False
        self._recording: set[asyncio.Task[bool]] = set()
        app = self._bolt(outbound.client)
        self._sockets = Sockets(app=app, outbound=outbound, app_token=app_token, on_gap=on_gap, pace=pace)

    async def start(self) -> None:
        """Connect. Raises as `Sockets.open` does; then nothing is left open."""
        await self._sockets.open()
        log.info("slack_connected", team=self._us.team, connections=CONNECTIONS)

    def connected(self) -> bool:
        """Whether at least one socket is open."""
        return self._sockets.connected()

    async def close(self) -> None:
        """Ack what is being recorded, take nothing more, and close the sockets. Bounded in time; idempotent."""
        self._closing = True
        await self._sockets.close()
        for recording in self._recording:
            recording.cancel()
        await asyncio.gather(*self._recording, return_exceptions=True)

    def _bolt(self, client: AsyncWebClient) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            # What Bolt would ask Slack for at the first event: it acks that event when the question fails.
            return AuthorizeResult(
                enterprise_id=None,
                team_id=self._us.team,
                bot_user_id=self._us.bot_user,
                bot_token=client.token,
            )

        app = AsyncApp(
            name="bolt",  # a logger of this name is made, and ours is called peerbot
            logger=bolt_log,
            client=web_client(client.base_url, None),
            authorize=authorize,
            request_verification_enabled=False,  # a socket's messages carry no signature
            attaching_conversation_kwargs_enabled=False,
        )

        @app.middleware
        async def receive(body: dict[str, Any]) -> BoltResponse:
            return BoltResponse(status=200 if await self._receive(body) else 503)

        return app

    async def _receive(self, body: Mapping[str, Any]) -> bool:
        """Whether Slack may have its ack."""
        if self._closing:
            return False
        candidate = read_event(body, self._us)
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
