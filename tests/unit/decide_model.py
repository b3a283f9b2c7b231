"""The stage of the model: a journal, runs, Slack and a clock, and actors that a test moves step by step.

An actor is a generator that yields before each write and between two looks, so that whoever moves it can interleave
any two of them, stop one for good, or leave one frozen. What they do is in `decide_programs.py`.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal, TypeVar

from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.errors import Unavailable

T = TypeVar("T")
Program = Generator[Callable[[], bool] | None, None, T]
Kind = Literal["plain", "refused", "poison", "stubborn", "signals", "unpostable", "stop", "answer"]
Luck = Literal["good", "reply lost", "refused"]

START = datetime(2030, 1, 1, tzinfo=UTC)
SKEW = timedelta(minutes=10)  # journal/answers.py
STOPS_POSTING, TRIED_FOR = 45.0, 50.0
SLACK_TRIES_FOR = timedelta(minutes=6)  # to deliver an event that was not acked
IDLE, POLL = 60.0, 25.0
LET_GO_AT = 3  # thread/answers.py


@dataclass(eq=False)
class Input:
    """A message that a person wrote, a stop, or an answer to what the agent asked.

    `refused`: answered without a run; `poison`: kills every worker that works on it, `stubborn`: as soon as that worker
    has got further than the one before, `signals`: by a signal, then; `unpostable`: Slack never takes an answer to it,
    so the answer is given up in the end.
    """

    id: str
    kind: Kind
    said_at: datetime
    delivered: bool = False
    acked: bool = False
    deleted: bool = False  # from Slack
    dropped: bool = False  # its marker, because the message could not be read any more


@dataclass(eq=False)
class Run:
    """`runs/{n}.json`."""

    n: int
    serves: tuple[str, ...]
    reserved_at: datetime
    reserved: float  # on the clock that nobody sets


@dataclass(eq=False)
class Turn:
    """`turns/{k}.json`."""

    k: int
    run: int | None
    answers: tuple[str, ...]
    nonce: object
    ended_at: datetime
    ended: float
    gave_up: bool = False
    stops: bool = False  # it was stopped
    offered_at: datetime | None = None  # when it was decided that its inputs are too old to be begun
    deferred: bool = False  # its agent waits for the answer


@dataclass(frozen=True)
class Post:
    """An answer that Slack took. `looked_at` and `taken_at` count steps, `looked` and `taken` seconds."""

    turn: int
    again: bool
    looked_at: int
    taken_at: int
    looked: float
    taken: float


@dataclass(eq=False)
class Job:
    """A run where runs run: the state that a look shows."""

    owner: "Dispatcher"
    end: RunEnd | None = None
    by_signal: bool = False
    gone: bool = False
    woken: bool = False


@dataclass(eq=False)
class Dispatcher:
    """One process; after a crash there is another."""

    up: bool = True
    at_work: bool = False
    again: bool = False
    posting: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Actor:
    """A program and where it lives: it ends with its dispatcher, or its run."""

    name: str
    home: Dispatcher | int
    program: Program[Any]
    waits: Callable[[], bool] | None = None
    frozen: bool = False


@dataclass(eq=False)
class Call:
    """A worker's call of the gateway."""

    value: Any = None
    error: Exception | None = None
    answered: bool = False
    broken: bool = False


class Died(Exception):
    """A worker came to a bad end."""

    def __init__(self, *, by_signal: bool) -> None:
        super().__init__()
        self.by_signal = by_signal


