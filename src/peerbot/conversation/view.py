"""Everything that the next step of a conversation depends on: what the journal and a look at the runs show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peerbot.conversation.choices import Act
from peerbot.conversation.deadlines import REPOST_AFTER
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Note, Refusal
from peerbot.conversation.steps import NoEffect

MINUTELY = 10
"""This many claims of an answer come a minute apart, later ones less and less often: somebody has to mend it …"""

LONGEST_REPOST = timedelta(hours=1)
"""… but at least once an hour."""


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
    by_signal: bool = False  # as in `RunClosed`, if the look shows that
    further: bool = False  # it saved more of its turn than it found; only known of runs that are closed

    @property
    def is_nobodys_fault(self) -> bool:
        """Whether it has ended, and neither the run nor its inputs brought that on."""
        return self.closed is not None and self.closed.reason.is_nobodys_fault


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
class Stop:
    """A stop that no turn names. `turn`: the turn that it is for; None: the one that is at work.

    `settled`: it has no effect, and somebody was telling its author.
    """

    id: str
    turn: int | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that is not settled, and the ids of the message and its edits that still wait."""

    id: str
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pressed:
    """A choice about the answer of turn `turn` that no turn names. `settled`: as of a stop.

    `act` is None if only another release knows it. `chosen`: the choice about this turn that has the effect; None if
    there is none yet. `back`: the branch is back before that turn.
    """

    id: str
    act: Act | None
    turn: int
    settled: bool = False
    chosen: str | None = None
    back: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is the one that has the effect."""
        return self.chosen == self.id and not self.settled

    @property
    def waits(self) -> bool:
        """Whether the agent has to answer it."""
        return self.counts and (self.act is Act.CONTINUE or (self.act is Act.RETRY and self.back))


@dataclass(frozen=True, slots=True)
class Open:
    """A question that is not settled. `answers`: the inputs that would settle it, oldest first.

    `over`: its turn is written, and does not wait for it.
    """

    id: str
    answers: tuple[str, ...] = ()
    over: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the decision depends on.

    `runs`: from the newest back to the first that served any waiting input, newest first.
    `fixed`: the waiting inputs that need no agent (a refusal, an empty message), and the note that answers each.
    `said_at`: when people wrote the waiting inputs. `orphans`: markers without an input, and when they were put.
    `turn`: the number of the turn that is at work, or comes next.
    """

    pending: tuple[str, ...]  # inputs with a marker, oldest first
    answered: Mapping[str, int]  # inputs that a turn answers, and the number of that turn
    unposted: tuple[UnpostedTurn, ...] = ()
    runs: tuple[RunView, ...] = ()
    fixed: Mapping[str, Note] = field(default_factory=dict)
    said_at: Mapping[str, datetime] = field(default_factory=dict)
    orphans: Mapping[str, datetime] = field(default_factory=dict)
    stops: tuple[Stop, ...] = ()  # oldest first
    turn: int = 1
    deletions: tuple[Deletion, ...] = ()
    choices: tuple[Pressed, ...] = ()  # oldest first
    newest: int = 0  # the newest turn that is no refusal; only known if there are choices
    questions: tuple[Open, ...] = ()  # oldest first
    vain: Mapping[str, NoEffect | Refusal] = field(default_factory=dict)  # what has no effect on a question, and why
    unshown: tuple[str, ...] = ()  # questions that are settled, and whose message may not show that

    @property
    def waiting(self) -> tuple[str, ...]:
        """The messages, edits, answers, and choices for the agent that no turn answers yet, oldest first."""
        controls = {stop.id for stop in self.stops} | {deletion.id for deletion in self.deletions} | self.vain.keys()
        controls |= {choice.id for choice in self.choices if not choice.waits}
        return tuple(i for i in self.pending if i not in self.answered and i not in controls)
