"""D2 to D4 hold, however two dispatchers, their workers and their crashes interleave, with the real `next_step`.

Hypothesis plays against the model of `next_programs.py`: it moves any actor by any number of writes, delivers events
twice and late, kills dispatchers and runs between two writes, loses replies, and sets the clock. The promises are
checked after every single step; at the end faults stop, and what was acked must be answered.

`HYPOTHESIS_PROFILE=deep` looks for longer.
"""

import os
from collections import Counter
from itertools import combinations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from next_model import Input, Kind, Luck, Turn
from next_programs import World

from peerbot.conversation.documents import RunEnd
from peerbot.conversation.next import COMES_WITHIN, DEATHS, TRIES

FROZEN_SECONDS = 15.0  # from the last moment at which a writer posts to the first at which another does
ROUNDS = 30

_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
PROFILES = {
    "fast": settings(_COMMON, max_examples=150, stateful_step_count=40),
    "deep": settings(_COMMON, max_examples=5000, stateful_step_count=120),
}
PROFILE = PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "fast"), PROFILES["fast"])


# What is promised at every moment


def check(world: World) -> None:
    """Everything that D2 to D4 promise at every moment."""
    check_turns(world)
    check_markers(world)
    check_runs(world)
    check_posts(world)


def check_turns(world: World) -> None:
    turns = world.turns()
    assert [turn.k for turn in turns] == list(range(1, len(turns) + 1)), "turns are numbered 1, 2, 3 …"
    named = Counter(i for turn in turns for i in turn.answers)
    twice = {i for i, times in named.items() if times > 1}
    assert not twice, f"answered by two turns: {twice}"
    for turn in turns:
        assert turn.answers, f"turn {turn.k} answers nothing"
        if turn.run is not None:
            assert (turn.k, turn.run) in world.pushed, "written before it was pushed"
            assert f"sessions/{turn.k}/{turn.run}" in world.journal, "written before its session was saved"
        for i in turn.answers if turn.gave_up else ():
            own, all_of_them = deaths(world, i)
            assert own >= TRIES or all_of_them >= DEATHS, f"gave up too early: {i}"


def check_markers(world: World) -> None:
    posted = {i for turn in world.turns() if is_posted(world, turn) for i in turn.answers}
    for i, item in world.inputs.items():
        if item.acked or f"inputs/{i}" in world.journal:
            assert f"pending/{i}" in world.journal or i in posted, f"{i} has no marker, and no posted answer"


def check_runs(world: World) -> None:
    for run in world.runs():
        assert run.n == 1 or world.closed(run.n - 1), f"run {run.n} was reserved while run {run.n - 1} was open"
        job, closed = world.jobs.get(run.n), world.closed(run.n)
        if closed and closed.reason is RunEnd.NEVER_STARTED:
            assert closed.closed_at - run.reserved_at >= COMES_WITHIN, f"run {run.n} had no time to come"
        elif closed and closed.reason is not RunEnd.FINISHED:
            assert job is None or job.end or job.gone, f"run {run.n} was closed while it lived"
    for i in world.inputs:
        own, all_of_them = deaths(world, i)
        assert own <= TRIES, f"too many tries: {i}"
        assert all_of_them <= DEATHS, f"too many runs: {i}"


def check_posts(world: World) -> None:
    for first, second in combinations(world.posts, 2):
        if first.turn == second.turn:
            at_once = first.again and second.again  # no claims yet
            frozen = any(post.taken - post.looked >= FROZEN_SECONDS for post in (first, second))
            ended = world.journal[f"turns/{first.turn}.json"].ended
            reset = any(ended <= at <= second.taken for at in world.jumps)
            assert second.looked_at < first.taken_at, f"turn {first.turn} was posted again by one who could see it"
            assert at_once or frozen or reset, f"turn {first.turn} was posted twice, and nobody was frozen"


def check_the_end(world: World) -> None:
    """What is promised once faults have stopped, and the sweep has run for a while."""
    named = Counter(i for turn in world.turns() for i in turn.answers)
    unpostable = {i for i, item in world.inputs.items() if item.kind == "unpostable"}
    for i, item in world.inputs.items():
        assert named[i] == 1 if item.acked else named[i] <= 1, f"{i} was acked, and not answered"
    unposted = [turn for turn in world.turns() if not is_posted(world, turn)]
    assert all(unpostable & set(turn.answers) for turn in unposted), "a turn is not posted"
    assert set(world.marked()) == {i for turn in unposted for i in turn.answers}, "markers are left"
    assert all(job.end for job in world.jobs.values()), "a run goes on for ever"
    assert not any(isinstance(actor.home, int) for actor in world.actors), "a worker goes on for ever"


def is_posted(world: World, turn: Turn) -> bool:
    return f"turns/{turn.k}.posted" in world.journal


