"""What leaves for Slack: messages, edits of them, reactions.

Nothing posted here unfurls a link or turns a name into a mention. Where a workspace does not take our blocks, the same
is said with plain ones, from then on at once.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Refused
from peerbot.logs import logger
from peerbot.slack.api import call, refusal_code
from peerbot.slack.render import Rendered, plain

log = logger(__name__)

_BLOCKS_REFUSED = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "unsupported_block_type"}
_PAGE = 200
_AS_GOOD_AS_DONE = {
    "already_reacted",
    "no_reaction",
    "message_not_found",
    "thread_locked",
    "is_archived",
    "too_many_emoji",
    "too_many_reactions",
    "not_reactable",
}


class Poster:
    """Writes to one workspace's Slack. Holds nothing but the memory of whether the workspace takes our blocks."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._plain = False

    async def post(
        self, conversation: Conversation, rendered: Rendered, *, metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Post a message into the conversation's thread; its `ts`.

        `metadata` is Slack's `{event_type, event_payload}`; every app in the workspace can read it. Raises
        `Unavailable` where it is not known whether the message was posted (never tried again here: it could be
        there twice), `Refused` where Slack will not take it.
        """

        async def send(version: Rendered) -> Mapping[str, Any]:
            request = self._client.chat_postMessage(
                channel=conversation.channel,
                thread_ts=conversation.thread_ts,
                text=version.text,
                blocks=version.blocks,
                metadata=dict(metadata) if metadata else None,
                unfurl_links=False,
                unfurl_media=False,
                link_names=False,
            )
            return await call("a message", request)

        if self._plain:
            rendered = plain(rendered)
        try:
            return str((await send(rendered))["ts"])
        except Refused as refused:
            if self._plain or refusal_code(refused) not in _BLOCKS_REFUSED:
                raise
            ts = str((await send(plain(rendered)))["ts"])
            self._remember(refused)
            return ts

    async def find(self, conversation: Conversation, metadata: Mapping[str, Any], *, after_ts: str) -> str | None:
        """Look for a message of the thread, after `after_ts`, that carries `metadata`: its `ts`, or None.

        Reads to the thread's end. Raises as `call` does.
        """
        cursor: str | None = None
        while True:
            request = self._client.conversations_replies(
                channel=conversation.channel,
                ts=conversation.thread_ts,
                oldest=after_ts,
                limit=_PAGE,
                cursor=cursor,
                include_all_metadata=True,
            )
            page = await call("a thread's messages", request)
            for message in page.get("messages") or ():
                if message.get("metadata") == metadata:
                    return str(message["ts"])
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return None

    async def update(self, channel: str, ts: str, rendered: Rendered) -> None:
        """Put `rendered` in the place of one of our messages. Raises as `post` does; doing it twice does no harm."""

        async def send(version: Rendered) -> None:
            request = self._client.chat_update(
                channel=channel, ts=ts, text=version.text, blocks=version.blocks, link_names=False
            )
            await call("an edit of a message", request)

        if self._plain:
            rendered = plain(rendered)
        try:
            await send(rendered)
        except Refused as refused:
            if self._plain or refusal_code(refused) not in _BLOCKS_REFUSED:
                raise
            await send(plain(rendered))
            self._remember(refused)

    async def react(self, channel: str, ts: str, name: str) -> None:
        """Add our reaction to a message; there already, or no message any more, is fine. Raises as `call` does."""
        await self._reaction(self._client.reactions_add(channel=channel, timestamp=ts, name=name))

    async def unreact(self, channel: str, ts: str, name: str) -> None:
        """Take our reaction from a message; gone already is fine. Raises as `call` does."""
        await self._reaction(self._client.reactions_remove(channel=channel, timestamp=ts, name=name))

    async def permalink(self, channel: str, ts: str) -> str | None:
        """The address of a message for people, or None where Slack will not say."""
        try:
            reply = await call("a permalink", self._client.chat_getPermalink(channel=channel, message_ts=ts))
        except PeerBotError as error:
            log.warning("no_permalink", channel=channel, ts=ts, reason=str(error))
            return None
        return str(reply["permalink"]) if reply.get("permalink") else None

    async def _reaction(self, request: Awaitable[AsyncSlackResponse]) -> None:
        try:
            await call("a reaction", request)
        except Refused as refused:
            if refusal_code(refused) not in _AS_GOOD_AS_DONE:
                raise

    def _remember(self, refused: Refused) -> None:
        # A message that is too long says nothing about what the workspace takes.
        if refusal_code(refused) != "msg_blocks_too_long":
            self._plain = True
            log.warning("blocks_refused", reason=str(refused))
