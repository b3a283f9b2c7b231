"""The promises of decisions 0001 to 0003 about a conversation, as assertions about the model's world."""

from collections import Counter
from datetime import datetime
from itertools import combinations

from decide_model import Run, Turn
from decide_programs import SETTLED, World

from peerbot.conversation.deadlines import COMES_WITHIN, LONGEST_BACK_OFF, OFFER_AFTER, back_off
from peerbot.conversation.decide import MOST_TRIES, TRIES
from peerbot.conversation.ends import RunEnd

FROZEN_SECONDS = 15.0  # from the last moment at which a writer posts to the first at which another does


def check(world: World) -> None:
    """Everything that decisions 0001 to 0003 promise at every moment."""
    check_turns(world)
    check_markers(world)
    check_runs(world)
    check_posts(world)


def check_turns(world: World) -> None:
    turns = world.turns()
    assert {f"turns/{turn.k}.json" for turn in turns} == world.documents("turns"), "a turn's number was left out"
    named = Counter(i for turn in turns for i in turn.answers)
    twice = {i for i, times in named.items() if times > 1}
    assert not twice, f"answered by two turns: {twice}"
    for turn in turns:
        assert turn.answers, f"turn {turn.k} answers nothing"
        if turn.run is not None:
            assert (turn.k, turn.run) in world.pushed, "written before it was pushed"
            assert f"sessions/{turn.k}/{turn.run}" in world.journal, "written before its session was saved"
        for i in turn.answers if turn.gave_up else ():
            in_a_row, in_all = tries(world, i)
            assert in_a_row >= TRIES or in_all >= MOST_TRIES, f"gave up too early: {i}"
        stops = [i for i in turn.answers if world.inputs[i].kind == "stop"]
        assert turn.stops or not stops, f"turn {turn.k} answers a stop and was not stopped"
        assert len(stops) < len(turn.answers), f"turn {turn.k} answers a stop, and no message"
        if turn.stops:
            assert not any(world.inputs[i].kind == "refused" for i in turn.answers), "a stop answers what was refused"
            # Another turn may have named the stop a moment before, for a message that was recorded earlier.
            by = stops[0] if stops else max(i for i in named if world.inputs[i].kind == "stop")
            later = [i for i in turn.answers if i > by and i not in stops]
            assert not later, f"stopped by {by}, which came before: {later}"
        for i in turn.answers:
            assert not turn.offered_at or turn.offered_at - world.inputs[i].said_at >= OFFER_AFTER, (
                f"offered too early: {i}"
            )


def check_markers(world: World) -> None:
    posted = {i for turn in world.turns() if is_posted(world, turn) for i in turn.answers}
    for i, item in world.inputs.items():
        if item.acked or f"inputs/{i}" in world.journal:
            there = f"pending/{i}" in world.journal or i in posted or item.dropped or f"settled/{i}" in world.journal
            assert there, f"{i} has no marker, and no posted answer"
        assert item.deleted or not item.dropped or item.kind in ("stop", "answer"), (
            f"the marker of {i} was dropped, and its message is there"
        )


def check_runs(world: World) -> None:
    assert {f"runs/{run.n}.json" for run in world.runs()} == world.documents("runs"), "a run's number was left out"
    for run in world.runs():
        assert run.n == 1 or world.closed(run.n - 1), f"run {run.n} was reserved while run {run.n - 1} was open"
        needless = [i for i in run.serves if world.inputs[i].kind in ("refused", "stop") or not world.has_effect(i)]
        assert not needless, "a run for what needs none"
        assert not all(is_old(world, run, i) for i in run.serves), f"run {run.n} was begun unasked, after hours"
        job, closed = world.jobs.get(run.n), world.closed(run.n)
        if closed and closed.reason is RunEnd.NEVER_STARTED:
            assert closed.closed_at - run.reserved_at >= COMES_WITHIN, f"run {run.n} had no time to come"
        elif closed and closed.reason is not RunEnd.FINISHED:
            assert job is None or job.end or job.gone, f"run {run.n} was closed while it lived"
        early = backs_off_until(world, run) if not world.jumps else None
        assert early is None or run.reserved_at >= early, f"run {run.n} did not wait after the ones before"
    for i in world.inputs:
        in_a_row, in_all = tries(world, i)
        assert in_a_row <= TRIES, f"too many tries in a row: {i}"
        assert in_all <= MOST_TRIES, f"too many tries: {i}"
    for n, at in world.waited_out:
        closed = world.closed(n)
        assert closed, f"run {n} was waited out and is open"
        assert at - closed.closed_at <= LONGEST_BACK_OFF, f"the run after {n} waits for too long"


