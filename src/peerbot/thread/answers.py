"""A turn's answer on its way to Slack: each part arrives once, then comes the receipt (decision 0003).

If the answer names a pull request, its last message is drawn again whenever that stands otherwise (decision 0031).

A message carries its turn and part in its metadata, a file (which takes no metadata) in its name. So a dispatcher that
goes on after a poster that died finds the parts that are there, and posts only the missing ones, in order.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import stamina

from peerbot import metrics
from peerbot.conversation.documents import Posted, Turn
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.conversation.pulls import PullState, Watched
from peerbot.errors import Conflict, PeerBotError, Refused
from peerbot.github.client import Repository
from peerbot.github.repositories import Repositories, branch_url
from peerbot.journal import pulls
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.allow_more import allow_more_button
from peerbot.slack.api import came_at_once, is_for_the_operator, refusal_code
from peerbot.slack.blocks import Rendered
from peerbot.slack.lanes import Urgency
from peerbot.slack.marks import Mark
from peerbot.slack.post import Poster
from peerbot.slack.render import Answer, answer
from peerbot.slack.words import GONE, missed
from peerbot.thread.session_link import SessionUrl, no_page

log = logger(__name__)

METADATA_EVENT = "peerbot_turn"

_FILE = re.compile(r"answer-turn-(\d{1,9})-part-(\d{1,9})\.md")
LET_GO_AT = 3
"""The claim at which PeerBot gives up an answer that Slack refuses for an unknown reason: later ones wait for it."""

_LOOK_SECONDS = 1.0

_LOOKS = 4
"""How often we look for a shared file: Slack puts it into the thread a moment after it says so."""


class Answers:
    """Posts answers. It holds nothing: Slack has the messages, and the journal has the receipts.

    `watching`: whether pull requests are watched. `tries`: how often it asks if Slack fails at once. It reads the
    thread before each new try.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        poster: Poster,
        repositories: Repositories,
        watching: bool = True,
        tries: int = 4,
        session_url: SessionUrl = no_page,
    ) -> None:
        self._watching = watching
        self._tries = tries
        self._journal = journal
        self._poster = poster
        self._repositories = repositories
        self._session_url = session_url

    async def until_it_is_next(self, conversation: Conversation, k: int) -> None:
        """Wait until the answer before turn `k`'s has its receipt. The caller sets the deadline."""
        while k > 1 and await self._journal.posted(conversation, k - 1) is None:  # noqa: ASYNC110 — another process writes it
            await asyncio.sleep(_LOOK_SECONDS)

    async def post(self, conversation: Conversation, turn: Turn, *, claim: int) -> None:
        """Post what is missing of a turn's answer, and write the receipt.

        `claim` counts the claims to post it again; before such a try it searches the thread. It is 0 for the dispatcher
        that wrote the turn. If Slack will never take the answer here, the receipt says so. Raises what Slack or the
        journal raise; then a part of the answer may be there.
        """
        started = time.monotonic()
        try:
            async for attempt in stamina.retry_context(
                on=came_at_once, attempts=self._tries, timeout=None, wait_initial=3.0, wait_max=10.0
            ):
                with attempt:
                    found, shown = await self._post_missing(conversation, turn, again=claim > 0 or attempt.num > 1)
        except Refused as refused:
            code = refusal_code(refused)
            if code not in GONE and (is_for_the_operator(refused) or claim < LET_GO_AT):
                raise
            log.error("answer_refused", turn=turn.k, code=code, reason=str(refused))
            await self._journal.write_posted(conversation, turn.k, Posted(ts=[], refused=code))
            return
        stamps = found.stamps
        await self._watch(conversation, turn, shown, found)
        await self._journal.write_posted(conversation, turn.k, Posted(ts=stamps))
        metrics.answer_seconds.observe(max(0.0, time.time() - min(float(input_ts(each)) for each in turn.inputs)))
        took = round(time.monotonic() - started, 3)
        log.info("answer_posted", turn=turn.k, status=turn.status.value, parts=len(stamps), seconds=took)

    async def redraw(
        self, watch: pulls.Watch, document: Watched, state: PullState | None, still: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Show how a pull request stands in the last message of the answer that names it; None: its number alone.

        The message is made when Slack has room for the edit, and only if `still` is true then. Returns False if it was
        not made. Raises what GitHub, Slack and the journal raise, and `Conflict` if another release posted the answer,
        which cut it at other places.
        """
        conversation = watch.conversation
        turn = await self._journal.turn(conversation, watch.turn)
        repository = await self._repositories.find(document.repository)
        shown = await self._shown(conversation, turn, repository, document.with_file, state) if turn else Answer([])
        if len(shown.messages) != document.messages or (document.messages > 1 and _hash(shown.end) != document.end):
            raise Conflict("Another release posted this answer, and cut it at other places.")
        drawn = False

        async def newest() -> Rendered | None:
            nonlocal drawn
            drawn = await still()
            return shown.messages[-1] if drawn else None

        await self._poster.update(conversation.channel, watch.ts, newest, urgency=Urgency.COMFORT, whole=True)
        return drawn

    async def _watch(self, conversation: Conversation, turn: Turn, shown: Answer, found: "_Found") -> None:
        """Have the answer's pull request watched. This comes before the receipt: nobody would do it afterwards."""
        messages = len(shown.messages)
        if not (self._watching and turn.pull_request and turn.repository) or max(found.messages) != messages:
            return  # what is in the thread may be of another release, which cut it otherwise
        watch = pulls.Watch(conversation, turn.pull_request.number, turn.k, found.messages[messages])
        document = Watched(
            repository=turn.repository, messages=messages, with_file=bool(shown.file), end=_hash(shown.end)
        )
        await pulls.begin(self._journal, watch, document)

    async def _post_missing(self, conversation: Conversation, turn: Turn, *, again: bool) -> tuple["_Found", Answer]:
        """Post the missing parts; returns where all of them are, and the answer as it is in the thread."""
        found = await self._found(conversation, turn) if again else _Found()
        repository = await self._repositories.known(turn.repository)
        shown = await self._shown(conversation, turn, repository)
        file = ""
        if shown.file and not found.file:
            # Uploaded before the first message, which says something else if Slack takes no files. If the thread has
            # more messages than an answer with a file has, an earlier poster could not send one.
            if max(found.messages, default=0) <= len(shown.messages):
                file = await self._uploaded(turn, shown)
            if not file:
                shown = await self._shown(conversation, turn, repository, with_file=False)
        await self._post_messages(conversation, turn, shown, found)
        if file:
            try:
                comment = f"The rest of the answer: part {shown.parts} of {shown.parts}."
                await self._poster.share(conversation, file, title="The rest of the answer", comment=comment)
            except Refused as refused:
                if refusal_code(refused) in GONE:
                    raise
                log.warning("file_refused", turn=turn.k, reason=str(refused))
                shown = await self._shown(conversation, turn, repository, with_file=False)
                await self._post_messages(conversation, turn, shown, found)
            else:
                found.file = await self._shared(conversation, turn)
        return found, shown

    async def _post_messages(self, conversation: Conversation, turn: Turn, shown: Answer, found: "_Found") -> None:
        for part, message in enumerate(shown.messages, start=1):
            if part in found.messages:
                log.info("answer_found", turn=turn.k, part=part)
                continue
            metadata = turn_metadata(conversation, turn.k, part)
            found.messages[part] = await self._poster.post(
                conversation, message, metadata=metadata, urgency=Urgency.FINAL
            )

    async def _uploaded(self, turn: Turn, shown: Answer) -> str:
        """Upload the file; returns its id, or an empty string if the workspace or the app's scopes allow none."""
        try:
            return await self._poster.upload(file_name(turn.k, shown.parts), shown.file.encode(errors="replace"))
        except Refused as refused:
            log.warning("file_refused", turn=turn.k, reason=str(refused))
            return ""

    async def _shared(self, conversation: Conversation, turn: Turn) -> str:
        """Find the message with the file, since Slack does not say which it is; empty if it can't be found now."""
        with suppress(PeerBotError):
            for look in range(_LOOKS):
                if look:
                    await asyncio.sleep(0.25 * 2**look)
                if file := (await self._found(conversation, turn)).file:
                    return file
        log.warning("file_not_seen", turn=turn.k)
        return ""

    async def _found(self, conversation: Conversation, turn: Turn) -> "_Found":
        """Look for the parts of a turn's answer in the thread."""
        found = _Found()
        async for message in self._poster.thread(conversation, after_ts=input_ts(turn.inputs[0])):
            if part := _part(message.mark, conversation, turn.k):
                found.messages.setdefault(part, message.ts)
            else:
                numbers = [int(name[1]) for file in message.files if (name := _FILE.fullmatch(file))]
                if turn.k in numbers:
                    found.file = message.ts
        return found

    async def _shown(
        self,
        conversation: Conversation,
        turn: Turn,
        repository: Repository | None,
        with_file: bool = True,
        pull: PullState | None = None,
    ) -> Answer:
        before = await self._journal.posted(conversation, turn.k - 1) if turn.k > 1 else None
        shown = answer(
            turn,
            repository_url=repository.html_url if repository else "",
            branch_url=branch_url(repository, turn.branch),
            seconds=turn.seconds,
            missed=missed(before) if before else "",
            with_file=with_file,
            pull=pull,
            session_url=self._session_url(conversation),
        )
        button = allow_more_button(
            turn.notes, channel=conversation.channel, payer=await self._payer(conversation, turn)
        )
        if button:
            *before_last, last = shown.messages
            return replace(shown, messages=[*before_last, replace(last, blocks=[*last.blocks, button])])
        return shown

    async def _payer(self, conversation: Conversation, turn: Turn) -> str:
        """Find the person who pays for a turn: the author of the first message that it answers."""
        first = await self._journal.input(conversation, turn.inputs[0]) if turn.inputs else None
        return first.user if first else ""


@dataclass(slots=True)
class _Found:
    """The `ts` of the parts of an answer that are in the thread: messages by part, and the file."""

    messages: dict[int, str] = field(default_factory=dict)
    file: str = ""

    @property
    def stamps(self) -> list[str]:
        """The `ts` of all, in order."""
        messages = [self.messages[part] for part in sorted(self.messages)]
        return [*messages, self.file] if self.file else messages


def turn_metadata(conversation: Conversation, turn: int, part: int = 1) -> Mark:
    """Make the mark of a message that is a part of a turn's answer, so that it is found again (decision 0003).

    Any app may read it: no secret.
    """
    return Mark(METADATA_EVENT, {"conversation": str(conversation), "turn": turn, "part": part})


def file_name(turn: int, part: int) -> str:
    """Name the file with an answer's rest, so that it is found again."""
    return f"answer-turn-{turn}-part-{part}.md"


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode(errors="replace")).hexdigest()[:16]


def is_file_of_an_answer(name: str) -> bool:
    """Say whether a file of this name would be taken for an answer's rest."""
    return _FILE.fullmatch(name) is not None


def _part(mark: Mark | None, conversation: Conversation, turn: int) -> int:
    """Which part of the turn's answer a message with this mark is; 0 where it is none."""
    part = mark.payload.get("part") if mark else None
    if not isinstance(part, int) or mark != turn_metadata(conversation, turn, part):
        return 0
    return max(part, 0)
