"""The messages of a thread that the bot has not received, for example those from before it was called into it."""

from collections.abc import Mapping
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.said import words_of
from peerbot.slack.shared import shared_files
from peerbot.slack.text import ThreadMessage

_PAGES = 5
_SAID = {None, "file_share", "thread_broadcast", "bot_message", "me_message"}


async def earlier_messages(
    outbound: Outbound, conversation: Conversation, before_ts: str, *, bot_user: str, after_ts: str = "0"
) -> list[ThreadMessage]:
    """Read the thread's messages from after `after_ts` and before `before_ts`, oldest first, without our own.

    Other bots' messages are among them (a thread often begins with an alert), and what only attachments, blocks or the
    names of files say. Reads at most 1,000 messages, the oldest.
    Raises `Unavailable` and `Refused` as `Outbound.call` does.
    """
    found: dict[str, ThreadMessage] = {}
    channel, thread_ts = conversation.channel, conversation.thread_ts
    async for message in outbound.thread(
        channel, thread_ts, Urgency.FIRST, after_ts=after_ts, latest=before_ts, most=_PAGES
    ):
        ts = str(message["ts"])
        if _was_said(message, bot_user) and after_ts < ts < before_ts:
            found[ts] = _read(message)
    return [found[ts] for ts in sorted(found)]


async def earlier_message(
    outbound: Outbound, conversation: Conversation, ts: str, bot_user: str
) -> list[ThreadMessage]:
    """Read one message of the thread; none if it is gone, or our own. Raises as `earlier_messages`."""
    found = [
        _read(message)
        async for message in outbound.thread(
            conversation.channel,
            conversation.thread_ts,
            Urgency.FIRST,
            after_ts=ts,
            latest=ts,
            inclusive=True,
            most=1,
        )
        if message["ts"] == ts and _was_said(message, bot_user)
    ]
    return found[:1]


def _read(message: Mapping[str, Any]) -> ThreadMessage:
    user = str(message.get("user") or "")
    name = str(message.get("username") or (message.get("bot_profile") or {}).get("name") or "a bot")
    files = tuple(shared_files(message))
    return ThreadMessage(str(message["ts"]), user or name, words_of(message), is_bot=not user, files=files)


def _was_said(message: Mapping[str, Any], bot_user: str) -> bool:
    if message.get("subtype") not in _SAID or message.get("user") == bot_user:
        return False
    return bool(words_of(message) or message.get("files"))
