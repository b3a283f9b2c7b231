"""The turn as its thread sees it: 👀, one card edited in place, the answer, ✅ or ⚠️ (decisions 0003 and 0007).

A turn ends in this order: answer → receipt → reactions and the card's last state → markers. Progress is a whole
document each time, and the newest wins: the card takes it when Slack has room for an edit (`slack/outbound.py`). A card
is never drawn over an answer, nor after one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace

from structlog.contextvars import bound_contextvars

from peerbot.conversation.deadlines import POST_SECONDS
from peerbot.conversation.documents import Card, Input, Run, Told, Turn, TurnStatus
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation, input_kind, input_ts
from peerbot.conversation.progress import Progress
from peerbot.conversation.spent import Spent
from peerbot.errors import PeerBotError, Unavailable
from peerbot.github.repositories import Repositories, branch_url
from peerbot.journal.journal import Journal
from peerbot.journal.questions import question_settled
from peerbot.logs import logger
from peerbot.slack.blocks import Rendered
from peerbot.slack.card import State, card_message
from peerbot.slack.lanes import Urgency
from peerbot.slack.marks import Mark
from peerbot.slack.people import People
from peerbot.slack.post import Newest, Poster
from peerbot.slack.render import notice
from peerbot.slack.words import delayed, unreadable
from peerbot.tasks import Spawn
from peerbot.thread.answers import Answers
from peerbot.thread.live import Face, Live
from peerbot.thread.session_link import SessionUrl, no_page
from peerbot.thread.status import Status

log = logger(__name__)

RECEIVED, DONE, WARNING, WAITS = "eyes", "white_check_mark", "warning", "hourglass_flowing_sand"
STOPPED, READ, ASKS = "octagonal_sign", "heavy_plus_sign", "question"

PLACE_SECONDS = 5.0
"""The least time between two updates of a place in line."""

CARD_EVENT = "peerbot_card"

SpentOf = Callable[[Conversation, int], Awaitable[Sequence[Spent]]]
"""Says what a turn has used up to now. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Style:
    """Say how much people see. `card_seconds` is the least time between two edits of one card.

    `watching`: whether answers say how their pull request stands. `session_url` makes the address of the page that
    shows a session.
    """

    reactions: bool
    progress: bool
    limit_minutes: float
    card_seconds: float = 3.0
    watching: bool = True
    session_url: SessionUrl = no_page


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The facts on a card: the run, the repository, the branch, and the person who asked (a user id)."""

    run: int
    repository: str
    branch: str
    requester: str

    @classmethod
    def of(cls, run: Run, requester: str) -> "CardFacts":
        """Take the facts from `run`."""
        return cls(run.n, run.repository, run.branch, requester)


def card_metadata(conversation: Conversation, turn: int) -> Mark:
    """Make the mark of a turn's card, so that it is found again. Any app may read it: it is no secret."""
    return Mark(CARD_EVENT, {"conversation": str(conversation), "turn": turn})


