"""What leaves for Slack: messages, edits of them, reactions.

Nothing posted here unfurls a link or turns a name into a mention. Where a workspace does not take our blocks, the same
is said with plain ones, from then on at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import refusal_code
from peerbot.slack.blocks import Rendered
from peerbot.slack.lanes import Urgency
from peerbot.slack.marks import Mark, Shown, read_thread
from peerbot.slack.outbound import Outbound
from peerbot.slack.render import plain, words

log = logger(__name__)

_TOO_LONG = {"msg_too_long", "msg_blocks_too_long"}
_BLOCKS_REFUSED = {"invalid_blocks", "invalid_blocks_format", "unsupported_block_type"} | _TOO_LONG
_UPLOAD = aiohttp.ClientTimeout(total=20.0)
_T = TypeVar("_T")

Newest = Callable[[], Awaitable[Rendered | None]]
"""What to show, asked when Slack has room for it; None: there is nothing to show any more."""

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
    """Writes to one workspace's Slack. Holds nothing but the memory of which blocks the workspace takes."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._level = 0  # 0: all blocks; 1: the oldest alone; 2: none

    async def post(
        self,
        conversation: Conversation,
        rendered: Rendered | Newest,
        *,
        metadata: Mark | None = None,
        urgency: Urgency = Urgency.FIRST,
    ) -> str:
        """Post a message into the conversation's thread; its `ts`, or the empty string where `Newest` gave nothing.

        `metadata` is the mark that it is found again by. Raises `Unavailable` where it is not known whether the message
        was posted (never tried again here: it could be there twice), `Refused` where Slack will not take it.
        """

        async def send(level: int) -> Mapping[str, Any]:
            async def message() -> Mapping[str, Any] | None:
                newest = await rendered() if callable(rendered) else rendered
                if newest is None:
                    return None
                shown = plain(newest) if level else newest
                return {
                    "channel": conversation.channel,
                    "thread_ts": conversation.thread_ts,
                    "text": shown.text if level < 2 else words(newest),
                    "blocks": shown.blocks if level < 2 else None,
                    "metadata": metadata.as_metadata() if metadata else None,
                    "unfurl_links": False,
                    "unfurl_media": False,
                    "link_names": False,
                }

            return await self._outbound.call(
                "a message", "chat.postMessage", urgency, message, channel=conversation.channel
            )

        return str((await self._stepping_down(send)).get("ts") or "")

    def thread(self, conversation: Conversation, *, after_ts: str) -> AsyncIterator[Shown]:
        """Read the thread's messages after `after_ts`, oldest first, with their marks. Raises as `post` does."""
        return read_thread(self._outbound, conversation, Urgency.FINAL, after_ts=after_ts)

    async def upload(self, name: str, content: str) -> str:
        """Hand a file over to Slack and return its id; nobody sees it before `share`. Raises as `post` does."""
        data = content.encode(errors="replace")
        file = {"filename": name, "length": len(data)}
        place = await self._outbound.call("a file", "files.getUploadURLExternal", Urgency.FINAL, file)
        client = self._outbound.client
        assert client.session is not None
        try:
            async with client.session.post(
                str(place["upload_url"]), data=data, proxy=client.proxy, timeout=_UPLOAD
            ) as reply:
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("Slack did not take a file.") from error
        if status != 200:
            raise Unavailable(f"Slack did not take a file (HTTP {status}).")
        return str(place["file_id"])

    async def share(self, conversation: Conversation, file: str, *, title: str, comment: str) -> None:
        """Put an uploaded file into the conversation's thread. Raises as `post` does."""
        shared = {
            "files": [{"id": file, "title": title}],
            "channel_id": conversation.channel,
            "thread_ts": conversation.thread_ts,
            "initial_comment": comment,
        }
        await self._outbound.call("a file", "files.completeUploadExternal", Urgency.FINAL, shared)

    async def update(
        self, channel: str, ts: str, rendered: Rendered | Newest, *, urgency: Urgency = Urgency.PROGRESS
    ) -> None:
        """Put `rendered` in the place of one of our messages. Raises as `post` does; doing it twice does no harm.

        An edit that is on its way is not broken off when this is cancelled: it could land after a later one.
        """

        async def send(level: int) -> None:
            async def edit() -> Mapping[str, Any] | None:
                newest = await rendered() if callable(rendered) else rendered
                if newest is None:
                    return None
                shown = plain(newest) if level else newest
                blocks = shown.blocks if level < 2 else []
                return {"channel": channel, "ts": ts, "text": shown.text, "blocks": blocks, "link_names": False}

            await self._outbound.call("an edit of a message", "chat.update", urgency, edit)

        await self._stepping_down(send)

    async def react(self, channel: str, ts: str, name: str) -> None:
        """Add our reaction to a message; there already, or no message any more, is fine. Raises as `post` does."""
        await self._reaction("reactions.add", channel, ts, name)

    async def unreact(self, channel: str, ts: str, name: str) -> None:
        """Take our reaction from a message; gone already is fine. Raises as `post` does."""
        await self._reaction("reactions.remove", channel, ts, name)

    async def permalink(self, channel: str, ts: str) -> str | None:
        """The address of a message for people, or None where Slack will not say."""
        try:
            message = {"channel": channel, "message_ts": ts}
            reply = await self._outbound.call("a permalink", "chat.getPermalink", Urgency.FIRST, message)
        except PeerBotError as error:
            log.warning("no_permalink", channel=channel, ts=ts, reason=str(error))
            return None
        return str(reply["permalink"]) if reply.get("permalink") else None

    async def _reaction(self, method: str, channel: str, ts: str, name: str) -> None:
        try:
            reaction = {"channel": channel, "timestamp": ts, "name": name}
            await self._outbound.call("a reaction", method, Urgency.COMFORT, reaction)
        except Refused as refused:
            if refusal_code(refused) not in _AS_GOOD_AS_DONE:
                raise

    async def _stepping_down(self, send: Callable[[int], Awaitable[_T]]) -> _T:
        """Send with the blocks that the workspace takes; where it refuses them, with simpler ones."""
        level = self._level
        while True:
            try:
                return await send(level)
            except Refused as refused:
                code = refusal_code(refused)
                if level == 2 or code not in _BLOCKS_REFUSED:
                    raise
                level += 1
                if code not in _TOO_LONG:  # that one message is too long says nothing about the workspace
                    self._level = max(self._level, level)
                    log.warning("blocks_refused", level=level, reason=str(refused))