def deaths(world: World, i: str) -> tuple[int, int]:
    """How many runs were reserved for an input and have ended: of themselves, and in all."""
    ends = [closed.reason for run in world.runs() if i in run.serves and (closed := world.closed(run.n))]
    return sum(reason.died_of_itself for reason in ends), len(ends)


# What happens


class Conversation(RuleBasedStateMachine):
    """People write, actors go on, and whatever can go wrong does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.broken = False
        world.watch = self.watch

    def watch(self) -> None:
        try:
            check(self.world)
        except AssertionError:
            self.broken = True
            raise

    @initialize(processes=st.booleans())
    def place(self, processes: bool) -> None:
        self.world.runs_are_processes = processes

    @rule(kind=st.sampled_from(["plain", "plain", "refused", "poison", "unpostable"]), to=st.integers(0, 1))
    def somebody_writes(self, kind: Kind, to: int) -> None:
        i = f"{len(self.world.inputs) + 1}"
        self.world.inputs[i] = Input(i, kind, self.world.said_at)
        self.world.deliver(self.world.inputs[i], self.world.dispatchers[to])

    @precondition(lambda self: self.world.inputs)
    @rule(which=st.integers(0, 3), to=st.integers(0, 1))
    def slack_delivers_again(self, which: int, to: int) -> None:
        items = list(self.world.inputs.values())
        self.world.deliver(items[-1 - which % len(items)], self.world.dispatchers[to])

    @precondition(lambda self: self.world.ready())
    @rule(
        which=st.integers(0, 15),
        actions=st.integers(1, 8),
        luck=st.sampled_from(["good", "good", "reply lost", "refused"]),
        where=st.integers(0, 1),
    )
    def one_goes_on(self, which: int, actions: int, luck: Luck, where: int) -> None:
        ready = self.world.ready()
        actor = ready[which % len(ready)]
        self.world.where, self.world.luck = where, luck
        actor.frozen = False
        for _ in range(actions):
            if actor not in self.world.ready():
                break
            self.world.step(actor)
            self.world.luck = "good"
        self.world.luck = "good"

    @rule(rounds=st.integers(1, 12))
    def all_go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.all_go_on()

    @precondition(lambda self: self.world.ready())
    @rule(which=st.integers(0, 15))
    def one_freezes(self, which: int) -> None:
        ready = self.world.ready()
        ready[which % len(ready)].frozen = True

    @rule(seconds=st.sampled_from([1, 9, 10, 30, 60]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock += seconds

    @rule(offset=st.sampled_from([-240.0, -15.0, 0.0, 15.0, 240.0]))
    def the_clock_is_set(self, offset: float) -> None:
        self.world.offset = offset
        self.world.jumps.append(self.world.clock)

    @rule(at=st.integers(0, 1))
    def a_dispatcher_crashes_or_comes_back(self, at: int) -> None:
        if self.world.dispatchers[at].up:
            self.world.crash(at)
        else:
            self.world.restart(at)

    @rule(at=st.integers(0, 1))
    def a_dispatcher_sweeps(self, at: int) -> None:
        self.world.sweep(self.world.dispatchers[at])

    @precondition(lambda self: any(job.end is None for job in self.world.jobs.values()))
    @rule(
        reason=st.sampled_from([RunEnd.CRASHED, RunEnd.OUT_OF_MEMORY, RunEnd.EVICTED, RunEnd.NODE_LOST]),
        luck=st.sampled_from(["good", "reply lost"]),
    )
    def a_run_dies(self, reason: RunEnd, luck: Luck) -> None:
        n = next(n for n, job in self.world.jobs.items() if job.end is None)
        self.world.luck = luck
        self.world.end_run(n, reason, goes_on=reason is RunEnd.NODE_LOST)
        self.world.luck = "good"

    @precondition(lambda self: any(job.end for job in self.world.jobs.values()))
    @rule()
    def an_ended_run_is_cleared_away(self) -> None:
        next(job for job in reversed(self.world.jobs.values()) if job.end).gone = True

    @precondition(lambda self: self.world.calls)
    @rule(which=st.integers(0, 3))
    def a_connection_breaks(self, which: int) -> None:
        self.world.calls[which % len(self.world.calls)].broken = True

    def teardown(self) -> None:
        if not self.broken:
            before = len(self.world.runs())
            self.world.calm_down(ROUNDS)
            check_the_end(self.world)
            assert len(self.world.runs()) - before <= (TRIES + 1) * len(self.world.inputs), "too many runs"


def test_what_is_acked_is_answered_once_whatever_happens() -> None:
    """No interleaving of two dispatchers, workers and faults breaks a promise, and all is answered in the end."""
    run_state_machine_as_test(lambda: Conversation(World()), settings=PROFILE)
