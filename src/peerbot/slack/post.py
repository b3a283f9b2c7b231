"""Sends to Slack: messages, edits of them, reactions.

A message of ours never unfurls a link, and a name in it never becomes a mention. If Slack refuses a message's blocks,
the same words go out in plainer ones (`slack/levels.py`).
"""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import lacks_blocks, refusal_code
from peerbot.slack.blocks import Rendered
from peerbot.slack.events import Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.levels import Level, Levels
from peerbot.slack.marks import Mark, Shown, read_thread
from peerbot.slack.outbound import Outbound
from peerbot.slack.render import notice, plain, words

log = logger(__name__)

_BLOCKS_REFUSED = {
    "invalid_blocks",
    "invalid_blocks_format",
    "unsupported_block_type",
    "msg_too_long",
    "msg_blocks_too_long",
}
_TOO_LONG = {"msg_too_long", "msg_blocks_too_long"}
_BLOCKS_REFUSED = {"invalid_blocks", "invalid_blocks_format", "unsupported_block_type"} | _TOO_LONG
UPLOAD_REFUSALS = {
    "alt_txt_too_large": "Slack takes no such description of an image.",
    "file_type_not_allowed": "This workspace does not allow files of this type. Another type may do.",
    "file_upload_size_restricted": "This workspace does not allow files of this size. Send a smaller one.",
    "file_uploads_disabled": "This workspace does not allow apps or people to upload files.",
    "file_uploads_except_images_disabled": "This workspace allows only images to be uploaded.",
    "missing_argument": "The file is empty, or has no name.",
    "invalid_arguments": "The file is empty, or has no name.",
    "snippet_too_large": "Slack takes text of at most 1 MB as a snippet.",
    "storage_limit_reached": "The workspace's storage for files is full. People have to delete files or upgrade it.",
    "unknown_snippet_type": "Slack does not know this type of text.",
    "unknown_subtype": "Slack does not know this type of file.",
    "channel_not_found": "The bot is no longer in this channel.",
    "channels_limit_exceeded": "Slack shares a file in fewer channels.",
    "file_not_found": "Slack no longer has the uploaded file.",
    "file_update_failed": "Slack could not keep the file.",
    "invalid_blocks": "Slack does not take the message with the file.",
    "invalid_channel": "The bot is no longer in this channel.",
    "not_in_channel": "The bot is no longer in this channel.",
    "posting_to_channel_denied": "The bot may not write in this channel.",
    "user_is_external_guest": "Guests from other organizations can't upload files.",
    "is_archived": "The channel is archived.",
    "thread_not_found": "The thread is gone.",
    "missing_scope": "The Slack app lacks the scope files:write. An operator has to add it and install the app again.",
}
"""Slack's refusals of `files.getUploadURLExternal` and `files.completeUploadExternal`, in words for the agent."""

_UPLOAD = aiohttp.ClientTimeout(total=20.0)
_T = TypeVar("_T")

