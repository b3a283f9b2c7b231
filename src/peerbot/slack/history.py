"""The messages of a thread that the bot has not received, for example those from before it was called into it."""

from collections.abc import Mapping
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.text import ThreadMessage

_PAGES = 5
_SAID = {None, "file_share", "thread_broadcast", "bot_message", "me_message"}


async def earlier_messages(
    outbound: Outbound, conversation: Conversation, before_ts: str, *, bot_user: str, after_ts: str = "0"
) -> list[ThreadMessage]:
    """Read the thread's messages from after `after_ts` and before `before_ts`, oldest first, without our own.

    Other bots' messages are among them (a thread often begins with an alert). Reads at most 1,000 messages, the oldest.
    Raises `Unavailable` and `Refused` as `Outbound.call` does.
    """
    found: dict[str, ThreadMessage] = {}
    channel, thread_ts = conversation.channel, conversation.thread_ts
    async for message in outbound.thread(
        channel, thread_ts, Urgency.FIRST, after_ts=after_ts, latest=before_ts, most=_PAGES
    ):
        ts = str(message["ts"])
        if _was_said(message, bot_user) and after_ts < ts < before_ts:
            author = str(message.get("user") or message.get("username") or "a bot")
            found[ts] = ThreadMessage(ts, author, str(message["text"]))
    return [found[ts] for ts in sorted(found)]


def _was_said(message: Mapping[str, Any], bot_user: str) -> bool:
    return message.get("subtype") in _SAID and message.get("user") != bot_user and bool(message.get("text"))
