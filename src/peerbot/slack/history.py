"""What people said in a thread that the bot has not heard, such as before it was called into it."""

from collections.abc import Mapping
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from peerbot.conversation.keys import Conversation
from peerbot.conversation.text import ThreadMessage
from peerbot.slack.api import call

_PAGE = 200
_PAGES = 5
_SAID = {None, "file_share", "thread_broadcast", "bot_message", "me_message"}


async def earlier_messages(
    client: AsyncWebClient, conversation: Conversation, before_ts: str, *, bot_user: str, after_ts: str = "0"
) -> list[ThreadMessage]:
    """Read the thread's messages from after `after_ts` and before `before_ts`, oldest first, without our own.

    Other bots' messages are among them (a thread often begins with an alert). At most 1,000 messages are read, the
    oldest of them. Raises `Unavailable` and `Refused` as `call` does.
    """
    messages: list[ThreadMessage] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        request = client.conversations_replies(
            channel=conversation.channel,
            ts=conversation.thread_ts,
            oldest=after_ts,
            latest=before_ts,
            inclusive=False,
            limit=_PAGE,
            cursor=cursor,
        )
        page = await call("a thread's messages", request)
        for message in page.get("messages") or ():
            if _was_said(message, bot_user) and after_ts < str(message["ts"]) < before_ts:
                author = str(message.get("user") or message.get("username") or "a bot")
                messages.append(ThreadMessage(str(message["ts"]), author, str(message["text"])))
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            break
    return sorted({message.ts: message for message in messages}.values(), key=lambda message: message.ts)


def _was_said(message: Mapping[str, Any], bot_user: str) -> bool:
    return message.get("subtype") in _SAID and message.get("user") != bot_user and bool(message.get("text"))
