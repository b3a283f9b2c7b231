"""Reads from Slack the messages of channels and threads, in the form in which Slack's events once brought them.

A dispatcher that was away while the events came uses it. Each page is one call, as a rule with the lowest urgency.
Calls are counted, so that a look back has an end.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused
from peerbot.logs import logger
from peerbot.slack.api import refusal_code
from peerbot.slack.events import Candidate, Us, read_event
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound

log = logger(__name__)

MOST_CALLS = 300  # of one look back: they take about ten minutes
_TYPES = {"public_channel": "channel", "private_channel": "group", "mpim": "mpim", "im": "im"}  # kind: events' word
_GONE = ("thread_not_found", "message_not_found", "channel_not_found", "not_in_channel")


@dataclass(frozen=True, slots=True)
class MemberOf:
    """A channel that the bot is in, with its kind in the words of events."""

    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Root:
    """A message that began a thread, and when the newest reply to it was written (in seconds since 1970)."""

    thread_ts: str
    latest_reply: float


class Past:
    """One look back. Raises `Unavailable` if Slack does not answer for minutes, and `Refused` if Slack refuses."""

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
        """Whether there is no call left. Messages that were not read by then stay unread."""
        return self._calls_left <= 0

    async def channels(self) -> AsyncIterator[MemberOf]:
        """Yield the channels that the bot is in. Kinds that it has no scope for are left out."""
        for kind, spoken in _TYPES.items():
            try:
                asked = {"types": kind, "exclude_archived": True}
                async for channel in self._all("the list of channels", "users.conversations", "channels", asked):
                    yield MemberOf(str(channel["id"]), spoken)
            except Refused as refused:
                log.warning("channels_not_listed", kind=kind, reason=str(refused))

    async def in_channel(self, channel: MemberOf, since: float, *, pages: int) -> tuple[list[Candidate], list[Root]]:
        """Read the messages of the channel itself since then, at most the newest `pages` pages.

        Returns the messages that may be for us, oldest first, and the threads that have replies.
        """
        asked = {"channel": channel.id, "oldest": f"{since:.6f}"}
        found = await self._messages("a channel's messages", "conversations.history", asked, pages=pages)
        roots = [Root(str(m["ts"]), float(m["latest_reply"])) for m in found if m.get("latest_reply")]
        return self._candidates(found, channel), roots

    async def in_thread(self, channel: MemberOf, thread_ts: str, since: float) -> list[Candidate]:
        """Read the messages of a thread that may be for us, oldest first: its first one, and those since then."""
        asked = {"channel": channel.id, "ts": thread_ts, "oldest": f"{since:.6f}"}
        return self._candidates(await self._messages("a thread's messages", "conversations.replies", asked), channel)

    async def message(self, conversation: Conversation, ts: str) -> Candidate | None:
        """Read one message; None if it is gone, out of the bot's sight, or not for us."""
        asked = {
            "channel": conversation.channel,
            "ts": conversation.thread_ts,
            "oldest": ts,
            "latest": ts,
            "inclusive": True,
        }
        try:
            found = await self._messages("a message", "conversations.replies", asked, pages=1)
        except Refused as refused:
            if refusal_code(refused) in _GONE:
                return None
            raise
        candidates = self._candidates(found, MemberOf(conversation.channel, ""))
        return next((candidate for candidate in candidates if candidate.input.ts == ts), None)

    def _candidates(self, messages: list[Mapping[str, Any]], channel: MemberOf) -> list[Candidate]:
        """Read messages as Slack's events would have brought them, with their present words."""
        found = []
        for message in messages:
            said = {name: value for name, value in message.items() if name != "edited"}
            said |= {"type": "message", "channel": channel.id, "channel_type": channel.kind}
            body = {"type": "event_callback", "team_id": self._us.team, "event_id": "", "event": said}
            found.append(read_event(body, self._us))
        return [candidate for candidate in found if candidate]

    async def _messages(
        self, doing: str, method: str, asked: Mapping[str, Any], *, pages: int = MOST_CALLS
    ) -> list[Mapping[str, Any]]:
        """Read messages, oldest first."""
        found = [message async for message in self._all(doing, method, "messages", asked, pages=pages)]
        return sorted(found, key=lambda message: str(message.get("ts", "")))

    async def _all(
        self, doing: str, method: str, what: str, asked: Mapping[str, Any], *, pages: int = MOST_CALLS
    ) -> AsyncIterator[Mapping[str, Any]]:
        most = min(pages, self._calls_left)
        async for page in self._outbound.pages(doing, method, self._urgency, asked, most=most):
            self._calls_left -= 1
            for item in page.get(what) or ():
                yield item