class Presenter:
    """Draws cards and posts answers. Memory holds only the cards under way; the rest is in the journal.

    `spawn` starts the drawing of a card. It ends only when its owner, or the turn's answer, cancels it. `answers` posts
    the answers: whatever draws one again takes it, so that an answer looks the same.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        poster: Poster,
        repositories: Repositories,
        people: People,
        style: Style,
        spent: SpentOf,
        status: Status,
        spawn: Spawn,
    ) -> None:
        self._journal = journal
        self._poster = poster
        self.answers = Answers(
            journal=journal,
            poster=poster,
            repositories=repositories,
            watching=style.watching,
            session_url=style.session_url,
        )
        self._repositories = repositories
        self._people = people
        self._style = style
        self._spent = spent
        self._status = status
        self._spawn = spawn
        self._live: dict[tuple[Conversation, int], Live] = {}
        self._drawing: dict[tuple[Conversation, int], asyncio.Lock] = {}
        self._posting: dict[tuple[Conversation, int], asyncio.Lock] = {}

    async def name(self, user: str) -> str:
        """Find a person's name; their id if Slack does not tell it."""
        return await self._people.name(user)

    async def received(self, item: Input) -> None:
        """Show that we received and recorded a message. People see the effect of everything else itself."""
        if self._style.reactions and item.kind == "message":
            await self._quietly(self._poster.react(item.channel, item.ts, RECEIVED))

    async def waits(self, item: Input) -> None:
        """Show that we saw a message and could not record it yet. Every replica shows the same, each time."""
        if self._style.reactions:
            await self._quietly(self._poster.react(item.channel, item.ts, WAITS))

    async def waits_no_more(self, item: Input) -> None:
        """Remove the sign that a message could not be recorded yet. The sign need not be there."""
        if self._style.reactions:
            await self._quietly(self._poster.unreact(item.channel, item.ts, WAITS))

    def queued(self, conversation: Conversation, turn: int, facts: CardFacts, *, place: int) -> None:
        """Say that the turn waits for a free worker, and its place in line; call again when the place changes."""
        self._show(conversation, turn, facts, Face("queued", place=place))

    def not_queued(self, conversation: Conversation) -> None:
        """Stop showing a place in line: the conversation has left the line."""
        for key in [key for key, live in self._live.items() if key[0] == conversation and live.newest.place]:
            if task := self._live.pop(key).task:
                task.cancel()

    async def starting(self, conversation: Conversation, turn: int, facts: CardFacts, note: str = "") -> None:
        """Show the first card of a turn: its worker, repository, branch and limit.

        `note` is a sentence: why the worker waits, or why the one before it ended.
        """
        self.not_queued(conversation)
        await self._quietly(self._draw(conversation, turn, facts, lambda: Face("starting", note=note), Urgency.FIRST))
        await self._status.at_work(conversation, turn, facts.requester)

    async def paused(self, conversation: Conversation, turn: int, facts: CardFacts, note: str) -> None:
        """Show that the turn waits for its next run. `note` is a sentence: why, and until when. Never raises."""
        face = Face("paused", note=note)
        await self._quietly(self._draw(conversation, turn, facts, lambda: face, Urgency.PROGRESS))

    async def delayed(self, conversation: Conversation, turn: int, reason: str) -> None:
        """Say once, in the message that becomes the turn's card, why it can't begin yet. Never raises."""
        try:
            async with self._drawing.setdefault((conversation, turn), asyncio.Lock()):
                if await self._journal.card(conversation, turn) is None:
                    said = notice(delayed(reason))
                    ts = await self._poster.post(conversation, said, metadata=card_metadata(conversation, turn))
                    await self._journal.write_card(conversation, turn, Card(channel=conversation.channel, ts=ts))
        except PeerBotError as error:
            log.warning("not_drawn", reason=str(error))

    async def unreadable(self, conversation: Conversation, reason: str) -> None:
        """Say, once in a conversation's life, that a document of it can't be read. Never raises.

        It claims before it posts: better that a thread never hears of it than that it hears every minute.
        """
        try:
            if await self._journal.claim_telling(conversation, Told(reason=reason)):
                await self._poster.post(conversation, notice(unreadable(reason)))
                log.info("unreadable_told", reason=reason)
        except PeerBotError as error:
            log.warning("unreadable_not_told", reason=str(error))

    def progress(self, conversation: Conversation, turn: int, facts: CardFacts, report: Progress) -> None:
        """Take a turn's newest progress, and redraw the card when its time comes. Never waits, never raises."""
        if not self._style.progress:
            return
        live = self._live.get((conversation, turn))
        if live and live.newest.report and report.seq <= live.newest.report.seq:
            return
        if live and live.newest.place:
            self.not_queued(conversation)
        self._show(conversation, turn, facts, Face("working", report, moved_at=time.time()))
        if self._status.is_due(conversation, turn):
            self._spawn(self._status.at_work(conversation, turn, facts.requester))
        live = self._live[conversation, turn]
        for identity in report.taken:
            if identity not in live.read and self._style.reactions:
                live.read.add(identity)
                self._spawn(self._was_read(conversation, identity))

    async def _was_read(self, conversation: Conversation, identity: str) -> None:
        """Show that the agent has read a message that came while it worked. A worker may name what nobody wrote."""
        if input_kind(identity) == "message" and await self._journal.input(conversation, identity):
            await self._quietly(self._poster.react(conversation.channel, input_ts(identity), READ))

    def _show(self, conversation: Conversation, turn: int, facts: CardFacts, face: Face) -> None:
        live = self._live.setdefault((conversation, turn), Live(face))
        live.newest = face
        live.changed.set()
        if live.task is None:
            live.task = self._spawn(self._keep_drawing(conversation, turn, facts, live))

    async def final(self, conversation: Conversation, turn: Turn, facts: CardFacts | None, *, claim: int = 0) -> None:
        """Post a turn's answer, write the receipt, drop the markers. Raises what Slack or the journal raise.

        It posts nothing if there is a receipt already, and gives up an answer that Slack will never take here
        (`thread/answers.py`). `claim` counts the claims to post it again; 0 for the dispatcher that wrote the turn. It
        waits for the answer before, and stops after `POST_SECONDS` (`Unavailable`): later another dispatcher may claim
        it (decision 0003).
        """
        live = self._live.pop((conversation, turn.k), None)
        if live and live.task:
            live.task.cancel()  # an edit on its way ends before we draw the last state
        async with self._posting.setdefault((conversation, turn.k), asyncio.Lock()):
            if await self._journal.posted(conversation, turn.k) is None:
                try:
                    async with asyncio.timeout(POST_SECONDS):
                        await self.answers.until_it_is_next(conversation, turn.k)
                        await self.answers.post(conversation, turn, claim=claim)
                except TimeoutError as error:
                    raise Unavailable("The answer could not be posted in time; it is posted later.") from error
        await self._show_end(conversation, turn, facts, live.newest.report if live else None)
        # Last: as long as a marker is there, another dispatcher comes and shows the end if we die before.
        for identity in turn.inputs:
            await self._journal.unmark(conversation, identity)
        for locks in (self._drawing, self._posting):
            locks.pop((conversation, turn.k), None)

    async def _answered(self, conversation: Conversation, identity: str, turn: Turn) -> None:
        if not self._style.reactions or input_kind(identity) != "message":
            return
        ts = input_ts(identity)
        sign = STOPPED if turn.stopped else DONE if turn.status is TurnStatus.DONE else WARNING
        await self._poster.react(conversation.channel, ts, ASKS if turn.deferred else sign)
        await self._poster.unreact(conversation.channel, ts, RECEIVED if identity in turn.inputs else ASKS)

    async def ended(self, conversation: Conversation, turn: Turn, facts: CardFacts | None) -> None:
        """Show the end of a turn whose answer is posted: its poster may have died before it did so. Never raises."""
        if (conversation, turn.k) not in self._posting:  # otherwise `final` is at work here, and knows more
            await self._show_end(conversation, turn, facts, None)

    async def _show_end(
        self, conversation: Conversation, turn: Turn, facts: CardFacts | None, last: Progress | None
    ) -> None:
        inputs = [*turn.inputs, *await self._waited_for(conversation, turn)]
        shown = [self._quietly(self._answered(conversation, identity, turn)) for identity in inputs]
        if facts:
            facts = replace(facts, branch=turn.branch or facts.branch)
            ended: State = "stopped" if turn.stopped else "done" if turn.status is TurnStatus.DONE else "failed"
            ended = "asks" if turn.deferred else ended
            face = Face(ended, last, spent=turn.spent)
            shown.append(self._quietly(self._draw(conversation, turn.k, facts, lambda: face, Urgency.FIRST, last=True)))
            shown.append(self._status.ended(conversation, turn.k, waits=bool(turn.deferred)))
        await asyncio.gather(*shown)

    async def _waited_for(self, conversation: Conversation, turn: Turn) -> list[str]:
        """Find the inputs of the turns before that waited for an answer, and whose work has ended with this turn."""
        found: list[str] = []
        while turn.k > 1 and not turn.deferred:
            before = await self._journal.turn(conversation, turn.k - 1)
            if before is None or not before.deferred:
                break
            if await question_settled(self._journal, conversation, before.deferred) is None:
                break
            found += before.inputs
            turn = before.model_copy(update={"deferred": ""})
        return found

    async def _lost_card(self, conversation: Conversation, turn: int, facts: CardFacts) -> Card | None:
        """Find the card of a dispatcher that died before it noted it. We search only if the run before died."""
        before = await self._journal.run(conversation, facts.run - 1) if facts.run > 1 else None
        if before is None or before.closed is None or before.closed.reason is RunEnd.FINISHED:
            return None
        since = input_ts(before.run.serves[0])
        async for message in self._poster.thread(conversation, after_ts=since):
            if message.mark == card_metadata(conversation, turn):
                card = Card(channel=conversation.channel, ts=message.ts)
                await self._journal.write_card(conversation, turn, card)
                return card
        return None

    async def _keep_drawing(self, conversation: Conversation, turn: int, facts: CardFacts, live: Live) -> None:
        with bound_contextvars(conversation=str(conversation), run=facts.run, turn=turn):
            while True:
                await live.changed.wait()
                live.changed.clear()
                waits = live.newest.place is not None
                if live.newest != live.drawn:
                    urgency = Urgency.COMFORT if waits else Urgency.PROGRESS
                    await self._quietly(self._draw(conversation, turn, facts, live.face, urgency))
                await asyncio.sleep(self._place_seconds() if waits else self._style.card_seconds)

    def _place_seconds(self) -> float:
        """Say how long a place in line stays as shown: many that wait must not use up the budget of the others."""
        return max(
            PLACE_SECONDS, PLACE_SECONDS / 2 * sum(live.newest.place is not None for live in self._live.values())
        )

    async def _draw(
        self,
        conversation: Conversation,
        turn: int,
        facts: CardFacts,
        face: Callable[[], Face],
        urgency: Urgency,
        *,
        last: bool = False,
    ) -> None:
        """Post the turn's card, or edit it if it is there; after the turn's end, only into its last state."""

        async def newest() -> Rendered | None:
            if not last and await self._journal.turn(conversation, turn):
                return None  # the turn ended while this call waited
            return await self._rendered(conversation, turn, facts, face())

        # One at a time: otherwise an edit that Slack keeps waiting could come after the one that shows the end.
        async with self._drawing.setdefault((conversation, turn), asyncio.Lock()):
            if not last and await self._journal.turn(conversation, turn):
                return
            card = await self._journal.card(conversation, turn) or await self._lost_card(conversation, turn, facts)
            if card:
                await self._poster.update(card.channel, card.ts, newest, urgency=urgency)
            elif not last:
                await self._post_card(conversation, turn, newest)

    async def _post_card(self, conversation: Conversation, turn: int, newest: Newest) -> None:
        """Post a card and note it. Once the post is on its way we do both, even if cancelled: else the card is lost."""
        on_its_way = False

        async def shown() -> Rendered | None:
            nonlocal on_its_way
            on_its_way = True
            return await newest()

        async def post() -> None:
            if ts := await self._poster.post(conversation, shown, metadata=card_metadata(conversation, turn)):
                await self._journal.write_card(conversation, turn, Card(channel=conversation.channel, ts=ts))

        posting = asyncio.create_task(post())
        try:
            await asyncio.shield(posting)
        except asyncio.CancelledError:
            if not on_its_way:
                posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
            raise

    async def _rendered(self, conversation: Conversation, turn: int, facts: CardFacts, face: Face) -> Rendered:
        repository = await self._repositories.known(facts.repository)
        spent = await self._spent(conversation, turn) if face.state == "working" else face.spent
        return card_message(
            face.report,
            run_name=conversation.job_name(facts.run),
            repository=facts.repository,
            repository_url=repository.html_url if repository else "",
            branch=facts.branch,
            branch_url=branch_url(repository, facts.branch),
            limit_minutes=self._style.limit_minutes,
            state=face.state,
            turn=turn,
            place=face.place,
            note=face.note,
            spent=spent,
            moved_at=face.moved_at,
            requester=await self.name(facts.requester),
            session_url=self._style.session_url(conversation),
        )

    async def _quietly(self, drawing: Coroutine[object, object, None]) -> None:
        """Log a failure that costs comfort only: the answer is on its way all the same."""
        try:
            await drawing
        except PeerBotError as error:
            log.warning("not_drawn", reason=str(error))
