"""A conversation as its page shows it, from the journal's documents alone: turns, their runs, times, costs and ends.

What the agent did, step by step, is in the transcript (`parts.py`), which is read piece by piece.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from peerbot.conversation.documents import FileChange, Held, Input, PullRequest, Started, Turn, TurnStatus, TurnTimes
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation, in_order
from peerbot.conversation.notes import Note
from peerbot.conversation.questions import said as said_of
from peerbot.conversation.spent import Spent
from peerbot.errors import Unreadable
from peerbot.journal import answers, paths, work
from peerbot.journal.journal import Journal, RunRecord
from peerbot.journal.questions import question, question_files, question_settled
from peerbot.journal.spending import books
from peerbot.journal.turn_list import TurnFiles
from peerbot.web.masks import masked
from peerbot.web.moments import Moment, Worker, moments_of, of_the_turn, slack_time, times_of
from peerbot.web.steps import shown

State = Literal["waiting", "working", "done", "asks", "failed", "stopped", "refused"]

MOST_TURNS = 200
"""So many of a conversation's newest turns are shown."""

_MOST_INPUTS = 50  # of a turn
_LONGEST_TEXT = 40_000


class Said(BaseModel):
    """What a person did."""

    who: str
    what: str  # the kind of the input
    door: str
    at: datetime
    text: str
    files: list[str]


class Asked(BaseModel):
    """What the agent asked people, and what became of it."""

    what: str
    at: datetime
    answer: str
    by: str


class TurnShown(BaseModel):
    """One turn."""

    number: int
    state: State
    inputs: list[Said]
    workers: list[Worker]
    held: Held | None = None  # what its last worker was told to keep to
    saves: int = 0  # checkpoints of its last worker
    questions: list[Asked]
    moments: list[Moment]
    words: str = ""
    notes: list[str] = []
    files: list[FileChange] = []
    repository: str = ""
    repository_url: str = ""
    branch: str = ""
    branch_url: str = ""
    commit: str = ""
    commit_url: str = ""
    commits_url: str = ""  # all of them, and what they change together
    pull_request: PullRequest | None = None
    kept: bool = False  # work that no branch has is in the journal
    demo: bool = False
    usd: float | None = None
    spent: list[Spent] = []
    seconds: float | None = None
    session: bool = False  # its transcript can be taken to a terminal
    unreadable: str = ""


class Settings(BaseModel):
    """What held for the conversation, as it began."""

    began_by: str
    began: datetime
    repository: str
    repository_url: str
    base: str
    branch: str
    model: str
    instructions: bool


class Overview(BaseModel):
    """A conversation."""

    conversation: str
    settings: Settings | None
    turns: list[TurnShown]
    left_out: int  # older turns


@dataclass(frozen=True, slots=True)
class Words:
    """How things outside the journal are called: people, texts as Slack sent them, repositories' addresses, notes.

    None of them raises. What can't be found is called by its id.
    """

    name: Callable[[str], Awaitable[str]]
    text: Callable[[Input], Awaitable[str]]
    address: Callable[[str], Awaitable[str]]
    note: Callable[[Note], str]
    end: Callable[[RunEnd, str], str]


