"""Decisions 0001 to 0003 hold with the real `next_step`, however dispatchers, workers and crashes interleave.

Hypothesis plays against the model (`decide_model.py`, `decide_programs.py`): it moves any actor by any number of
writes,
delivers events twice and late, kills dispatchers and runs between two writes, loses replies, and sets the clock. What
is promised (`decide_promises.py`) is checked after every write; at the end faults stop, and all must be answered.

`HYPOTHESIS_PROFILE=deep` looks for longer.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from decide_model import Input, Kind, Luck
from decide_programs import QUESTION, World
from decide_promises import check, check_the_end
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from peerbot.conversation.deadlines import COMES_WITHIN, OFFER_AFTER, REPOST_AFTER
from peerbot.conversation.decide import MOST_TRIES, TRIES, next_step
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.steps import (
    AnswerStopped,
    Close,
    GiveUp,
    LookAgain,
    NoEffect,
    Nothing,
    Post,
    Reserve,
    SettleQuestion,
    Step,
    Tell,
    Unmark,
    Wake,
)
from peerbot.conversation.view import RunView, View

ROUNDS = 90  # longer than an answer waits for its next claim
MOST_INPUTS = 4

_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
PROFILES = {
    "fast": settings(_COMMON, max_examples=250, stateful_step_count=50),
    "deep": settings(_COMMON, max_examples=5000, stateful_step_count=100),
}
PROFILE = PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "fast"), PROFILES["fast"])
MUTATED = settings(
    _COMMON, max_examples=3000, stateful_step_count=50, derandomize=True, database=None, phases=[Phase.generate]
)

NEWEST = st.integers(0, 15)  # counted from the newest actor
PROGRAMS = ["record", "reconcile", "run", "start", "inbox", "begin", "finish", "final", "close"]
LUCK = st.sampled_from(["good", "good", "reply lost", "refused"])
KINDS: list[Kind] = ["plain", "plain", "refused", "poison", "stubborn", "signals", "unpostable"]
KINDS += ["stop", "answer"] * 2
NOT_THE_CLUSTERS = [RunEnd.CRASHED, RunEnd.OUT_OF_MEMORY]


# Things that happen


class Conversation(RuleBasedStateMachine):
    """People write, actors go on, and everything that can go wrong does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.broken = False
        self.written = (0, 0)
        world.watch = self.watch

    def watch(self) -> None:
        """Check what a step has changed, if it was a write."""
        written = len(self.world.journal), len(self.world.posts)
        if written == self.written:
            return
        self.written = written
        try:
            check(self.world)
        except AssertionError:
            self.broken = True
            raise

    @initialize(processes=st.booleans())
    def somebody_begins(self, processes: bool) -> None:
        self.world.runs_are_processes = processes
        self.somebody_writes("plain", 0)

    @precondition(lambda self: len(self.world.inputs) < MOST_INPUTS)
    @rule(kind=st.sampled_from(KINDS), to=st.integers(0, 1))
    def somebody_writes(self, kind: Kind, to: int) -> None:
        i = f"{len(self.world.inputs) + 1:02}"
        if kind == "answer" and QUESTION not in self.world.journal:
            kind = "plain"  # nobody sees a question that is not in the journal
        self.world.inputs[i] = Input(i, kind, self.world.said_at)
        self.world.deliver(self.world.inputs[i], self.world.dispatchers[to])

    @rule(which=st.integers(0, 3), to=st.integers(0, 1))
    def slack_delivers_again(self, which: int, to: int) -> None:
        items = list(self.world.inputs.values())
        self.world.deliver(items[-1 - which % len(items)], self.world.dispatchers[to])

    @precondition(lambda self: self.world.ready())
    @rule(which=NEWEST, actions=st.integers(1, 20), luck=LUCK, where=st.integers(0, 1))
    def one_goes_on(self, which: int, actions: int, luck: Luck, where: int) -> None:
        ready = self.world.ready()
        actor = ready[-1 - which % len(ready)]
        actor.frozen = False
        self.world.where = where
        for action in range(actions):
            if actor not in self.world.ready():
                break
            self.world.luck = luck if action == actions - 1 else "good"
            self.world.step(actor)
        self.world.luck = "good"

    @rule(rounds=st.integers(1, 40), where=st.integers(0, 1))
    def all_go_on(self, rounds: int, where: int) -> None:
        self.world.where = where
        for _ in range(rounds):
            self.world.all_go_on()

    @rule(rounds=st.integers(1, 60))
    def the_frozen_go_on(self, rounds: int) -> None:
        self.world.thaw()
        self.all_go_on(rounds, where=0)

    @rule(program=st.sampled_from(PROGRAMS), actions=st.integers(0, 9))
    def one_freezes(self, program: str, actions: int) -> None:
        self.world.freeze(program, actions)

    @rule(which=st.integers(0, 3))
    def somebody_deletes_a_message(self, which: int) -> None:
        items = list(self.world.inputs.values())
        items[-1 - which % len(items)].deleted = True

    @rule(seconds=st.sampled_from([1, 10, 30, 60, 660, 7300]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock += seconds

    @precondition(lambda self: self.world.living())
    @rule(
        reason=st.sampled_from([*NOT_THE_CLUSTERS, RunEnd.EVICTED, RunEnd.NODE_LOST, RunEnd.DRAINED]),
        luck=st.sampled_from(["good", "reply lost"]),
        by_signal=st.booleans(),
    )
    def a_run_dies(self, reason: RunEnd, luck: Luck, by_signal: bool) -> None:
        self.world.luck = luck
        by_signal = by_signal and reason is RunEnd.CRASHED
        self.world.end_run(self.world.living()[0], reason, goes_on=reason is RunEnd.NODE_LOST, by_signal=by_signal)
        self.world.luck = "good"

    @rule(times=st.integers(2, 14), seconds=st.sampled_from([5, 61, 900]), rounds=st.integers(10, 40))
    def dispatchers_crash_in_a_loop(self, times: int, seconds: float, rounds: int) -> None:
        for _ in range(times):
            for at in (0, 1):
                self.world.crash(at)
                self.world.restart(at)
            self.world.clock += seconds
            for _ in range(rounds):
                self.world.all_go_on()

    @rule(
        fault=st.sampled_from(
            ["crash", "crash and restart", "sweep", "connection", "clock", "cleared", "slack", "runs"]
        ),
        at=st.integers(0, 1),
        offset=st.sampled_from([-240.0, -15.0, 0.0, 15.0, 240.0]),
    )
    def something_happens(self, fault: str, at: int, offset: float) -> None:
        world, dispatcher = self.world, self.world.dispatchers[at]
        match fault:
            case "crash" if world.dispatchers[0].up and world.dispatchers[1].up:
                world.crash(at)
            case "crash":
                world.restart(0 if world.dispatchers[1].up else 1)
            case "crash and restart":
                world.crash(at)
                world.restart(at)
            case "sweep":
                world.sweep(dispatcher)
            case "connection" if world.calls:
                world.calls[-1].broken = True
            case "clock":
                world.offset = offset
                world.jumps.append(world.clock)
            case "slack" | "runs":
                world.down ^= {fault}
            case "cleared" if ended := [job for job in world.jobs.values() if job.end]:
                ended[-1].gone = True

    def teardown(self) -> None:
        if not self.broken:
            before = len(self.world.runs())
            self.world.calm_down(ROUNDS)
            check_the_end(self.world)
            kinds = [item.kind for item in self.world.inputs.values()]
            most = (MOST_TRIES if "stubborn" in kinds else TRIES) + 1
            assert len(self.world.runs()) - before <= most * len(kinds), "too many runs"


def play(new_world: Callable[[], World], profile: settings) -> None:
    """Run the machine, each time in a world of its own."""

    class Played(Conversation):
        def __init__(self) -> None:
            super().__init__(new_world())

    run_state_machine_as_test(Played, settings=profile)


@pytest.mark.machine
@pytest.mark.timeout(1800)
def test_what_is_acked_is_answered_once_whatever_happens() -> None:
    """No interleaving of two dispatchers, workers and faults breaks a promise, and all is answered in the end."""
    play(World, PROFILE)


# The machine finds faults: decisions that are wrong, each in one thing


def reserves_before_closing(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Reserve(step.run + 1, view.waiting) if isinstance(step, Close) and view.waiting else step


def closes_living_runs(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Close(step.run, RunEnd.GONE, "") if isinstance(step, Wake) else step


def gives_no_time_to_come(view: View, now: datetime) -> Step:
    earlier = tuple(replace(run, reserved_at=run.reserved_at - COMES_WITHIN) for run in view.runs)
    return next_step(replace(view, runs=earlier), now)


def waits_for_a_run_for_ever(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Nothing() if isinstance(step, Close) and step.reason is RunEnd.NEVER_STARTED else step


def never_gives_up(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Reserve(view.runs[0].n + 1, view.waiting) if isinstance(step, GiveUp) else step


def gives_up_at_once(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    last = view.runs[0].closed if view.runs else None
    return GiveUp(step.inputs, last) if isinstance(step, Reserve) and last else step


def counts_ends_that_are_nobodys_fault(view: View, now: datetime) -> Step:
    last = view.runs[0].closed if view.runs else None
    used_up = tuple(i for i in view.waiting if sum(i in run.serves for run in view.runs) >= MOST_TRIES)
    return GiveUp(used_up, last) if used_up and last else next_step(view, now)


def never_starts_the_count_again(view: View, now: datetime) -> Step:
    return next_step(replace(view, runs=tuple(replace(run, further=False) for run in view.runs)), now)


def starts_the_count_again_after_a_signal(view: View, now: datetime) -> Step:
    def unsigned(run: RunView) -> RunView:
        return replace(run, closed=run.closed.model_copy(update={"by_signal": False})) if run.closed else run

    return next_step(replace(view, runs=tuple(map(unsigned, view.runs))), now)


def tries_as_long_as_it_gets_further(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    further = isinstance(step, GiveUp) and view.runs[0].further and not step.last.by_signal
    return Reserve(view.runs[0].n + 1, view.waiting) if further else step


def never_backs_off(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Reserve(view.runs[0].n + 1, view.waiting) if isinstance(step, LookAgain) and step.ends else step


def backs_off_for_an_hour(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return replace(step, at=step.at + timedelta(hours=1)) if isinstance(step, LookAgain) and step.ends else step


def takes_every_run_for_a_try(view: View, now: datetime) -> Step:
    """A row of ends that are nobody's fault goes on for ever."""
    tried = {i: run.reserved_at for run in reversed(view.runs) for i in run.serves}
    return next_step(replace(view, said_at={i: max(at, tried.get(i, at)) for i, at in view.said_at.items()}), now)


def starts_runs_for_what_is_refused(view: View, now: datetime) -> Step:
    return next_step(replace(view, fixed={}), now)


def unmarks_before_it_is_posted(view: View, now: datetime) -> Step:
    return next_step(replace(view, unposted=()) if view.answered else view, now)


def never_unmarks(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return Nothing() if isinstance(step, Unmark) else step


def posts_at_once(view: View, now: datetime) -> Step:
    earlier = tuple(replace(turn, tried_at=turn.tried_at - REPOST_AFTER) for turn in view.unposted)
    return next_step(replace(view, unposted=earlier), now)


def never_posts_again(view: View, now: datetime) -> Step:
    return next_step(replace(view, unposted=tuple(replace(turn, tried_at=now) for turn in view.unposted)), now)


def begins_what_is_old(view: View, now: datetime) -> Step:
    return next_step(replace(view, said_at={}), now)


def offers_what_is_fresh(view: View, now: datetime) -> Step:
    earlier = tuple(replace(run, reserved_at=run.reserved_at - OFFER_AFTER) for run in view.runs)
    said_at = {i: at - OFFER_AFTER for i, at in view.said_at.items()}
    return next_step(replace(view, runs=earlier, said_at=said_at), now)


def posts_what_is_due_last(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    due = [turn for turn in view.unposted if now - turn.tried_at >= REPOST_AFTER]
    return Post(due[-1].k, due[-1].claims + 1) if due else step


def ignores_questions(view: View, now: datetime) -> Step:
    return next_step(replace(view, questions=(), vain={}), now)


def tells_everyone(view: View, now: datetime) -> Step:
    """All who answered are told that somebody else was first, the first one, too."""
    answers = [i for question in view.questions for i in question.answers]
    settled = next_step(view, now)
    return Tell(answers[-1], NoEffect.ANSWERED) if answers and isinstance(settled, SettleQuestion) else settled


def ignores_stops(view: View, now: datetime) -> Step:
    stops = {stop.id for stop in view.stops}
    return next_step(replace(view, pending=tuple(i for i in view.pending if i not in stops), stops=()), now)


def takes_stops_for_messages(view: View, now: datetime) -> Step:
    return next_step(replace(view, stops=()), now)


def stops_what_came_later(view: View, now: datetime) -> Step:
    step = next_step(view, now)
    return replace(step, answers=(*view.waiting, step.input)) if isinstance(step, AnswerStopped) else step


MUTATIONS: dict[Callable[[View, datetime], Step], str] = {
    reserves_before_closing: "was reserved while run",
    closes_living_runs: "was closed while it lived",
    gives_no_time_to_come: "had no time to come",
    waits_for_a_run_for_ever: "was acked, and not answered",
    never_gives_up: "too many tries",
    gives_up_at_once: "gave up too early",
    counts_ends_that_are_nobodys_fault: "gave up too early",
    never_starts_the_count_again: "gave up too early",
    starts_the_count_again_after_a_signal: "too many tries",
    tries_as_long_as_it_gets_further: "too many tries",
    never_backs_off: "did not wait after the ones before",
    backs_off_for_an_hour: "waits for too long",
    takes_every_run_for_a_try: "was begun unasked",
    starts_runs_for_what_is_refused: "a run for what needs none|a stop answers what was refused",
    unmarks_before_it_is_posted: "has no marker, and no posted answer",
    never_unmarks: "not answered|markers are left|for ever",
    posts_at_once: "posted twice|posted again|for ever",
    never_posts_again: "a turn is not posted",
    begins_what_is_old: "was begun unasked",
    offers_what_is_fresh: "offered too early",
    ignores_questions: "a run for what needs none",
    tells_everyone: "nothing was first|was told that it did not",
    ignores_stops: "was acked, and not answered|markers are left",
    takes_stops_for_messages: "a run for what needs none",
    stops_what_came_later: "which came before|a stop answers what was refused",
    posts_what_is_due_last: "goes round for ever|answers out of order",
}


@pytest.mark.machine
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_machine_finds_a_wrong_decision(mutation: Callable[[View, datetime], Step]) -> None:
    with pytest.raises(AssertionError, match=MUTATIONS[mutation]):
        play(lambda: World(mutation), MUTATED)


@pytest.mark.machine
def test_the_machine_finds_answers_that_are_written_on_an_old_view() -> None:
    """The dispatcher's own answers are fenced: between its look and its turn another may have answered."""
    with pytest.raises(AssertionError, match="answered by two turns"):
        play(lambda: World(answer_is_fenced=False), MUTATED)


@pytest.mark.machine
def test_the_machine_finds_answers_that_do_not_wait_for_those_before() -> None:
    with pytest.raises(AssertionError, match="answers out of order"):
        play(lambda: World(answers_wait=False), MUTATED)


# Ways that take thousands of examples to find, step by step


def begun(decide: Callable[[View, datetime], Step] = next_step) -> World:
    """Somebody wrote one message, and its event is on its way."""
    world = World(decide)
    world.watch = lambda: check(world)
    world.inputs["01"] = Input("01", "plain", world.said_at)
    world.deliver(world.inputs["01"], world.dispatchers[0])
    return world


def late_turn_between_fetching_inputs_and_beginning(world: World) -> None:
    """The first run's turn comes in when it is closed, and the second one has fetched its inputs and not yet begun."""
    assert world.freeze("finish", 4), "it passed the gateway's look at its run, and opens the pull request"
    world.end_run(1, RunEnd.EVICTED)
    for _ in range(20):
        world.all_go_on()
    world.clock += 1  # the next run waits
    begin = world.freeze("begin", 0)
    assert begin
    world.thaw()
    begin.frozen = True
    for _ in range(20):
        world.all_go_on()


def test_a_turn_that_comes_in_late_is_not_answered_again_by_the_run_after_it() -> None:
    world = begun()
    late_turn_between_fetching_inputs_and_beginning(world)
    world.calm_down(ROUNDS)
    check_the_end(world)
    assert [(turn.run, turn.answers) for turn in world.turns()] == [(1, ("01",))]
    assert len(world.runs()) == 2


def test_without_the_fence_of_finish_it_would_be() -> None:
    world = begun()
    world.finish_is_fenced = False
    late_turn_between_fetching_inputs_and_beginning(world)
    with pytest.raises(AssertionError, match="answered by two turns"):
        world.calm_down(ROUNDS)


def broken_call_that_arrived(world: World) -> None:
    """The worker's call of finish breaks when it has arrived; it calls another replica, while the first one posts."""
    finish = world.freeze("finish", 4)
    assert finish
    world.where, world.calls[-1].broken, finish.frozen = 1, True, False
    assert world.freeze("final", 2), "it has looked for a receipt, and Slack has not taken its post yet"
    for _ in range(20):
        world.all_go_on()
    world.calm_down(ROUNDS)
    check_the_end(world)


def test_a_finish_that_is_called_again_on_another_replica_posts_once() -> None:
    world = begun()
    broken_call_that_arrived(world)
    assert len(world.posts) == 1


def test_if_the_gateway_that_answers_a_finish_posted_there_would_be_two_posts() -> None:
    world = begun()
    world.only_the_writer_posts = False
    with pytest.raises(AssertionError, match="posted twice, and nobody was frozen"):
        broken_call_that_arrived(world)


def marked_and_not_written(world: World) -> None:
    """A dispatcher dies between the marker and the input, and Slack gives the event up."""
    assert world.freeze("record", 2), "it has put the marker, and is about to put the input"
    assert set(world.journal) == {"pending/01"}
    world.crash(0)
    world.clock += 700
    world.calm_down(ROUNDS)
    check_the_end(world)


def test_an_input_whose_recorder_died_is_read_from_slack_and_answered() -> None:
    world = begun()
    marked_and_not_written(world)
    assert [turn.answers for turn in world.turns()] == [("01",)]


def test_a_marker_whose_message_is_gone_is_dropped() -> None:
    world = begun()
    world.inputs["01"].deleted = True
    marked_and_not_written(world)
    assert world.inputs["01"].dropped
    assert world.turns() == []


def test_without_recovery_the_marker_would_stay() -> None:
    world = begun(lambda view, now: next_step(replace(view, orphans={}), now))
    with pytest.raises(AssertionError, match="markers are left"):
        marked_and_not_written(world)


def test_a_recovery_that_only_drops_would_lose_the_message() -> None:
    world = begun()
    world.recovers = False
    with pytest.raises(AssertionError, match="was dropped, and its message is there"):
        marked_and_not_written(world)


def test_what_waited_for_hours_is_offered_and_begun_with_what_is_said_then() -> None:
    """The offer is a turn: nothing is begun until somebody writes again."""
    world = begun()
    assert world.freeze("reconcile", 0)
    for at in (0, 1):
        world.crash(at)
    world.clock += OFFER_AFTER.total_seconds()
    world.calm_down(ROUNDS)
    check_the_end(world)
    assert [(turn.answers, turn.offered_at is not None) for turn in world.turns()] == [(("01",), True)]
    assert world.runs() == []


def stopped_before_its_worker_asks(world: World) -> None:
    """The worker asks for its messages only when a stop of the first one, and a later message, have come."""
    assert world.freeze("inbox", 0)
    later: list[tuple[str, Kind]] = [("02", "stop"), ("03", "plain")]
    for i, kind in later:
        world.inputs[i] = Input(i, kind, world.said_at)
        world.deliver(world.inputs[i], world.dispatchers[0])
    for _ in range(20):
        world.all_go_on()
    world.calm_down(ROUNDS)
    check_the_end(world)


def test_what_came_after_a_stop_is_a_turn_of_its_own() -> None:
    world = begun()
    stopped_before_its_worker_asks(world)
    assert [(turn.answers, turn.stops) for turn in world.turns()] == [(("01", "02"), True), (("03",), False)]


def test_without_the_cut_in_the_inbox_a_stop_would_stop_what_came_later() -> None:
    world = begun()
    world.leaves_later_messages = False
    with pytest.raises(AssertionError, match="which came before"):
        stopped_before_its_worker_asks(world)