Newest = Callable[[], Awaitable[Rendered | None]]
"""Makes the content when Slack has room for it. None: there is nothing to show any more."""

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
    """Writes to one workspace's Slack as `us`. It remembers nothing but which blocks Slack refused, in `levels`."""

    def __init__(self, outbound: Outbound, us: Us, levels: Levels | None = None) -> None:
        self._outbound = outbound
        self._us = us
        self._levels = levels or Levels()

    async def post(
        self,
        conversation: Conversation,
        rendered: Rendered | Newest,
        *,
        metadata: Mark | None = None,
        urgency: Urgency = Urgency.FIRST,
    ) -> str:
        """Post a message into the conversation's thread; returns its `ts`, or the empty string if `Newest` gave None.

        We find the message again by its mark, `metadata`. Raises `Unavailable` if it is not known whether Slack posted
        the message: another try could post it twice, so there is none here. Raises `Refused` if Slack will not take it.
        """

        async def send(level: Level) -> Mapping[str, Any]:
            async def message() -> Mapping[str, Any] | None:
                newest = await rendered() if callable(rendered) else rendered
                if newest is None:
                    return None
                shown = plain(newest) if level else newest
                return {
                    "channel": conversation.channel,
                    "thread_ts": conversation.thread_ts,
                    "text": shown.text if level < Level.NONE else words(newest),
                    "blocks": shown.blocks if level < Level.NONE else None,
                    "metadata": metadata.as_metadata() if metadata else None,
                    "unfurl_links": False,
                    "unfurl_media": False,
                    "link_names": False,
                }

            return await self._outbound.call(
                "a message", "chat.postMessage", urgency, message, channel=conversation.channel
            )

        reply, level = await self._stepping_down(send, self._levels.of())
        ts = str(reply.get("ts") or "")
        self._levels.remember(level, f"{conversation.channel}/{ts}")
        return ts

    def thread(self, conversation: Conversation, *, after_ts: str) -> AsyncIterator[Shown]:
        """Read the thread's messages after `after_ts`, oldest first, ours with their marks. Raises as `post` does."""
        return read_thread(self._outbound, conversation, Urgency.FINAL, self._us, after_ts=after_ts)

    async def upload(self, name: str, data: bytes, *, snippet: str = "") -> str:
        """Upload a file to Slack and return its id. Nobody sees it before `share`. Raises as `post` does.

        `snippet`: Slack's word for the kind of text, if people are to see it as a snippet.
        """
        file = {"filename": name, "length": len(data)} | ({"snippet_type": snippet} if snippet else {})
        place = await self._outbound.call("a file", "files.getUploadURLExternal", Urgency.FINAL, file)
        client = self._outbound.client
        assert client.session is not None
        try:
            async with client.session.post(
                str(place["upload_url"]), data=io.BytesIO(data), proxy=client.proxy, timeout=_UPLOAD
            ) as reply:
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("Slack did not take a file.") from error
        if status != 200:
            raise Unavailable(f"Slack did not take a file (HTTP {status}).")
        return str(place["file_id"])

    async def share(self, conversation: Conversation, file: str, *, title: str, comment: str = "") -> None:
        """Put an uploaded file into the conversation's thread. Raises as `post` does."""
        shared = {
            "files": [{"id": file, "title": title}],
            "channel_id": conversation.channel,
            "thread_ts": conversation.thread_ts,
            "initial_comment": comment or None,
        }
        await self._outbound.call("a file", "files.completeUploadExternal", Urgency.FINAL, shared)

    async def update(
        self,
        channel: str,
        ts: str,
        rendered: Rendered | Newest,
        *,
        urgency: Urgency = Urgency.PROGRESS,
        whole: bool = False,
    ) -> None:
        """Put `rendered` in the place of one of our messages. Raises as `post` does. Doing it twice does no harm.

        `whole`: if Slack takes no blocks, the message has all its words as text, as `post` makes it. Cancelling this
        does not stop an edit that is on its way: it could land after a later one.
        """

        async def send(level: Level) -> None:
            async def edit() -> Mapping[str, Any] | None:
                newest = await rendered() if callable(rendered) else rendered
                if newest is None:
                    return None
                shown = plain(newest) if level else newest
                blocks = shown.blocks if level < Level.NONE else []
                text = words(newest) if whole and level == Level.NONE else shown.text
                return {"channel": channel, "ts": ts, "text": text, "blocks": blocks, "link_names": False}

            await self._outbound.call("an edit of a message", "chat.update", urgency, edit)

        message = f"{channel}/{ts}"
        _, level = await self._stepping_down(send, self._levels.of(message))
        self._levels.remember(level, message)

    async def whisper(
        self, channel: str, user: str, sentence: str, *, thread_ts: str = "", as_it_is: bool = False
    ) -> None:
        """Show a sentence to one person alone, in a thread or in the channel. Raises as `post` does.

        Slack keeps no such message: the person sees it if they are there. `as_it_is`: it is mrkdwn of our own.
        """
        said = {"channel": channel, "user": user, "text": sentence if as_it_is else notice(sentence).text}
        if thread_ts:
            said["thread_ts"] = thread_ts
        await self._outbound.call("a message to one person", "chat.postEphemeral", Urgency.FIRST, said)

    async def announce(self, channel: str, sentence: str, *, thread_ts: str = "") -> None:
        """Post sentences of our own into a channel or a thread, or, given a person's id, to them.

        Raises as `post` does.
        """
        shown = notice(sentence)
        said = {"channel": channel, "text": shown.text, "blocks": shown.blocks, "link_names": False}
        said |= {"unfurl_links": False, "unfurl_media": False} | ({"thread_ts": thread_ts} if thread_ts else {})
        await self._outbound.call("a message", "chat.postMessage", Urgency.FIRST, said, channel=channel)

    async def react(self, channel: str, ts: str, name: str) -> None:
        """Add our reaction to a message. No error if it is there, or the message is gone. Raises as `post` does."""
        await self._reaction("reactions.add", channel, ts, name)

    async def unreact(self, channel: str, ts: str, name: str) -> None:
        """Remove our reaction from a message. No error if it is not there. Raises as `post` does."""
        await self._reaction("reactions.remove", channel, ts, name)

    async def permalink(self, channel: str, ts: str) -> str | None:
        """Return the address of a message for people, or None if Slack does not say."""
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

    async def _stepping_down(self, send: Callable[[Level], Awaitable[_T]], level: Level) -> tuple[_T, Level]:
        """Send with the blocks of a level. If Slack refuses them, try plainer ones; returns the level it took, too."""
        while True:
            try:
                return await send(level), level
            except Refused as refused:
                code = refusal_code(refused)
                if level == Level.NONE or code not in _BLOCKS_REFUSED:
                    raise
                level = Level(level + 1)
                log.warning("blocks_refused", blocks=level.name.lower(), workspace=lacks_blocks(refused), code=code)
                if lacks_blocks(refused):
                    self._levels.remember(level)
