"""What a thread sees of a turn: 👀, one card edited in place, the answer, ✅ or ⚠️ (decisions 0003 and 0007).

Order of a turn's end: answer → receipt → reactions and the card's last state → markers. Progress is a whole document
each time and the newest wins: what a card shows is looked up when Slack has room for it (`slack/outbound.py`). It is
never drawn over or after a final.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

from structlog.contextvars import bound_contextvars

from peerbot.conversation.deadlines import POST_SECONDS
from peerbot.conversation.documents import Card, Input, Run, Told, Turn, TurnStatus
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.conversation.progress import Progress
from peerbot.errors import PeerBotError, Unavailable
from peerbot.github.repositories import Repositories, branch_url
from peerbot.journal.journal import Journal
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

log = logger(__name__)

RECEIVED, DONE, WARNING, WAITS = "eyes", "white_check_mark", "warning", "hourglass_flowing_sand"

PLACE_SECONDS = 5.0
"""How long, at the least, until a place in line is told anew."""

CARD_EVENT = "peerbot_card"


@dataclass(frozen=True, slots=True)
class Style:
    """How much people see. `card_seconds`: the least time between two edits of one card."""

    reactions: bool
    progress: bool
    limit_minutes: float
    card_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says of the work: which run does it, where, and who asked (a user id)."""

    run: int
    repository: str
    branch: str
    requester: str

    @classmethod
    def of(cls, run: Run, requester: str) -> "CardFacts":
        """What `run` works on."""
        return cls(run.n, run.repository, run.branch, requester)


def card_metadata(conversation: Conversation, turn: int) -> Mark:
    """What marks a message as a turn's card, so that it is found again. Any app may read it: no secret."""
    return Mark(CARD_EVENT, {"conversation": str(conversation), "turn": turn})


@dataclass(frozen=True, slots=True)
class _Face:
    """What a card shows."""

    state: State
    report: Progress | None = None
    place: int | None = None
    note: str = ""


@dataclass(slots=True)
class _Live:
    """A card that is drawn again and again."""

    newest: _Face
    drawn: _Face | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def face(self) -> _Face:
        self.drawn = self.newest
        return self.newest