class Overviews:
    """Makes overviews. Every method raises what the journal raises."""

    def __init__(self, journal: Journal, words: Words) -> None:
        self._journal = journal
        self._words = words

    async def of(self, conversation: Conversation) -> Overview:
        """Read a whole conversation."""
        journal = self._journal
        files = await journal.turn_files(conversation)
        runs = await journal.runs(conversation)
        waits = await self._inputs(conversation)
        asked = await self._questions(conversation)
        started = await journal.conversation(conversation)
        written = [each for each in files if each.written]
        turns: list[TurnShown] = []
        for each in written[-MOST_TURNS:]:
            try:
                turn = await journal.turn(conversation, each.k)
            except Unreadable as error:
                turns.append(_unreadable(each.k, str(error)))
                continue
            if turn is not None:
                for identity in turn.inputs:
                    waits.pop(identity, None)
                turns.append(await self._written(conversation, turn, each, runs, asked.get(turn.k, [])))
        if len(written) <= MOST_TURNS:
            answered: set[str] = set()
        else:
            answered = set(await answers.answered(journal, conversation, list(waits)))
        following = max((each.k for each in written), default=0) + 1
        left = [item for identity, item in waits.items() if identity not in answered]
        if (now := await self._at_work(conversation, following, left, runs, asked.get(following, []))) is not None:
            turns.append(now)
        return Overview(
            conversation=str(conversation),
            settings=await self._settings(conversation, started) if started else None,
            turns=turns,
            left_out=max(0, len(written) - MOST_TURNS),
        )

    async def _inputs(self, conversation: Conversation) -> dict[str, Input]:
        """Read the conversation's inputs by id, in order. A damaged one is left out."""
        names = []
        async for key in self._journal.keys(paths.inputs(conversation)):
            try:
                names.append(paths.parse_input(key))
            except ValueError:  # a file that is not ours
                continue
        names.sort(key=in_order)
        found = await asyncio.gather(*(self._readable(conversation, name) for name in names))
        return {name: item for name, item in zip(names, found, strict=True) if item is not None}

    async def _readable(self, conversation: Conversation, name: str) -> Input | None:
        try:
            return await self._journal.input(conversation, name)
        except Unreadable:
            return None

    async def _questions(self, conversation: Conversation) -> dict[int, list[Asked]]:
        found: dict[int, list[Asked]] = {}
        for each in await question_files(self._journal, conversation):
            try:
                asked = await question(self._journal, conversation, each.id)
                settled = await question_settled(self._journal, conversation, each.id) if each.settled else None
            except Unreadable:
                continue
            if asked is None:
                continue
            what = asked.plan if asked.kind == "plan" else "\n".join(item.question for item in asked.items)
            answer = (said_of(settled) or settled.how) if settled else ""
            by = settled.name if settled else ""
            found.setdefault(asked.turn, []).append(
                Asked(what=_text(what), at=asked.asked_at, answer=_text(answer), by=_text(by))
            )
        return found

    async def _settings(self, conversation: Conversation, started: Started) -> Settings:
        return Settings(
            began_by=await self._words.name(started.began_by),
            began=started.began_at,
            repository=started.repository,
            repository_url=await self._words.address(started.repository),
            base=started.base or started.default_branch,
            branch=await self._journal.branch(conversation, started.branch),
            model=started.model,
            instructions=bool(started.channel_instructions or started.person_instructions),
        )

    async def _written(
        self, conversation: Conversation, turn: Turn, files: TurnFiles, runs: list[RunRecord], asked: list[Asked]
    ) -> TurnShown:
        posted = await self._journal.posted(conversation, turn.k) if files.posted else None
        inputs = [await self._readable(conversation, identity) for identity in turn.inputs[:_MOST_INPUTS]]
        there = [item for item in inputs if item is not None]
        ours = [run for run in runs if _worked_on(run, turn)]
        workers = self._workers(conversation, ours)
        url = await self._words.address(turn.repository) if turn.repository else ""
        moments = [*moments_of(there, workers), *times_of(turn.times), Moment(what="ended", at=turn.ended_at)]
        if posted is not None:
            moments.append(Moment(what="refused" if posted.refused else "posted", at=posted.posted_at))
        branch = turn.branch if turn.branch and (turn.commit or turn.pull_request) else ""
        return TurnShown(
            number=turn.k,
            state=_state(turn),
            inputs=[await self._said(item) for item in there],
            workers=workers,
            held=_held(ours),
            saves=turn.times.saves,
            questions=asked,
            moments=of_the_turn(moments, turn.ended_at),
            words=_text(turn.text),
            notes=[_text(words) for words in map(self._words.note, turn.notes) if words],
            files=[each.model_copy(update={"path": _text(each.path)}) for each in turn.files],
            repository=turn.repository or "",
            repository_url=url,
            branch=branch or "",
            branch_url=f"{url}/tree/{branch}" if url and branch else "",
            commit=turn.commit or "",
            commit_url=f"{url}/commit/{turn.commit}" if url and turn.commit else "",
            commits_url=f"{url}/compare/{turn.before}...{turn.commit}" if url and turn.commit and turn.before else "",
            pull_request=turn.pull_request,
            kept=turn.kept is not None,
            demo=turn.model == "demo",
            usd=turn.cost_usd,
            spent=turn.spent,
            seconds=turn.seconds,
            session=turn.session is not None,
        )

    async def _at_work(
        self, conversation: Conversation, number: int, left: Iterable[Input], runs: list[RunRecord], asked: list[Asked]
    ) -> TurnShown | None:
        """Show the turn that is not written yet: what waits, and the runs that work on it or have died."""
        waiting = []
        for item in left:
            settled = await answers.settled(self._journal, conversation, item.id)
            if settled is None:
                waiting.append(item)
        if not waiting:
            return None
        ids = {item.id for item in waiting}
        last = runs[-1:] if runs and runs[-1].closed is None else []
        ours = [run for run in runs if ids & set(run.run.serves)]
        ours += [run for run in last if run not in ours]
        workers = self._workers(conversation, ours)
        spent = await books(self._journal, conversation, number)
        saved = await work.newest(self._journal, conversation, range(number, number + 1)) if ours else None
        times = TurnTimes(first_request=spent.first_request_at)
        working = any(worker.started and not worker.closed for worker in workers)
        return TurnShown(
            number=number,
            state="asks" if working and any(not each.answer for each in asked) else "working" if working else "waiting",
            inputs=[await self._said(item) for item in waiting[:_MOST_INPUTS]],
            workers=workers,
            held=_held(ours),
            saves=(saved.part or 0) if saved else 0,
            questions=asked,
            moments=of_the_turn([*moments_of(waiting, workers), *times_of(times)], None),
            spent=spent.spent,
        )

    async def _said(self, item: Input) -> Said:
        text = await self._words.text(item) if item.text else ""
        return Said(
            who=await self._words.name(item.user),
            what=item.kind,
            door=item.door,
            at=slack_time(item.ts),
            text=_text(text or item.act.replace("_", " ")),
            files=[_text(file.name or file.id) for file in item.files],
        )

    def _workers(self, conversation: Conversation, runs: Iterable[RunRecord]) -> list[Worker]:
        return [
            Worker(
                number=each.n,
                name=conversation.job_name(each.n),
                reserved=each.run.reserved_at,
                started=each.started.started_at if each.started else None,
                closed=each.closed.closed_at if each.closed else None,
                end=each.closed.reason.value if each.closed else "",
                because=_text(self._words.end(each.closed.reason, each.closed.said))
                if each.closed and each.closed.reason is not RunEnd.FINISHED
                else "",
            )
            for each in runs
        ]


def _worked_on(run: RunRecord, turn: Turn) -> bool:
    return run.n == turn.run or bool(set(run.run.serves) & set(turn.inputs))


def _held(runs: Iterable[RunRecord]) -> Held | None:
    """What the last of the runs was told to keep to; None if none has begun, or it is of the release before."""
    started = [run.started for run in runs if run.started]
    return started[-1].held if started else None


def _state(turn: Turn) -> State:
    if turn.deferred:
        return "asks"
    if turn.stopped:
        return "stopped"
    ends: Mapping[TurnStatus, State] = {TurnStatus.DONE: "done", TurnStatus.FAILED: "failed"}
    return ends.get(turn.status, "refused")


def _text(text: str) -> str:
    return masked(shown(text[:_LONGEST_TEXT]))


def _unreadable(k: int, reason: str) -> TurnShown:
    return TurnShown(number=k, state="failed", inputs=[], workers=[], questions=[], moments=[], unreadable=reason)
