"""What Slack keeps of channels and threads, read back as the events that it once sent.

For whoever was away while the events came. Each page is one call, as a rule of the least urgent; they are counted, so
that a look back has an end.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused
from peerbot.logs import logger
from peerbot.slack.api import refusal_code
from peerbot.slack.events import Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound

log = logger(__name__)

MOST_CALLS = 300  # of one look back: about ten minutes of them
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

    def __init__(
        self,
        outbound: Outbound,
        us: Us,
        *,
        most_calls: int = MOST_CALLS,
        urgency: Urgency = Urgency.BACKGROUND,
    ) -> None:
        self._outbound = outbound
        self._us = us
        self._urgency = urgency
        self._calls_left = most_calls

    @property
    def used_up(self) -> bool:
        """Whether there is no call left; what was not read by then is not read."""
        return self._calls_left <= 0

    async def channels(self) -> AsyncIterator[MemberOf]:
        """Yield the channels that the bot is in; kinds that it has no scope for are left out."""
        for kind, spoken in _TYPES.items():
            try:
                asked = {"types": kind, "exclude_archived": True}
                async for channel in self._all("the list of channels", "users.conversations", "channels", asked):
                    yield MemberOf(str(channel["id"]), spoken)
            except Refused as refused:
                log.warning("channels_not_listed", kind=kind, reason=str(refused))

    async def in_channel(self, channel: str, since: float, *, pages: int) -> list[Message]:
        """Read what stands in the channel itself since then, oldest first: at most the newest `pages` pages."""
        asked = {"channel": channel, "oldest": f"{since:.6f}"}
        found = self._all("a channel's messages", "conversations.history", "messages", asked, pages=pages)
        return sorted([message async for message in found], key=_ts)

    async def in_thread(self, channel: str, thread_ts: str, since: float) -> list[Message]:
        """Read a thread's messages since then, oldest first, and what began it."""
        asked = {"channel": channel, "ts": thread_ts, "oldest": f"{since:.6f}"}
        found = self._all("a thread's messages", "conversations.replies", "messages", asked)
        return sorted([message async for message in found], key=_ts)

    async def message(self, conversation: Conversation, ts: str) -> Message | None:
        """Read one message; None where it is gone, or out of the bot's sight."""
        asked = {
            "channel": conversation.channel,
            "ts": conversation.thread_ts,
            "oldest": ts,
            "latest": ts,
            "inclusive": True,
        }
        try:
            found = [m async for m in self._all("a message", "conversations.replies", "messages", asked, pages=1)]
        except Refused as refused:
            if refusal_code(refused) in _GONE:
                return None
            raise
        return next((message for message in found if message.get("ts") == ts), None)

    def event(self, channel: str, message: Message, kind: str = "") -> dict[str, Any]:
        """The event that Slack sent, or would have sent, when the message was written: as it reads now."""
        said = {name: value for name, value in message.items() if name != "edited"}
        said |= {"type": "message", "channel": channel, "channel_type": kind}
        return {"type": "event_callback", "team_id": self._us.team, "event_id": "", "event": said}

    async def _all(
        self, doing: str, method: str, what: str, asked: Mapping[str, Any], *, pages: int = MOST_CALLS
    ) -> AsyncIterator[Message]:
        most = min(pages, self._calls_left)
        async for page in self._outbound.pages(doing, method, self._urgency, asked, most=most):
            self._calls_left -= 1
            for item in page.get(what) or ():
                yield item


def _ts(message: Message) -> str:
    return str(message.get("ts", ""))