class Presenter:
    """Draws cards and posts answers. Memory holds only what is being drawn; the rest is in the journal.

    `spawn` starts the drawing of a card, which only ends when its owner (or the turn's final) cancels it.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        poster: Poster,
        repositories: Repositories,
        people: People,
        style: Style,
        spawn: Spawn,
    ) -> None:
        self._journal = journal
        self._poster = poster
        self._answers = Answers(journal=journal, poster=poster, repositories=repositories)
        self._repositories = repositories
        self._people = people
        self._style = style
        self._spawn = spawn
        self._live: dict[tuple[Conversation, int], _Live] = {}
        self._drawing: dict[tuple[Conversation, int], asyncio.Lock] = {}
        self._posting: dict[tuple[Conversation, int], asyncio.Lock] = {}

    async def received(self, item: Input) -> None:
        """Show that a message was received and recorded."""
        if self._style.reactions:
            await self._quietly(self._poster.react(item.channel, item.ts, RECEIVED))

    async def waits(self, item: Input) -> None:
        """Show that a message was seen and could not be recorded yet. The same from every replica and each time."""
        if self._style.reactions:
            await self._quietly(self._poster.react(item.channel, item.ts, WAITS))

    async def waits_no_more(self, item: Input) -> None:
        """Take back that a message could not be recorded yet. It need not have been shown."""
        if self._style.reactions:
            await self._quietly(self._poster.unreact(item.channel, item.ts, WAITS))

    def queued(self, conversation: Conversation, turn: int, facts: CardFacts, *, place: int) -> None:
        """Say that the turn waits for a free worker, and which place it has; later, when that has changed."""
        self._show(conversation, turn, facts, _Face("queued", place=place))

    def not_queued(self, conversation: Conversation) -> None:
        """Say no more about places in line: the conversation has left it."""
        for key in [key for key, live in self._live.items() if key[0] == conversation and live.newest.place]:
            if task := self._live.pop(key).task:
                task.cancel()

    async def starting(self, conversation: Conversation, turn: int, facts: CardFacts, note: str = "") -> None:
        """Show the first card of a turn: its worker, repository, branch and limit.

        `note`: a sentence about what the worker waits for, or why the one before it ended.
        """
        self.not_queued(conversation)
        await self._quietly(self._draw(conversation, turn, facts, lambda: _Face("starting", note=note), Urgency.FIRST))

    async def delayed(self, conversation: Conversation, turn: int, reason: str) -> None:
        """Say once, where the turn's card will be, why it can't begin yet. Never raises."""
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

        Claimed before it is said: a thread that is never told of it is better than one that is told every minute.
        """
        try:
            if await self._journal.claim_telling(conversation, Told(reason=reason)):
                await self._poster.post(conversation, notice(unreadable(reason)))
                log.info("unreadable_told", reason=reason)
        except PeerBotError as error:
            log.warning("unreadable_not_told", reason=str(error))

    def progress(self, conversation: Conversation, turn: int, facts: CardFacts, report: Progress) -> None:
        """Take a turn's newest progress; the card is redrawn when its time comes. Never waits, never raises."""
        if not self._style.progress:
            return
        live = self._live.get((conversation, turn))
        if live and live.newest.report and report.seq <= live.newest.report.seq:
            return
        if live and live.newest.place:
            self.not_queued(conversation)
        self._show(conversation, turn, facts, _Face("working", report))

    def _show(self, conversation: Conversation, turn: int, facts: CardFacts, face: _Face) -> None:
        live = self._live.setdefault((conversation, turn), _Live(face))
        live.newest = face
        live.changed.set()
        if live.task is None:
            live.task = self._spawn(self._keep_drawing(conversation, turn, facts, live))

    async def final(self, conversation: Conversation, turn: Turn, facts: CardFacts | None, *, claim: int = 0) -> None:
        """Post a turn's answer, write the receipt, drop the markers. Raises what Slack or the journal raise.

        Nothing is posted where a receipt is there already, and an answer that Slack will never take here is let go
        (`thread/answers.py`). `claim`: the how manieth to post it again; 0 for who wrote the turn. It waits for the
        answer before it, and stops after `POST_SECONDS` (`Unavailable`): later another may claim it (decision 0003).
        """
        live = self._live.pop((conversation, turn.k), None)
        if live and live.task:
            live.task.cancel()  # what is on its way is over before the last state is drawn
        async with self._posting.setdefault((conversation, turn.k), asyncio.Lock()):
            if await self._journal.posted(conversation, turn.k) is None:
                try:
                    async with asyncio.timeout(POST_SECONDS):
                        await self._answers.until_it_is_next(conversation, turn.k)
                        await self._answers.post(conversation, turn, claim=claim)
                except TimeoutError as error:
                    raise Unavailable("The answer could not be posted in time; it is posted later.") from error
        await self._show_end(conversation, turn, facts, live.newest.report if live else None)
        # Last: as long as a marker is there, another comes and shows the end where we died over it.
        for identity in turn.inputs:
            await self._journal.unmark(conversation, identity)
        for locks in (self._drawing, self._posting):
            locks.pop((conversation, turn.k), None)

    async def _answered(self, conversation: Conversation, identity: str, status: TurnStatus) -> None:
        if not self._style.reactions:
            return
        ts = input_ts(identity)
        await self._poster.react(conversation.channel, ts, DONE if status is TurnStatus.DONE else WARNING)
        await self._poster.unreact(conversation.channel, ts, RECEIVED)

    async def ended(self, conversation: Conversation, turn: Turn, facts: CardFacts | None) -> None:
        """Show the end of a turn whose answer is there, for a poster that may have died before it did. Never raises."""
        if (conversation, turn.k) not in self._posting:  # else it is at it here, and knows more
            await self._show_end(conversation, turn, facts, None)

    async def _show_end(
        self, conversation: Conversation, turn: Turn, facts: CardFacts | None, last: Progress | None
    ) -> None:
        shown = [self._quietly(self._answered(conversation, identity, turn.status)) for identity in turn.inputs]
        if facts:
            facts = replace(facts, branch=turn.branch or facts.branch)
            face = _Face("done" if turn.status is TurnStatus.DONE else "failed", last)
            shown.append(self._quietly(self._draw(conversation, turn.k, facts, lambda: face, Urgency.FIRST, last=True)))
        await asyncio.gather(*shown)

    async def _lost_card(self, conversation: Conversation, turn: int, facts: CardFacts) -> Card | None:
        """Find the card of a dispatcher that died before it noted it: looked for only where the run before died."""
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

    async def _keep_drawing(self, conversation: Conversation, turn: int, facts: CardFacts, live: _Live) -> None:
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
        """How long until a place in line is told anew: many that wait must not use up what others have to say."""
        return max(
            PLACE_SECONDS, PLACE_SECONDS / 2 * sum(live.newest.place is not None for live in self._live.values())
        )

    async def _draw(
        self,
        conversation: Conversation,
        turn: int,
        facts: CardFacts,
        face: Callable[[], _Face],
        urgency: Urgency,
        *,
        last: bool = False,
    ) -> None:
        """Post the turn's card, or edit the one that is there; after the turn's end only into its last state."""

        async def newest() -> Rendered | None:
            if not last and await self._journal.turn(conversation, turn):
                return None  # it ended while this waited for its turn
            return await self._rendered(conversation, facts, face())

        # One at a time: a draw that Slack keeps waiting would else come after the one that shows the end.
        async with self._drawing.setdefault((conversation, turn), asyncio.Lock()):
            if not last and await self._journal.turn(conversation, turn):
                return
            card = await self._journal.card(conversation, turn) or await self._lost_card(conversation, turn, facts)
            if card:
                await self._poster.update(card.channel, card.ts, newest, urgency=urgency)
            elif not last:
                await self._post_card(conversation, turn, newest)

    async def _post_card(self, conversation: Conversation, turn: int, newest: Newest) -> None:
        """Post a card and note it. Once it is on its way both are done, though this is cancelled: it would be lost."""
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

    async def _rendered(self, conversation: Conversation, facts: CardFacts, face: _Face) -> Rendered:
        repository = await self._repositories.known(facts.repository)
        return card_message(
            face.report,
            run_name=conversation.job_name(facts.run),
            repository=facts.repository,
            repository_url=repository.html_url if repository else "",
            branch=facts.branch,
            branch_url=branch_url(repository, facts.branch),
            limit_minutes=self._style.limit_minutes,
            state=face.state,
            place=face.place,
            note=face.note,
            requester=(await self._people.names([facts.requester])).get(facts.requester, facts.requester),
        )

    async def _quietly(self, drawing: Coroutine[object, object, None]) -> None:
        """What is for comfort alone may fail: the answer is on its way all the same."""
        try:
            await drawing
        except PeerBotError as error:
            log.warning("not_drawn", reason=str(error))
