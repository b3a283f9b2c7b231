"""What to do next in a conversation, given what the journal and the runs say: the heart of `reconcile`.

Pure, so that every interleaving can be tested without input or output. Each step is safe to take twice, and safe to
take by two replicas at once (the creates decide); after it the caller looks again, until there is nothing to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peerbot.conversation.deadlines import COMES_WITHIN, OFFER_AFTER, ORPHAN_AFTER, REPOST_AFTER
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Note

MINUTELY = 10
"""So often an answer is claimed again each minute; then less and less often, since somebody has to mend something …"""

LONGEST_REPOST = timedelta(hours=1)
"""… but each hour."""

TRIES = 3
"""Runs of an input that may die of themselves before it is answered with the reason."""

DEATHS = 10
"""Runs of an input that may end, for whatever reason, without answering it."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the journal and a live look show it."""

    n: int
    serves: tuple[str, ...]
    reserved_at: datetime
    started: bool
    closed: RunClosed | None
    alive: bool | None = None  # None: there is no such run
    end: RunEnd | None = None  # why it ended, where the look told
    detail: str = ""
    said: str = ""  # for people: what it waits for, or why it ended


@dataclass(frozen=True, slots=True)
class UnpostedTurn:
    """A turn that has no receipt yet. `tried_at`: when it ended, or when somebody last claimed to post it again."""

    k: int
    tried_at: datetime
    claims: int = 0  # so often was it claimed

    @property
    def again_at(self) -> datetime:
        """From when on it may be claimed: whoever tries now had its time."""
        doublings = min(max(0, self.claims - MINUTELY), 10)
        return self.tried_at + min(REPOST_AFTER * (1 << doublings), LONGEST_REPOST)


@dataclass(frozen=True, slots=True)
class View:
    """All that the decision looks at.

    `runs`: from the newest back to the first that served any waiting input, newest first.
    `fixed`: waiting inputs that need no agent (a refusal, an empty message), and what they are answered with.
    `said_at`: when waiting inputs were said. `orphans`: markers without an input, and when they were put.
    """

    pending: tuple[str, ...]  # inputs with a marker, oldest first
    answered: Mapping[str, int]  # those that a turn names, and which
    unposted: tuple[UnpostedTurn, ...] = ()
    runs: tuple[RunView, ...] = ()
    fixed: Mapping[str, Note] = field(default_factory=dict)
    said_at: Mapping[str, datetime] = field(default_factory=dict)
    orphans: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The inputs that no turn answers yet, oldest first."""
        return tuple(i for i in self.pending if i not in self.answered)


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Nothing now; look again at that time."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Unmark:
    """These inputs are answered and their answer is posted: their markers may go."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """This turn's answer is the first without a receipt, and its writer had its time."""

    turn: int
    claim: int  # the number of the claim that this takes


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer these inputs without a run, with this note."""

    inputs: tuple[str, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The tries of these inputs are used up: answer them with the reason."""

    inputs: tuple[str, ...]
    last: RunClosed


@dataclass(frozen=True, slots=True)
class Offer:
    """These inputs have waited so long that they are not begun unasked: offer to go on."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recover:
    """The input of this marker was never written: read it from Slack, or drop the marker."""

    input: str


@dataclass(frozen=True, slots=True)
class Close:
    """This run is over, and its worker did not say so."""

    run: int
    reason: RunEnd
    detail: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Wake:
    """An open run lives: tell it that there is something to do."""

    run: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Reserve this run for these inputs, and start it."""

    run: int
    inputs: tuple[str, ...]


Step = Nothing | LookAgain | Unmark | Post | Answer | GiveUp | Offer | Recover | Close | Wake | Reserve


def next_step(view: View, now: datetime) -> Step:
    """Decide the one next step. Deterministic; raises nothing."""
    unposted = {turn.k for turn in view.unposted}
    if done := tuple(i for i in view.pending if i in view.answered and view.answered[i] not in unposted):
        return Unmark(done)
    # A thread reads in order: an answer waits for those before it.
    first = min(view.unposted, key=lambda turn: turn.k, default=None)
    if first and now >= first.again_at:
        return Post(first.k, first.claims + 1)
    newest = view.runs[0] if view.runs else None
    if newest and not newest.closed:
        step = _look_after(newest, view.waiting, now)
    elif view.waiting:
        step = _serve(view, newest, now)
    else:
        step = Nothing()
    if isinstance(step, Nothing) and (orphan := _orphan(view, now)):
        return Recover(orphan)
    if first and isinstance(step, Nothing):
        return LookAgain(first.again_at)
    return step


def _look_after(run: RunView, waiting: tuple[str, ...], now: datetime) -> Step:
    """An open run: is it really there?"""
    if run.alive:
        return Wake(run.n) if waiting else Nothing()
    if run.alive is False:
        return Close(run.n, run.end or RunEnd.GONE, run.detail, run.said)
    if run.started:
        return Close(run.n, RunEnd.GONE, "it is gone, and nothing says why")
    if now - run.reserved_at >= COMES_WITHIN:
        return Close(run.n, RunEnd.NEVER_STARTED, "it never came")
    return LookAgain(run.reserved_at + COMES_WITHIN)


def _serve(view: View, newest: RunView | None, now: datetime) -> Step:
    """Inputs wait and no run is open."""
    if note := next((view.fixed[i] for i in view.waiting if i in view.fixed), None):
        return Answer(tuple(i for i in view.waiting if view.fixed.get(i) == note), note)
    if newest and newest.closed and (exhausted := tuple(i for i in view.waiting if _used_up(i, view.runs))):
        return GiveUp(exhausted, newest.closed)
    if all(_waited_too_long(i, view, now) for i in view.waiting):  # with a fresh one among them, somebody asked
        return Offer(view.waiting)
    return Reserve(newest.n + 1 if newest else 1, view.waiting)


def _used_up(identity: str, runs: tuple[RunView, ...]) -> bool:
    """Whether the tries of an input are used up (decision 0002), or another would be no use."""
    ends = [run.closed.reason for run in runs if run.closed and identity in run.serves]
    return (
        ends[:1] == [RunEnd.NOT_ADMITTED]
        or sum(reason.died_of_itself for reason in ends) >= TRIES
        or len(ends) >= DEATHS
    )


def _waited_too_long(identity: str, view: View, now: datetime) -> bool:
    """Whether an input is too old to be begun unasked: neither said nor tried lately (`OFFER_AFTER`)."""
    tried = [run.reserved_at for run in view.runs if identity in run.serves]
    said = view.said_at.get(identity)
    return said is not None and now - max([said, *tried]) >= OFFER_AFTER


def _orphan(view: View, now: datetime) -> str | None:
    """The oldest marker that will not get its input any more."""
    return next((i for i in sorted(view.orphans) if now - view.orphans[i] >= ORPHAN_AFTER), None)
