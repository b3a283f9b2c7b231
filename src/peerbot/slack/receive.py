"""What comes in from Slack, and the promise that it is recorded before Slack gets its ack.

Bolt acks an event before its listener is done, but runs its global middleware first, and sends no ack for a 503. So
everything is done in one middleware, and there are no listeners: what nobody handles is acked there, too.

If a handler raises, or takes longer than two seconds, there is no ack. Then Slack sends an event again. A click, a
submitted modal or a command is sent once: Slack shows an error to the person instead, who can try again. An ack would
have told them that all is well.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from peerbot import metrics
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.slack.api import bolt_log, web_client
from peerbot.slack.events import Candidate, Change, Deleted, Edited, Incoming, Other, Us, about, read
from peerbot.slack.interactions import Interaction, Reply
from peerbot.slack.outbound import Outbound
from peerbot.slack.sockets import CONNECTIONS, PACE, RECORD_SECONDS, OnGap, Pace, Sockets

log = logger(__name__)

OnInput = Callable[[Candidate], Awaitable[bool]]
OnOther = Callable[[Change | Interaction | Other], Awaitable[Reply | None]]


def _kind(incoming: Incoming) -> str:
    """Say what came in, for `metrics.events`."""
    match incoming:
        case Candidate():
            return "message"
        case Edited() | Deleted():
            return "change"
        case Other():
            return "other"
    return "interaction"


async def unhandled(incoming: Change | Interaction | Other) -> None:
    """Take what has no handler: it is acked, and a line in the log says so."""
    log.debug("not_handled", **about(incoming))


class Receiver:
    """Listens to one workspace's Slack, over two sockets at once.

    `on_input` gets the messages and says whether one was for us. `on_other` gets everything else; what it returns goes
    back with the ack. Both are awaited before the ack and have written everything when they return. If one takes longer
    than two seconds there is no ack, but it goes on to its end.

    `outbound` opens the sockets; `on_gap` and `pace` are for them, too (slack/sockets.py).
    """

    def __init__(
        self,
        *,
        outbound: Outbound,
        app_token: str,
        us: Us,
        on_input: OnInput,
        on_other: OnOther = unhandled,
        on_gap: OnGap = lambda _: None,
        pace: Pace = PACE,
    ) -> None:
        self._us = us
        self._on_input = on_input
        self._on_other = on_other
        self._closing = False
        self._handling: set[asyncio.Task[tuple[str, BoltResponse]]] = set()
        app = self._bolt(outbound.client)
        self._sockets = Sockets(app=app, outbound=outbound, app_token=app_token, on_gap=on_gap, pace=pace)

    async def start(self) -> None:
        """Connect. Raises as `Sockets.open` does; then nothing is left open."""
        await self._sockets.open()
        log.info("slack_connected", team=self._us.team, connections=CONNECTIONS)

    def connected(self) -> bool:
        """Whether at least one socket is open."""
        return self._sockets.connected()

    def measure(self) -> None:
        """Show how many sockets are open."""
        self._sockets.measure()

    async def close(self) -> None:
        """Ack what is being handled, take nothing more, and close the sockets. Bounded in time; idempotent."""
        self._closing = True
        await self._sockets.close()
        for handling in self._handling:
            handling.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)

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
            return await self._receive(body)

        return app

    async def _receive(self, body: Mapping[str, Any]) -> BoltResponse:
        """Have a body handled, and answer with the ack or with none."""
        if self._closing:
            return _no_ack()
        arrived, incoming = time.perf_counter(), read(body, self._us)
        heard = log.bind(**about(incoming))
        handling = asyncio.create_task(self._handle(incoming, heard))
        self._handling.add(handling)
        handling.add_done_callback(self._handling.discard)
        done, _ = await asyncio.wait([handling], timeout=RECORD_SECONDS)
        if not done:
            # It goes on: Slack may send it again in a minute only, when the next message has long been answered.
            heard.warning("not_acked", reason=f"takes longer than {RECORD_SECONDS:g} s")
        outcome, response = handling.result() if done else ("late", _no_ack())
        metrics.events.labels(_kind(incoming), outcome).inc()
        metrics.ack_seconds.observe(time.perf_counter() - arrived)
        return response

    async def _handle(self, incoming: Incoming, heard: Any) -> tuple[str, BoltResponse]:
        """Hand on what came in; returns its outcome (`metrics.events`), and the answer to Slack. Raises nothing."""
        reply, outcome = None, "handled"
        try:
            if isinstance(incoming, Candidate):
                for_us = await self._on_input(incoming)
                heard.info("received", for_us=for_us)
                outcome = "recorded" if for_us else "ignored"
            else:
                reply = await self._on_other(incoming)
        except PeerBotError as error:
            heard.warning("not_acked", reason=str(error), cause=repr(error.__cause__))
            return "failed", _no_ack()
        except Exception:
            heard.exception("not_acked")
            return "failed", _no_ack()
        return outcome, BoltResponse(status=200, body=dict(reply.body) if reply else "")


def _no_ack() -> BoltResponse:
    return BoltResponse(status=503)
