"""What decisions 0001 to 0003 promise of a conversation, as assertions about the model's world."""

from collections import Counter
from itertools import combinations

from decide_model import Run, Turn
from decide_programs import World

from peerbot.conversation.deadlines import COMES_WITHIN, OFFER_AFTER
from peerbot.conversation.decide import DEATHS, TRIES
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
            own, all_of_them = deaths(world, i)
            assert own >= TRIES or all_of_them >= DEATHS, f"gave up too early: {i}"
        for i in turn.answers:
            assert not turn.offered_at or turn.offered_at - world.inputs[i].said_at >= OFFER_AFTER, (
                f"offered too early: {i}"
            )


def check_markers(world: World) -> None:
    posted = {i for turn in world.turns() if is_posted(world, turn) for i in turn.answers}
    for i, item in world.inputs.items():
        if item.acked or f"inputs/{i}" in world.journal:
            there = f"pending/{i}" in world.journal or i in posted or item.dropped
            assert there, f"{i} has no marker, and no posted answer"
        assert item.deleted or not item.dropped, f"the marker of {i} was dropped, and its message is there"


def check_runs(world: World) -> None:
    assert {f"runs/{run.n}.json" for run in world.runs()} == world.documents("runs"), "a run's number was left out"
    for run in world.runs():
        assert run.n == 1 or world.closed(run.n - 1), f"run {run.n} was reserved while run {run.n - 1} was open"
        assert not any(world.inputs[i].kind == "refused" for i in run.serves), "a run for what needs none"
        assert not all(is_old(world, run, i) for i in run.serves), f"run {run.n} was begun unasked, after hours"
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
            frozen = any(post.taken - post.looked >= FROZEN_SECONDS for post in (first, second))
            ended = world.journal[f"turns/{first.turn}.json"].ended
            reset = any(ended <= at <= second.taken for at in world.jumps)
            assert second.looked_at < first.taken_at, f"turn {first.turn} was posted again by one who could see it"
            assert frozen or reset, f"turn {first.turn} was posted twice, and nobody was frozen"

    order = list(dict.fromkeys(post.turn for post in world.posts))
    assert order == sorted(order), f"answers out of order: {order}"


def check_the_end(world: World) -> None:
    """What is promised once faults have stopped, and the sweep has run for a while."""
    named = Counter(i for turn in world.turns() for i in turn.answers)
    for i, item in world.inputs.items():
        assert named[i] == 1 if item.acked and not item.dropped else named[i] <= 1, f"{i} was acked, and not answered"
    assert all(is_posted(world, turn) for turn in world.turns()), "a turn is not posted"
    assert not world.marked(), "markers are left"
    assert all(job.end for job in world.jobs.values()), "a run goes on for ever"
    assert not any(isinstance(actor.home, int) for actor in world.actors), "a worker goes on for ever"


def is_old(world: World, run: Run, i: str) -> bool:
    """Whether an input was neither said nor tried in the hours before a run was reserved for it."""
    tried = [before.reserved_at for before in world.runs() if before.n < run.n and i in before.serves]
    return run.reserved_at - max([world.inputs[i].said_at, *tried]) >= OFFER_AFTER


def is_posted(world: World, turn: Turn) -> bool:
    return f"turns/{turn.k}.posted" in world.journal


def deaths(world: World, i: str) -> tuple[int, int]:
    """How many runs were reserved for an input and have ended: of themselves, and in all."""
    ends = [closed.reason for run in world.runs() if i in run.serves and (closed := world.closed(run.n))]
    return sum(reason.died_of_itself for reason in ends), len(ends)
