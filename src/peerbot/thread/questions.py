"""What the agent asks people: the message with its buttons, who may answer, and what settles it (decision 0028).

The journal is told first, Slack afterwards. So a replica that dies in between leaves the rest to another: the message
of an open question is found by its mark, and a message that still has buttons is edited at the next look.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from peerbot.conversation.documents import Input, now
from peerbot.conversation.keys import Conversation, in_order
from peerbot.conversation.notes import Refusal, Refused
from peerbot.conversation.questions import (
    Question,
    QuestionPosted,
    QuestionSettled,
    QuestionShown,
    read_answer,
)
from peerbot.conversation.steps import NoEffect
from peerbot.conversation.view import Open
from peerbot.errors import PeerBotError
from peerbot.journal import questions as kept
from peerbot.journal.answers import unanswered
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import AskRequest
from peerbot.slack.lanes import Urgency
from peerbot.slack.marks import Mark
from peerbot.slack.post import Poster
from peerbot.slack.questions import asked, ended
from peerbot.tasks import Spawn
from peerbot.thread.inbox import Inbox

log = logger(__name__)

QUESTION_EVENT = "peerbot_question"
_SKEW_SECONDS = 600.0
"""How far Slack's clock and ours are apart at most."""

_ON_ITS_WAY = timedelta(seconds=60)
"""Longer than a question is on its way into the thread: a worker asks again before that, or its agent goes on."""

_RECENT = 8
"""How many of the newest questions an answer may be for: earlier ones are settled."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The questions as a decision needs them (`conversation/view.py`)."""

    open: tuple[Open, ...] = ()
    vain: Mapping[str, NoEffect | Refusal] = ()  # type: ignore[assignment]
    unshown: tuple[str, ...] = ()