class Stage:
    """The whole world, and the things that can happen to it. `watch` is called after every step of an actor."""

    def __init__(self) -> None:
        self.watch: Callable[[], None] = lambda: None
        self.runs_are_processes = True
        self.journal: dict[str, Any] = {}
        self.inputs: dict[str, Input] = {}
        self.jobs: dict[int, Job] = {}
        self.posts: list[Post] = []
        self.pushed: set[tuple[int, int]] = set()
        self.dispatchers = [Dispatcher(), Dispatcher()]
        self.actors: list[Actor] = []
        self.calls: list[Call] = []
        self.luck: Luck = "good"
        self.down: set[str] = set()  # "slack", "runs": does not answer
        self.where = 0
        self.clock = 0.0
        self.jumps: list[float] = []
        self.offset = 0.0
        self.steps = 0

    # The journal, read

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock + self.offset)

    @property
    def said_at(self) -> datetime:
        """Slack's clock, which nobody sets."""
        return START + timedelta(seconds=self.clock)

    def turns(self) -> list[Turn]:
        return list(self._numbered("turns"))

    def runs(self) -> list[Run]:
        return list(self._numbered("runs"))

    def _numbered(self, folder: str) -> Iterator[Any]:
        for n in count(1):
            if (document := self.journal.get(f"{folder}/{n}.json")) is None:
                return
            yield document

    def documents(self, folder: str) -> set[str]:
        return {key for key in self.journal if key.startswith(f"{folder}/") and key.endswith(".json")}

    def living(self) -> list[int]:
        return [n for n, job in self.jobs.items() if job.end is None]

    def closed(self, n: int) -> RunClosed | None:
        return self.journal.get(f"runs/{n}.closed")

    def marked(self) -> list[str]:
        return [i for i in self.inputs if f"pending/{i}" in self.journal]

    def marked_at(self, i: str) -> datetime | None:
        """Return when an input was marked; None if its marker is gone by now."""
        return self.journal.get(f"pending/{i}")

    def answered(self, inputs: Iterable[str]) -> dict[str, int]:
        """As `journal/answers.py` does."""
        inputs = list(inputs)
        found: dict[str, int] = {}
        oldest = min((self.inputs[i].said_at for i in inputs), default=START) - SKEW
        for turn in sorted(self.turns(), key=lambda turn: -turn.k):
            if turn.ended_at < oldest:
                break
            found |= {i: turn.k for i in turn.answers if i in inputs}
        return found

    def waiting(self) -> list[str]:
        marked = self.marked()
        done = self.answered(marked)
        return [i for i in marked if i not in done and f"inputs/{i}" in self.journal]

    def next_turn(self) -> int:
        return max((turn.k for turn in self.turns()), default=0) + 1

    def create(self, key: str, document: object) -> Program[bool]:
        """Put if absent. A document's identity says who wrote it, as a nonce would."""
        while True:
            yield None
            ours = self.journal.setdefault(key, document) is document
            if self.luck != "reply lost":
                return ours

    # Actors

    def spawn(self, home: Dispatcher | int, name: str, program: Program[Any]) -> None:
        self.actors.append(Actor(name, home, program))

    def ready(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.waits is None or actor.waits()]

    def step(self, actor: Actor) -> None:
        """Let an actor make its next write, or its next look."""
        self.steps += 1
        try:
            actor.waits = next(actor.program)
        except (StopIteration, Unavailable):
            self.actors.remove(actor)
        self.watch()

    def drop(self, home: Dispatcher | int) -> None:
        self.actors = [actor for actor in self.actors if actor.home != home]

    def all_go_on(self) -> bool:
        """Let every actor that can, and is not frozen, take one step; False if none could."""
        ready = [actor for actor in self.ready() if not actor.frozen]
        for actor in ready:
            if actor in self.actors:
                self.step(actor)
        return bool(ready)

    def freeze(self, program: str, actions: int) -> Actor | None:
        """Let all go on until somebody begins this program, and freeze that one this many actions later."""
        for _ in range(60):
            if found := [actor for actor in self.ready() if actor.name == program and not actor.frozen]:
                for _ in range(actions):
                    if found[0] in self.ready():
                        self.step(found[0])
                found[0].frozen = True
                return found[0]
            self.all_go_on()
        return None

    def thaw(self) -> None:
        for actor in self.actors:
            actor.frozen = False

    def calm_down(self, rounds: int) -> None:
        """Stop all faults: Slack sends events without an ack again, for a while, and the sweep runs every minute."""
        self.thaw()
        self.down.clear()
        for _ in range(rounds):
            for at, dispatcher in enumerate(self.dispatchers):
                if not dispatcher.up:
                    self.restart(at)
                self.sweep(self.dispatchers[at])
            for item in self.inputs.values():
                if item.delivered and not item.acked and self.said_at - item.said_at < SLACK_TRIES_FOR:
                    self.deliver(item, self.dispatchers[0])
            bound = self.steps + 10_000
            while self.all_go_on():
                assert self.steps < bound, "it goes round for ever"
            if not self.actors and not self.marked():
                return
            self.clock += 61

    # The results of the actors' programs

    def deliver(self, item: Input, dispatcher: Dispatcher) -> None:
        raise NotImplementedError

    def soon(self, dispatcher: Dispatcher) -> None:
        raise NotImplementedError

    # Faults

    def crash(self, at: int) -> None:
        """A dispatcher ends between two writes; where runs are processes, its runs end with it."""
        old, self.dispatchers[at] = self.dispatchers[at], Dispatcher(up=False)
        self.drop(old)
        if self.runs_are_processes:
            for n, job in self.jobs.items():
                if job.owner is old and job.end is None:
                    self.end_run(n, RunEnd.DISPATCHER_ENDED)

    def restart(self, at: int) -> None:
        self.dispatchers[at].up = True
        self.sweep(self.dispatchers[at])

    def end_run(self, n: int, reason: RunEnd, *, goes_on: bool = False, by_signal: bool = False) -> None:
        """A run is seen to have ended. `goes_on`: it is cut off, but does not know it."""
        if self.jobs[n].end is None:
            self.jobs[n].end, self.jobs[n].by_signal = reason, by_signal
        if not goes_on:
            self.drop(n)
        if self.luck != "reply lost":  # a lost event of the watch
            for dispatcher in self.dispatchers:
                self.soon(dispatcher)

    def sweep(self, dispatcher: Dispatcher) -> None:
        if self.marked():
            self.soon(dispatcher)