def check_posts(world: World) -> None:
    for first, second in combinations(world.posts, 2):
        if first.turn == second.turn:
            frozen = any(post.taken - post.looked >= FROZEN_SECONDS for post in (first, second))
            ended = world.journal[f"turns/{first.turn}.json"].ended
            reset = any(ended <= at <= second.taken for at in world.jumps)
            assert second.looked_at < first.taken_at, f"turn {first.turn} was posted again by one who could see it"
            assert frozen or reset, f"turn {first.turn} was posted twice, and nobody was frozen"

    order = list(dict.fromkeys(post.turn for post in world.posts))
    assert order == sorted(order), f"answers out of order: {order}"


def check_the_end(world: World) -> None:
    """Check the promises that hold once faults have stopped, and the sweep has run for a while."""
    named = Counter(i for turn in world.turns() for i in turn.answers)
    for i, item in world.inputs.items():
        settled = f"settled/{i}" in world.journal
        once = named[i] == 1 or (named[i] == 0 and settled)
        assert once if item.acked and not item.dropped else named[i] <= 1, f"{i} was acked, and not answered"
        assert item.kind in ("stop", "answer") or not settled, f"{i} is a message, and was settled without an answer"
        if item.kind == "answer":
            counts = world.journal.get(SETTLED) == [i]
            assert not (counts and settled), f"{i} settled the question, and its author was told that it did not"
            assert not settled or SETTLED in world.journal, f"{i} was told that it came too late, and nothing was first"
            assert counts or named[i] == 0, f"{i} did not settle the question, and a turn names it"
    assert all(is_posted(world, turn) for turn in world.turns()), "a turn is not posted"
    assert not world.marked(), "markers are left"
    assert all(job.end for job in world.jobs.values()), "a run goes on for ever"
    assert not any(isinstance(actor.home, int) for actor in world.actors), "a worker goes on for ever"


def is_old(world: World, run: Run, i: str) -> bool:
    """Whether an input was neither said nor tried in the hours before a run was reserved for it.

    Of runs that ended, one after the other, through nobody's fault, only the first is a try.
    """
    tried = [before for before in world.runs() if before.n < run.n and i in before.serves]
    while len(tried) > 1 and nobodys_fault(world, tried[-1]) and nobodys_fault(world, tried[-2]):
        tried.pop()
    return run.reserved_at - max([world.inputs[i].said_at, *(before.reserved_at for before in tried)]) >= OFFER_AFTER


def nobodys_fault(world: World, run: Run) -> bool:
    closed = world.closed(run.n)
    return closed is not None and closed.reason.is_nobodys_fault


def backs_off_until(world: World, run: Run) -> datetime | None:
    """When a run may come after those before it that ended through nobody's fault; none where it need not wait."""
    ends = min(row(world, run, i) for i in run.serves)
    closed = world.closed(run.n - 1)
    return closed.closed_at + back_off(ends) if ends and closed else None


def row(world: World, run: Run, i: str) -> int:
    """How many runs for an input ended through nobody's fault, one after the other, just before `run`."""
    ends = 0
    for before in reversed(world.runs()[: run.n - 1]):
        if i not in before.serves or not nobodys_fault(world, before):
            break
        ends += 1
    return ends


def is_posted(world: World, turn: Turn) -> bool:
    return f"turns/{turn.k}.posted" in world.journal


def tries(world: World, i: str) -> tuple[int, int]:
    """How many runs for an input died of themselves: since the last that got further (and no signal ended), and all."""
    closed = [(run.n, closed) for run in world.runs() if i in run.serves and (closed := world.closed(run.n))]
    in_a_row = 0
    for n, end in reversed(closed):
        in_a_row += end.reason.died_of_itself
        if world.got_further(n) and not end.by_signal:
            break
    return in_a_row, sum(end.reason.died_of_itself for _, end in closed)