class Questions:
    """Asks people, and settles what they answer. `everyone`: not only the asker may decide.

    `spawn` starts the edits of messages, which nobody waits for.
    """

    def __init__(self, *, journal: Journal, poster: Poster, inbox: Inbox, everyone: bool, spawn: Spawn) -> None:
        self._journal = journal
        self._poster = poster
        self._inbox = inbox
        self._everyone = everyone
        self._spawn = spawn
        self._posting: dict[tuple[Conversation, str], asyncio.Lock] = {}
        self._showing: set[tuple[Conversation, str]] = set()

    # The agent asks

    async def ask(self, conversation: Conversation, turn: int, run: int, wanted: AskRequest) -> Question:
        """Ask people, once for each call. Raises what the journal and Slack raise; then the caller asks again.

        The same question of a worker that ended is the same question: people see no second one.
        """
        question = await self._known(conversation, turn, wanted)
        again = question is not None
        if question is None:
            question = await self._written(conversation, turn, run, wanted)
            log.info("question_asked", question=question.id, kind=question.kind)
        for files in await kept.question_files(self._journal, conversation):
            if files.id != question.id and not files.settled:
                await self._settle(conversation, files.id, QuestionSettled(how="asked_again"))
        await self._post(conversation, question, again=again)
        # People may have answered in words before the journal knew where the message is: nobody has looked since.
        if early := await self.answers(conversation, question, await unanswered(self._journal, conversation)):
            await self.settle(conversation, question.id, early[0])
        return question

    async def _known(self, conversation: Conversation, turn: int, wanted: AskRequest) -> Question | None:
        files = (await kept.question_files(self._journal, conversation))[-_RECENT:]
        for each in reversed(files):
            question = await kept.question(self._journal, conversation, each.id)
            if question is None or question.turn < turn - 1:
                return None
            if question.turn == turn and question.call == wanted.call:
                return question
            if each != files[-1] or (question.kind, question.items) != (wanted.kind, wanted.items):
                continue
            settled = await kept.question_settled(self._journal, conversation, each.id)
            # A plan that somebody judged in words may come again in the next turn, without its file.
            same = wanted.plan in ("", question.plan) if question.kind == "plan" else question.turn == turn
            if same and (settled is None or settled.how == "answered"):
                return question
        return None

    async def _written(self, conversation: Conversation, turn: int, run: int, wanted: AskRequest) -> Question:
        asker = await self._inbox.asker(conversation)
        while True:
            files = await kept.question_files(self._journal, conversation)
            i = max((each.i for each in files if each.turn == turn), default=0) + 1
            question = Question(
                turn=turn, i=i, run=run, call=wanted.call, kind=wanted.kind, items=wanted.items, plan=wanted.plan,
                asker=asker,
            )  # fmt: skip
            if await kept.write_question(self._journal, conversation, question):
                return question

    async def _post(self, conversation: Conversation, question: Question, *, again: bool) -> None:
        """Post what is missing of a question's messages, and note where the buttons are.

        `again`: an earlier try may have posted some of them.
        """
        async with self._posting.setdefault((conversation, question.id), asyncio.Lock()):
            if await kept.question_posted(self._journal, conversation, question.id):
                return
            there = await self._there(conversation, question) if again else {}
            ts = ""
            for part, message_of_part in enumerate(asked(question), start=1):
                ts = there.get(part) or await self._poster.post(
                    conversation, message_of_part, metadata=_mark(conversation, question.id, part)
                )
            await kept.note(
                self._journal, conversation, question.id, QuestionPosted(channel=conversation.channel, ts=ts)
            )
        self._posting.pop((conversation, question.id), None)
        if await kept.question_settled(self._journal, conversation, question.id):
            self.show(conversation, question.id)

    async def _there(self, conversation: Conversation, question: Question) -> dict[int, str]:
        """Find the messages of a question that are in the thread, by their part."""
        found: dict[int, str] = {}
        after = f"{question.asked_at.timestamp() - _SKEW_SECONDS:.6f}"
        async for message in self._poster.thread(conversation, after_ts=after):
            part = message.mark.payload.get("part") if message.mark else None
            if isinstance(part, int) and message.mark == _mark(conversation, question.id, part):
                found[part] = message.ts
        return found

    # People answer

    async def seen(self, conversation: Conversation, inputs: Mapping[str, Input]) -> Seen:
        """Read the questions for a decision about these unanswered inputs."""
        files = await kept.question_files(self._journal, conversation)
        about = [item for item in inputs.values() if item.kind in ("answer", "stop")]
        vain: dict[str, NoEffect | Refusal] = {}
        for item in about:
            if why := await self._vain(item, [each.id for each in files[-_RECENT:]]):
                vain[item.id] = why
        found = []
        for each in files:
            if not each.settled:
                question = await kept.question(self._journal, conversation, each.id)
                if question:
                    rest = [item for item in inputs.values() if item.id not in vain]
                    answers = await self.answers(conversation, question, rest)
                    found.append(Open(each.id, answers, await self._over(conversation, question)))
        unshown = tuple(each.id for each in files if each.settled and each.posted and not each.shown)
        return Seen(tuple(found), vain, unshown)

    async def answers(self, conversation: Conversation, question: Question, inputs: Iterable[Input]) -> tuple[str, ...]:
        """Find which of these inputs would settle an open question, oldest first.

        That is a click on it, and every message of a person who may decide that they wrote after they saw it.
        """
        posted = await kept.question_posted(self._journal, conversation, question.id)
        found = []
        for item in inputs:
            if item.kind == "answer":
                counts = item.of == question.id
            else:
                counts = item.kind == "message" and posted is not None and item.ts > posted.ts
            if counts and await self._read(question, item) and await self._refusal(question, item) is None:
                found.append(item.id)
        return tuple(sorted(found, key=in_order))

    async def held(self, conversation: Conversation, inputs: Sequence[Input]) -> tuple[str, ...]:
        """Find which of these inputs are no further words for the agent: they answer its open question, or may do.

        As long as a question is on its way, nobody knows which messages came after it. The agent waits in any case.
        """
        question = await self.open_in(conversation)
        if question is None:
            return ()
        posted = await kept.question_posted(self._journal, conversation, question.id)
        if posted is None and now() - question.asked_at < _ON_ITS_WAY:
            return tuple(item.id for item in inputs)
        return await self.answers(conversation, question, inputs)

    async def open_in(self, conversation: Conversation) -> Question | None:
        """Read the newest question that is not settled."""
        files = await kept.question_files(self._journal, conversation)
        newest = next((each.id for each in reversed(files) if not each.settled), "")
        return await kept.question(self._journal, conversation, newest)

    async def settle(self, conversation: Conversation, identity: str, by: str) -> None:
        """Settle a question by an input (an answer, or a stop), or because its turn ended without it."""
        question = await kept.question(self._journal, conversation, identity)
        item = await self._journal.input(conversation, by) if by else None
        if question is None:
            return
        if item is None:
            turn = await self._journal.turn(conversation, question.turn)
            stopped = turn.stopped if turn else None
            name = stopped.name if stopped else ""
            settled = QuestionSettled(how="stopped" if stopped else "ended", name=name)
        else:
            read = await self._read(question, item) if item.kind != "stop" else None
            settled = QuestionSettled(
                how="answered" if read else "stopped",
                input=item.id,
                user=item.user,
                name=await self._inbox.name(item.user),
                choices=read[0] if read else (),
                words=read[1] if read else "",
            )
        await self._settle(conversation, identity, settled)

    async def end(self, conversation: Conversation, turn: int) -> None:
        """Settle what a written turn asked and does not wait for. Raises what the journal raises."""
        for files in await kept.question_files(self._journal, conversation):
            if not files.settled and files.turn <= turn:
                question = await kept.question(self._journal, conversation, files.id)
                if question and await self._over(conversation, question):
                    await self.settle(conversation, files.id, "")

    def show(self, conversation: Conversation, identity: str) -> None:
        """Show on a question's message what became of it, in the background. Calls that come meanwhile do nothing."""
        if (conversation, identity) not in self._showing:
            self._showing.add((conversation, identity))
            self._spawn(self._show(conversation, identity))

    async def _show(self, conversation: Conversation, identity: str) -> None:
        try:
            question = await kept.question(self._journal, conversation, identity)
            posted = await kept.question_posted(self._journal, conversation, identity)
            settled = await kept.question_settled(self._journal, conversation, identity)
            if question and posted and settled:
                await self._poster.update(posted.channel, posted.ts, ended(question, settled), urgency=Urgency.FIRST)
                await kept.note(self._journal, conversation, identity, QuestionShown())
        except PeerBotError as error:
            log.warning("question_not_shown", question=identity, reason=str(error))
        finally:
            self._showing.discard((conversation, identity))

    async def _settle(self, conversation: Conversation, identity: str, settled: QuestionSettled) -> None:
        holds = await kept.settle_question(self._journal, conversation, identity, settled)
        log.info("question_settled", question=identity, how=holds.how, input=holds.input)
        self.show(conversation, identity)

    async def _over(self, conversation: Conversation, question: Question) -> bool:
        """Whether the question's turn is written and does not wait for its answer."""
        turn = await self._journal.turn(conversation, question.turn)
        return turn is not None and turn.deferred != question.id

    async def _vain(self, item: Input, recent: Sequence[str]) -> NoEffect | Refusal | None:
        """Say why an answer, or a stop that ended a question, has no other effect; None if it may have one."""
        conversation = item.conversation
        if item.kind == "stop":
            for identity in recent:
                settled = await kept.question_settled(self._journal, conversation, identity)
                if settled and settled.input == item.id:
                    return NoEffect.TOOK_BACK
            return None
        question = await kept.question(self._journal, conversation, item.of)
        if question is None or await self._read(question, item) is None:
            return NoEffect.NO_QUESTION
        settled = await kept.question_settled(self._journal, conversation, question.id)
        if settled:
            return None if settled.input == item.id else NoEffect.ANSWERED
        return await self._refusal(question, item)

    async def _refusal(self, question: Question, item: Input) -> NoEffect | Refusal | None:
        """Say why the author of an answer may not decide; None if they may."""
        fixed = await self._inbox.fixed_answer(item)
        if isinstance(fixed, Refused):
            return fixed.why
        return None if self._everyone or item.user == question.asker else NoEffect.NOT_THEIRS

    async def _read(self, question: Question, item: Input) -> tuple[tuple[tuple[str, ...], ...], str] | None:
        words = await self._inbox.words(item) if item.kind == "message" else ""
        return read_answer(question, item.picks, words)


def _mark(conversation: Conversation, identity: str, part: int) -> Mark:
    """Make the mark of a message that is a part of a question, so that it is found again."""
    return Mark(QUESTION_EVENT, {"conversation": str(conversation), "question": identity, "part": part})
