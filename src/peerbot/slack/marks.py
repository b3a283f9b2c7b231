"""How our messages in a thread are found again: by the mark in their metadata, or by the name of a file.

What marks mean is for those who set them. Here is how Slack carries them, and how it shows a thread. Any app may set
the same mark, and anybody may give a file any name, so only messages that we wrote have either here. We wrote a message
if Slack names our bot's user and, if it names a bot, our bot (`auth.test` says who we are; an app can change neither).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.slack.events import Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Mark:
    """What a message says of itself to programs. Any app in the workspace may read it, and set the same: no secret."""

    event: str
    payload: Mapping[str, Any]

    def as_metadata(self) -> dict[str, Any]:
        """The mark as Slack takes it with a message."""
        return {"event_type": self.event, "event_payload": dict(self.payload)}


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as its thread shows it. Another's has no mark and no files here."""

    ts: str
    ours: bool
    mark: Mark | None
    files: tuple[str, ...]  # their names
    file_ids: tuple[str, ...]
    is_tombstone: bool  # it was deleted and has replies


async def read_thread(
    outbound: Outbound, conversation: Conversation, urgency: Urgency, us: Us, *, after_ts: str = "0"
) -> AsyncIterator[Shown]:
    """Read a conversation's thread from after `after_ts`, oldest first. Raises as `Outbound.call` does.

    The message that began it comes with each page.
    """
    async for message in outbound.thread(conversation.channel, conversation.thread_ts, urgency, after_ts=after_ts):
        yield _shown(message, us)


async def thread_of(outbound: Outbound, channel: str, ts: str, us: Us) -> tuple[str, Mark | None]:
    """Find the thread of a message (the `ts` of its first message), and the mark that we put on it.

    Raises as `Outbound.call` does.
    """
    asked = {"channel": channel, "ts": ts, "limit": 1, "include_all_metadata": True}
    reply = await outbound.call("a message", "conversations.replies", Urgency.FIRST, asked)
    [message, *_] = reply.get("messages") or [{}]
    return str(message.get("thread_ts") or ts), _shown({"ts": ts, **message}, us).mark


def _is_ours(message: Mapping[str, Any], us: Us) -> bool:
    bot = message.get("bot_id")
    return message.get("user") == us.bot_user and (not us.bot or bot in (None, us.bot))


def _shown(message: Mapping[str, Any], us: Us) -> Shown:
    ours = _is_ours(message, us)
    metadata = (message.get("metadata") or {}) if ours else {}
    event = metadata.get("event_type")
    files = (message.get("files") or ()) if ours else ()
    return Shown(
        ts=str(message["ts"]),
        ours=ours,
        mark=Mark(str(event), metadata.get("event_payload") or {}) if event else None,
        files=tuple(str(file.get("name")) for file in files),
        file_ids=tuple(str(file.get("id")) for file in files),
        is_tombstone=message.get("subtype") == "tombstone",
    )
