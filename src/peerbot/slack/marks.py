"""How our messages in a thread are found again: by the mark in their metadata, or by the name of a file.

What marks mean is for those who set them. Here is how Slack carries them, and how it shows a thread.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.keys import Conversation
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
    """A message as its thread shows it."""

    ts: str
    user: str
    mark: Mark | None
    files: tuple[str, ...]  # their names
    is_tombstone: bool  # it was deleted and has replies


async def read_thread(
    outbound: Outbound, conversation: Conversation, urgency: Urgency, *, after_ts: str = "0"
) -> AsyncIterator[Shown]:
    """Read a conversation's thread from after `after_ts`, oldest first. Raises as `Outbound.call` does.

    The message that began it comes with each page.
    """
    async for message in outbound.thread(conversation.channel, conversation.thread_ts, urgency, after_ts=after_ts):
        yield _shown(message)


def _shown(message: Mapping[str, Any]) -> Shown:
    metadata = message.get("metadata") or {}
    event = metadata.get("event_type")
    return Shown(
        ts=str(message["ts"]),
        user=str(message.get("user") or ""),
        mark=Mark(str(event), metadata.get("event_payload") or {}) if event else None,
        files=tuple(str(file.get("name")) for file in message.get("files") or ()),
        is_tombstone=message.get("subtype") == "tombstone",
    )
