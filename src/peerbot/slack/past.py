"""What Slack keeps of channels and threads, read back as the events that it once sent, within Slack's budgets.

For whoever was away while the events came. Each page is one call; the calls are spaced, so that a replica takes about
half of what Slack allows (50 a minute, a method), and counted, so that a look back has an end.
"""

import time
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import stamina
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.conversation.keys import Conversation
from peerbot.conversation.policy import Us
from peerbot.errors import Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import call, refusal_code

log = logger(__name__)

BURST, SECONDS_A_CALL = 15, 2.0  # at once, then one every two seconds: at most 45 in a minute
MOST_CALLS = 300  # of one look back: about ten minutes of them
ASKED_FOR_SECONDS = 300.0  # while Slack says to come back later
_PAGE = 200
_TYPES = {"public_channel": "channel", "private_channel": "group", "mpim": "mpim", "im": "im"}  # and as events say it
_GONE = ("thread_not_found", "message_not_found", "channel_not_found", "not_in_channel")

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MemberOf:
    """A channel that the bot is in, with its kind in the words of events."""

    id: str
    kind: str


class Past:
    """One look back. Raises `Unavailable` where Slack does not answer for minutes, and `Refused` where it will not."""

    def __init__(self, client: AsyncWebClient, us: Us, *, most_calls: int = MOST_CALLS) -> None:
        self._client = client
        self._us = us
        self._calls_left = most_calls
        self._free_at = time.monotonic() - BURST * SECONDS_A_CALL

    @property
    def used_up(self) -> bool:
        """Whether there is no call left; what was not read by then is not read."""
        return self._calls_left <= 0

    async def channels(self) -> AsyncIterator[MemberOf]:
        """Yield the channels that the bot is in; kinds that it has no scope for are left out."""
        for kind, spoken in _TYPES.items():
            try:
                async for channel in self._pages(
                    "the list of channels",
                    "channels",
                    self._client.users_conversations,
                    types=kind,
                    exclude_archived=True,
                ):
                    yield MemberOf(str(channel["id"]), spoken)
            except Refused as refused:
                log.warning("channels_not_listed", kind=kind, reason=str(refused))

    async def in_channel(self, channel: str, since: float, *, pages: int) -> list[Message]:
        """Read what stands in the channel itself since then, oldest first: at most the newest `pages` pages."""
        asked = self._pages(
            "a channel's messages",
            "messages",
            self._client.conversations_history,
            pages=pages,
            channel=channel,
            oldest=f"{since:.6f}",
        )
        return sorted([message async for message in asked], key=_ts)

    async def in_thread(self, channel: str, thread_ts: str, since: float) -> list[Message]:
        """Read a thread's messages since then, oldest first, and what began it."""
        asked = self._pages(
            "a thread's messages",
            "messages",
            self._client.conversations_replies,
            channel=channel,
            ts=thread_ts,
            oldest=f"{since:.6f}",
        )
        return sorted([message async for message in asked], key=_ts)

    async def message(self, conversation: Conversation, ts: str) -> Message | None:
        """Read one message; None where it is gone, or out of the bot's sight."""
        request = {"channel": conversation.channel, "ts": conversation.thread_ts, "inclusive": True}
        try:
            page = await self._ask(
                "a message", self._client.conversations_replies, oldest=ts, latest=ts, limit=_PAGE, **request
            )
        except Refused as refused:
            if refusal_code(refused) in _GONE:
                return None
            raise
        return next((message for message in page.get("messages") or () if message.get("ts") == ts), None)

    def event(self, channel: str, message: Message, kind: str = "") -> dict[str, Any]:
        """The event that Slack sent, or would have sent, when the message was written: as it reads now."""
        said = {name: value for name, value in message.items() if name != "edited"}
        said |= {"type": "message", "channel": channel, "channel_type": kind}
        return {"type": "event_callback", "team_id": self._us.team, "event_id": "", "event": said}

    async def _pages(
        self,
        doing: str,
        what: str,
        method: Callable[..., Awaitable[AsyncSlackResponse]],
        *,
        pages: int = MOST_CALLS,
        **arguments: Any,
    ) -> AsyncIterator[Message]:
        cursor: str | None = None
        for _ in range(pages):
            if self.used_up:
                return
            page = await self._ask(doing, method, limit=_PAGE, cursor=cursor, **arguments)
            for item in page.get(what) or ():
                yield item
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return

    async def _ask(
        self, doing: str, method: Callable[..., Awaitable[AsyncSlackResponse]], **arguments: Any
    ) -> Mapping[str, Any]:
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=None, timeout=ASKED_FOR_SECONDS, wait_initial=1.0, wait_max=60.0
        ):
            with attempt:
                await self._turn()
                return await call(doing, method(**arguments))
        raise AssertionError("the last attempt returns or raises")

    async def _turn(self) -> None:
        """Wait until the next call may go out."""
        self._calls_left -= 1
        now = time.monotonic()
        self._free_at = max(self._free_at, now - BURST * SECONDS_A_CALL) + SECONDS_A_CALL
        await sleep(max(0.0, self._free_at - now))


def _ts(message: Message) -> str:
    return str(message.get("ts", ""))
