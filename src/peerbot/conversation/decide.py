"""The next step of a conversation, decided from its journal and its runs: the heart of `reconcile`.

Pure, so that tests can try every interleaving without input or output. A caller may take each step twice, and two
replicas may take it at once (the creates decide). After each step the caller looks again, until there is nothing to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peerbot.conversation.deadlines import COMES_WITHIN, OFFER_AFTER, ORPHAN_AFTER, REPOST_AFTER
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Note

MINUTELY = 10
"""This many claims of an answer come a minute apart, later ones less and less often: somebody has to mend it …"""

LONGEST_REPOST = timedelta(hours=1)
"""… but at least once an hour."""

TRIES = 3
"""How many runs of an input may die through a fault of their own. Then we answer it with the reason."""

DEATHS = 10
"""How many runs of an input may end for any reason without an answer."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, as the journal and a look at the live run show it."""

    n: int
    serves: tuple[str, ...]
    reserved_at: datetime
    started: bool
    closed: RunClosed | None
    alive: bool | None = None  # None: there is no such run
    end: RunEnd | None = None  # why it ended, if the look shows that
    detail: str = ""
    said: str = ""  # for people: what it waits for, or why it ended


@dataclass(frozen=True, slots=True)
class UnpostedTurn:
    """A turn that has no receipt yet. `tried_at`: when it ended, or when somebody last claimed to post it again."""

    k: int
    tried_at: datetime
    claims: int = 0  # how many times it was claimed

    @property
    def again_at(self) -> datetime:
        """The earliest time for the next claim: the dispatcher that tries now has had its time."""
        doublings = min(max(0, self.claims - MINUTELY), 10)
        return self.tried_at + min(REPOST_AFTER * (1 << doublings), LONGEST_REPOST)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the decision depends on.

    `runs`: from the newest back to the first that served any waiting input, newest first.
    `fixed`: the waiting inputs that need no agent (a refusal, an empty message), and the note that answers each.
    `said_at`: when people wrote the waiting inputs. `orphans`: markers without an input, and when they were put.
    """

    pending: tuple[str, ...]  # inputs with a marker, oldest first
    answered: Mapping[str, int]  # inputs that a turn answers, and the number of that turn
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
    """There is nothing to do."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """There is nothing to do now; look again at that time."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Unmark:
    """These inputs are answered and their answer is posted: drop their markers."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """Post this turn's answer: it is the first without a receipt, and its writer has had its time."""

    turn: int
    claim: int  # the number of the claim that this takes


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer these inputs without a run, with this note."""

    inputs: tuple[str, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class GiveUp:
    """These inputs have no tries left: answer them with the reason."""

    inputs: tuple[str, ...]
    last: RunClosed


@dataclass(frozen=True, slots=True)
class Offer:
    """These inputs have waited too long to be begun unasked: offer to go on."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recover:
    """The input of this marker was never written: read it from Slack, or drop the marker."""

    input: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close this run: it has ended, and its worker did not say so."""

    run: int
    reason: RunEnd
    detail: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class Wake:
    """An open run is alive: tell it that there is something to do."""

    run: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Reserve this run for these inputs, and start it."""

    run: int
    inputs: tuple[str, ...]


Step = Nothing | LookAgain | Unmark | Post | Answer | GiveUp | Offer | Recover | Close | Wake | Reserve


def next_step(view: View, now: datetime) -> Step:
    """Decide the next step. Deterministic; raises nothing."""
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
    """Decide the step if a run is open: is it really there?"""
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
    """Decide the step if inputs wait and no run is open."""
    if note := next((view.fixed[i] for i in view.waiting if i in view.fixed), None):
        return Answer(tuple(i for i in view.waiting if view.fixed.get(i) == note), note)
    if newest and newest.closed and (exhausted := tuple(i for i in view.waiting if _used_up(i, view.runs))):
        return GiveUp(exhausted, newest.closed)
    if all(_waited_too_long(i, view, now) for i in view.waiting):  # if one of them is fresh, somebody asked
        return Offer(view.waiting)
    return Reserve(newest.n + 1 if newest else 1, view.waiting)


def _used_up(identity: str, runs: tuple[RunView, ...]) -> bool:
    """Whether an input has no tries left (decision 0002), or another try would be no use."""
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
    """Find the oldest marker that will no longer get its input."""
    return next((i for i in sorted(view.orphans) if now - view.orphans[i] >= ORPHAN_AFTER), None)
