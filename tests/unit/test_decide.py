"""The next step of a conversation: each sentence of decisions 0001 to 0003, as one look and one step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from peerbot.conversation.choices import Act
from peerbot.conversation.decide import next_step
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import BudgetUsedUp, NothingAsked, Refusal, Refused
from peerbot.conversation.steps import (
    Answer,
    AnswerStopped,
    CarryOut,
    Choose,
    Close,
    Drop,
    EndIdle,
    GiveUp,
    LookAgain,
    NoEffect,
    Nothing,
    Offer,
    Post,
    Recover,
    Reserve,
    Show,
    Step,
    Tell,
    Unmark,
    Wake,
)
from peerbot.conversation.view import Deletion, Pressed, RunView, Stop, UnpostedTurn, View

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
X, Y, Z = "1.000001-message", "2.000001-message", "3.000001-message"
GUEST = Refused(why=Refusal.GUEST)
NO_MONEY = BudgetUsedUp(budget_usd=1)
OF_THEMSELVES = [RunEnd.CRASHED, RunEnd.OUT_OF_MEMORY, RunEnd.DEADLINE, RunEnd.HUNG]
NOBODYS_FAULT = [
    RunEnd.DISPATCHER_ENDED,
    RunEnd.DRAINED,
    RunEnd.EVICTED,
    RunEnd.NODE_LOST,
    RunEnd.CUT_OFF,
    RunEnd.GONE,
    RunEnd.NEVER_STARTED,
    RunEnd.FINISHED,
]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ended(
    n: int,
    reason: RunEnd = RunEnd.FINISHED,
    *serves: str,
    detail: str = "",
    seconds_ago: float = 900,
    further: bool = False,
    by_signal: bool = False,
) -> RunView:
    """A closed run."""
    closed = RunClosed(reason=reason, detail=detail, closed_at=ago(seconds_ago), by_signal=by_signal)
    return RunView(n, serves or (X,), ago(1000), started=True, closed=closed, further=further)


def reserved(n: int = 1, seconds_ago: float = 1) -> RunView:
    """An open run that is not there, and whose worker never called."""
    return RunView(n, (X,), ago(seconds_ago), started=False, closed=None)


def living(n: int = 1) -> RunView:
    """An open run that works."""
    return RunView(n, (X,), ago(1000), started=True, closed=None, alive=True)


def given_up(oldest_first: list[RunView]) -> GiveUp:
    """Return the step after the last try of X: its answer, with the reason of the last run."""
    last = oldest_first[-1].closed
    assert last
    return GiveUp((X,), last)


def runs(*oldest_first: RunView) -> tuple[RunView, ...]:
    return oldest_first[::-1]


def step(*, waiting: tuple[str, ...] = (), answered: dict[str, int] | None = None, **rest: object) -> Step:
    """The step for inputs that wait and inputs that a turn names, both still marked."""
    answered = answered or {}
    return next_step(View(tuple(sorted((*waiting, *answered))), answered, **rest), NOW)  # type: ignore[arg-type]


# Inputs and runs


def test_where_nothing_is_marked_and_no_run_is_open_there_is_nothing_to_do() -> None:
    assert step() == Nothing()
    assert step(runs=runs(ended(1))) == Nothing()


def test_the_first_input_gets_the_first_run() -> None:
    assert step(waiting=(X,)) == Reserve(1, (X,))


def test_inputs_that_wait_together_get_one_run_in_their_order() -> None:
    assert step(waiting=(X, Y, Z)) == Reserve(1, (X, Y, Z))


def test_after_a_closed_run_comes_the_next_one() -> None:
    assert step(waiting=(Y,), runs=runs(ended(6))) == Reserve(7, (Y,))


def test_only_what_is_not_answered_gets_a_run() -> None:
    unposted = (UnpostedTurn(1, ago(1)),)
    assert step(waiting=(Y,), answered={X: 1}, unposted=unposted) == Reserve(1, (Y,))


def test_a_living_run_is_woken_for_what_waits() -> None:
    assert step(waiting=(Y,), runs=runs(ended(1), living(2))) == Wake(2)


def test_a_living_run_with_nothing_to_do_is_left_alone() -> None:
    assert step(runs=runs(living())) == Nothing()


@pytest.mark.parametrize("waiting", [(), (X,)])
@pytest.mark.parametrize("reason", RunEnd)
def test_a_run_that_ended_is_closed_with_the_reason_that_the_look_told(
    reason: RunEnd, waiting: tuple[str, ...]
) -> None:
    for started in (True, False):
        run = RunView(3, (X,), ago(1), started=started, closed=None, alive=False, end=reason, detail="exit code 3")
        assert step(waiting=waiting, runs=(run,)) == Close(3, reason, "exit code 3")


def test_a_run_that_ended_without_a_reason_is_closed_as_gone() -> None:
    run = RunView(1, (X,), ago(1), started=True, closed=None, alive=False)
    assert step(waiting=(X,), runs=(run,)) == Close(1, RunEnd.GONE, "")


def test_a_run_that_is_gone_after_it_started_is_closed_at_once() -> None:
    run = RunView(1, (X,), ago(1), started=True, closed=None)
    assert step(waiting=(X,), runs=(run,)) == Close(1, RunEnd.GONE, "it is gone, and nothing says why")


def test_a_reserved_run_has_ten_seconds_to_come() -> None:
    assert step(waiting=(X,), runs=(reserved(seconds_ago=0),)) == LookAgain(NOW + timedelta(seconds=10))
    run = RunView(1, (X,), ago(10) + MOMENT, started=False, closed=None)
    assert step(waiting=(X,), runs=(run,)) == LookAgain(NOW + MOMENT)


def test_a_reserved_run_that_has_not_come_after_ten_seconds_never_will() -> None:
    assert step(waiting=(X,), runs=(reserved(seconds_ago=10),)) == Close(1, RunEnd.NEVER_STARTED, "it never came")


def test_a_run_that_is_there_has_as_long_as_it_takes_to_start() -> None:
    run = RunView(1, (X,), ago(600), started=False, closed=None, alive=True)
    assert step(waiting=(X,), runs=(run,)) == Wake(1)


def test_a_reservation_from_a_clock_that_is_ahead_is_looked_at_again() -> None:
    assert step(waiting=(X,), runs=(reserved(seconds_ago=-30),)) == LookAgain(NOW + timedelta(seconds=40))


@pytest.mark.parametrize("run", [reserved(1), reserved(1, 60), living(1)])
def test_no_run_is_reserved_while_the_newest_is_open(run: RunView) -> None:
    assert not isinstance(step(waiting=(X, Y), runs=(run,)), Reserve)


# The tries of an input


@pytest.mark.parametrize("reason", OF_THEMSELVES)
def test_an_input_is_given_up_after_three_runs_that_died_of_themselves(reason: RunEnd) -> None:
    died = [ended(n, reason) for n in (1, 2, 3)]
    assert step(waiting=(X,), runs=runs(*died[:2])) == Reserve(3, (X,))
    assert step(waiting=(X,), runs=runs(*died)) == given_up(died)


def test_three_runs_that_died_of_themselves_are_enough_among_others_that_did_not() -> None:
    ends = (RunEnd.CRASHED, RunEnd.EVICTED, RunEnd.OUT_OF_MEMORY, RunEnd.NODE_LOST, RunEnd.DEADLINE)
    views = [ended(n, reason) for n, reason in enumerate(ends, 1)]
    assert isinstance(step(waiting=(X,), runs=runs(*views[:4])), Reserve)
    assert isinstance(step(waiting=(X,), runs=runs(*views)), GiveUp)


def test_an_input_whose_run_was_not_admitted_is_given_up_at_once_and_a_later_one_is_tried() -> None:
    """Another run would meet the same cluster; a person who writes again has had it mended, or is told again."""
    refused = runs(ended(1, RunEnd.NOT_ADMITTED))
    assert isinstance(step(waiting=(X,), runs=refused), GiveUp)
    assert step(waiting=(Y,), runs=refused) == Reserve(2, (Y,))


def test_every_end_is_a_try_or_nobodys_fault_or_a_refusal() -> None:
    assert {*OF_THEMSELVES, *NOBODYS_FAULT, RunEnd.NOT_ADMITTED} == set(RunEnd)
    assert [reason for reason in RunEnd if reason.is_nobodys_fault] == [r for r in RunEnd if r in NOBODYS_FAULT]


@pytest.mark.parametrize("reason", NOBODYS_FAULT)
def test_ends_that_are_nobodys_fault_never_use_an_input_up(reason: RunEnd) -> None:
    """Among them are all that a dispatcher of the release before has closed."""
    views = [ended(n, reason) for n in range(1, 101)]
    assert step(waiting=(X,), runs=runs(*views)) == Reserve(101, (X,))
    views = [ended(1, RunEnd.CRASHED), ended(2, RunEnd.CRASHED), *[ended(n, reason) for n in range(3, 101)]]
    assert step(waiting=(X,), runs=runs(*views)) == Reserve(101, (X,))
    assert isinstance(step(waiting=(X,), runs=runs(*views, ended(101, RunEnd.CRASHED))), GiveUp)


def test_a_run_that_got_further_is_the_first_of_three_again() -> None:
    ends = [ended(n, RunEnd.CRASHED) for n in (1, 2)]
    ends.append(ended(3, RunEnd.CRASHED, further=True))
    assert isinstance(step(waiting=(X,), runs=runs(*ends)), Reserve)
    ends.append(ended(4, RunEnd.OUT_OF_MEMORY))
    assert isinstance(step(waiting=(X,), runs=runs(*ends)), Reserve)
    ends.append(ended(5, RunEnd.CRASHED))
    assert step(waiting=(X,), runs=runs(*ends)) == given_up(ends)


def test_a_run_that_got_further_and_ended_through_nobodys_fault_leaves_three() -> None:
    ends = [ended(1, RunEnd.CRASHED), ended(2, RunEnd.CRASHED), ended(3, RunEnd.EVICTED, further=True)]
    ends += [ended(n, RunEnd.CRASHED) for n in (4, 5)]
    assert isinstance(step(waiting=(X,), runs=runs(*ends)), Reserve)
    assert isinstance(step(waiting=(X,), runs=runs(*ends, ended(6, RunEnd.CRASHED))), GiveUp)


def test_an_input_whose_runs_always_get_further_is_given_up_after_ten() -> None:
    ends = [ended(n, RunEnd.CRASHED, further=True) for n in range(1, 11)]
    assert step(waiting=(X,), runs=runs(*ends[:9])) == Reserve(10, (X,))
    assert step(waiting=(X,), runs=runs(*ends)) == given_up(ends)


def test_a_run_that_ended_by_a_signal_is_a_try_however_far_it_got() -> None:
    ends = [ended(n, RunEnd.CRASHED, further=True, by_signal=True) for n in (1, 2, 3)]
    assert isinstance(step(waiting=(X,), runs=runs(*ends[:2])), Reserve)
    assert step(waiting=(X,), runs=runs(*ends)) == given_up(ends)


def test_what_a_look_shows_of_a_signal_is_in_the_close() -> None:
    run = RunView(1, (X,), ago(9), started=True, closed=None, alive=False, end=RunEnd.CRASHED, by_signal=True)
    assert step(waiting=(X,), runs=(run,)) == Close(1, RunEnd.CRASHED, "", by_signal=True)


# Backing off


@pytest.mark.parametrize("reason", NOBODYS_FAULT)
@pytest.mark.parametrize(("ends", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60)])
def test_the_next_run_waits_longer_after_each_end_that_is_nobodys_fault(
    reason: RunEnd, ends: int, seconds: int
) -> None:
    before = [ended(n, reason) for n in range(1, ends)]
    early = ended(ends, reason, seconds_ago=0)
    assert step(waiting=(X,), runs=runs(*before, early)) == LookAgain(NOW + timedelta(seconds=seconds), ends)
    over = ended(ends, reason, seconds_ago=seconds)
    assert step(waiting=(X,), runs=runs(*before, over)) == Reserve(ends + 1, (X,))


@pytest.mark.parametrize("reason", OF_THEMSELVES)
def test_the_next_run_does_not_wait_after_one_that_died_of_itself(reason: RunEnd) -> None:
    before = [ended(n, RunEnd.NODE_LOST) for n in range(1, 6)]
    died = ended(6, reason, seconds_ago=0)
    assert step(waiting=(X,), runs=runs(*before, died)) == Reserve(7, (X,))
    lost = ended(7, RunEnd.NODE_LOST, seconds_ago=0)
    assert step(waiting=(X,), runs=runs(*before, died, lost)) == LookAgain(NOW + timedelta(seconds=1), 1)


def test_nobody_who_writes_waits_for_runs_that_were_for_others() -> None:
    lost = [ended(n, RunEnd.NODE_LOST, X, seconds_ago=0) for n in range(1, 8)]
    assert step(waiting=(X, Y), runs=runs(*lost)) == Reserve(8, (X, Y))
    lost.append(ended(8, RunEnd.NODE_LOST, X, Y, seconds_ago=0))
    assert step(waiting=(X, Y), runs=runs(*lost)) == LookAgain(NOW + timedelta(seconds=1), 1)


def test_a_close_from_a_clock_that_is_far_ahead_is_not_waited_for() -> None:
    little = ended(1, RunEnd.NODE_LOST, seconds_ago=-30)
    assert step(waiting=(X,), runs=(little,)) == LookAgain(NOW + timedelta(seconds=31), 1)
    assert step(waiting=(X,), runs=(ended(1, RunEnd.NODE_LOST, seconds_ago=-600),)) == Reserve(2, (X,))


def test_an_answer_that_is_due_while_the_next_run_waits_is_posted() -> None:
    lost = [ended(n, RunEnd.NODE_LOST, Y, seconds_ago=0) for n in range(1, 8)]
    early = (UnpostedTurn(1, ago(59)),)
    assert step(waiting=(Y,), answered={X: 1}, unposted=early, runs=runs(*lost)) == LookAgain(
        NOW + timedelta(seconds=1), 7
    )
    due = (UnpostedTurn(1, ago(60)),)
    assert step(waiting=(Y,), answered={X: 1}, unposted=due, runs=runs(*lost)) == Post(1, 1)


def test_a_marker_without_its_input_is_recovered_while_the_next_run_waits() -> None:
    lost = ended(1, RunEnd.NODE_LOST, seconds_ago=0)
    assert step(waiting=(X,), orphans={Y: ago(601)}, runs=(lost,)) == Recover(Y)


def test_a_row_of_ends_that_are_nobodys_fault_is_offered_after_two_hours_and_not_given_up() -> None:
    def lost(n: int, reserved_ago: float, reason: RunEnd = RunEnd.NODE_LOST) -> RunView:
        closed = RunClosed(reason=reason, closed_at=ago(reserved_ago - 50))
        return RunView(n, (X,), ago(reserved_ago), started=True, closed=closed)

    row = [lost(n, 7200 - 60 * n) for n in range(120)]
    said = {X: ago(9000)}
    assert step(waiting=(X,), said_at=said, runs=runs(*row)) == Offer((X,), row[-1].closed)
    assert isinstance(step(waiting=(X,), said_at=said, runs=runs(*row[1:])), LookAgain)
    assert isinstance(step(waiting=(X, Y), said_at=said | {Y: ago(1)}, runs=runs(*row)), Reserve)
    crashed = [*row[:60], lost(60, 3600, RunEnd.CRASHED), *row[61:]]
    assert isinstance(step(waiting=(X,), said_at=said, runs=runs(*crashed)), LookAgain)


def test_the_reason_that_is_told_is_the_last_runs() -> None:
    views = [ended(n, RunEnd.CRASHED, detail=f"exit code {n}") for n in (1, 2, 3)]
    answer = step(waiting=(X,), runs=runs(*views))
    assert isinstance(answer, GiveUp)
    assert answer.last.detail == "exit code 3"


def test_a_later_input_is_still_tried_when_an_earlier_one_is_given_up() -> None:
    died = [ended(1, RunEnd.CRASHED, X), ended(2, RunEnd.CRASHED, X, Y), ended(3, RunEnd.CRASHED, X, Y)]
    assert step(waiting=(X, Y), runs=runs(*died)) == given_up(died)
    assert step(waiting=(Y,), answered={X: 1}, unposted=(UnpostedTurn(1, ago(1)),), runs=runs(*died)) == Reserve(
        4, (Y,)
    )


def test_runs_that_were_reserved_for_others_are_not_an_inputs_tries() -> None:
    assert step(waiting=(Y,), runs=runs(*[ended(n, RunEnd.CRASHED, X) for n in (1, 2, 3)])) == Reserve(4, (Y,))


def test_an_open_run_is_looked_after_before_anything_is_given_up() -> None:
    died = [ended(n, RunEnd.CRASHED) for n in (1, 2, 3)]
    assert step(waiting=(X,), runs=runs(*died, living(4))) == Wake(4)


# Steps without a run


def test_what_needs_no_agent_is_answered_without_a_run() -> None:
    assert step(waiting=(X, Y), fixed={Y: GUEST}) == Answer((Y,), GUEST)


def test_what_has_the_same_answer_is_answered_together_and_the_oldest_first() -> None:
    fixed = {X: GUEST, Y: NothingAsked(), Z: GUEST}
    assert step(waiting=(X, Y, Z), fixed=fixed) == Answer((X, Z), GUEST)


def test_what_needs_no_agent_waits_while_a_run_is_open() -> None:
    assert step(waiting=(X,), fixed={X: GUEST}, runs=runs(living())) == Wake(1)


# Old messages, and unwritten ones


def test_what_waited_for_two_hours_is_offered_and_not_begun() -> None:
    assert step(waiting=(X,), said_at={X: ago(7200) + MOMENT}) == Reserve(1, (X,))
    assert step(waiting=(X, Y), said_at={X: ago(9000), Y: ago(7200)}) == Offer((X, Y))


def test_what_is_old_is_begun_together_with_what_was_just_said() -> None:
    assert step(waiting=(X, Y), said_at={X: ago(9000), Y: ago(1)}) == Reserve(1, (X, Y))


def test_what_was_tried_in_the_last_two_hours_is_not_old() -> None:
    crashed = RunClosed(reason=RunEnd.CRASHED)
    tried = RunView(1, (X,), ago(7100), started=True, closed=crashed)
    assert step(waiting=(X,), said_at={X: ago(9000)}, runs=(tried,)) == Reserve(2, (X,))
    long_ago = RunView(1, (X,), ago(7300), started=True, closed=crashed)
    assert step(waiting=(X,), said_at={X: ago(9000)}, runs=(long_ago,)) == Offer((X,))
    of_another = RunView(1, (Y,), ago(1), started=True, closed=crashed)
    assert step(waiting=(X,), said_at={X: ago(9000)}, runs=(of_another,)) == Offer((X,))


def test_what_is_old_and_needs_no_agent_or_was_given_up_is_answered_with_that() -> None:
    old = {X: ago(9000)}
    assert step(waiting=(X,), said_at=old, fixed={X: GUEST}) == Answer((X,), GUEST)
    died = [ended(n, RunEnd.CRASHED) for n in (1, 2, 3)]
    assert step(waiting=(X,), said_at=old, runs=runs(*died)) == given_up(died)


def test_what_is_old_goes_to_a_run_that_lives() -> None:
    assert step(waiting=(X,), said_at={X: ago(9000)}, runs=runs(living())) == Wake(1)


def test_a_marker_without_its_input_for_ten_minutes_is_recovered() -> None:
    assert step(orphans={X: ago(600) + MOMENT}) == Nothing()
    assert step(orphans={Y: ago(600), X: ago(601)}) == Recover(X)


def test_a_marker_without_its_input_keeps_nothing_waiting() -> None:
    assert step(waiting=(Y,), orphans={X: ago(900)}) == Reserve(1, (Y,))
    assert step(answered={Y: 1}, orphans={X: ago(900)}) == Unmark((Y,))


# Posting and unmarking


def test_markers_go_once_their_answer_is_posted() -> None:
    assert step(answered={X: 1, Y: 1}) == Unmark((X, Y))


def test_markers_stay_while_their_answer_is_not_posted() -> None:
    unposted = (UnpostedTurn(2, ago(1)),)
    assert step(answered={X: 1, Y: 2}, unposted=unposted) == Unmark((X,))
    assert step(answered={Y: 2}, unposted=unposted) == LookAgain(ago(1) + timedelta(seconds=60))


def test_the_writer_of_a_turn_has_sixty_seconds_to_post_it() -> None:
    early = (UnpostedTurn(1, ago(60) + MOMENT),)
    assert step(answered={X: 1}, unposted=early) == LookAgain(NOW + MOMENT)


def test_after_sixty_seconds_anybody_posts_it() -> None:
    assert step(answered={X: 1}, unposted=(UnpostedTurn(1, ago(60)),)) == Post(1, 1)


def test_an_answer_waits_for_those_before_it() -> None:
    unposted = (UnpostedTurn(1, ago(5)), UnpostedTurn(2, ago(61)))
    assert step(answered={X: 1, Y: 2}, unposted=unposted) == LookAgain(ago(5) + timedelta(seconds=60))
    assert step(answered={Y: 2}, unposted=unposted[1:]) == Post(2, 1)


def test_an_answer_that_waits_keeps_no_run_from_beginning() -> None:
    assert step(waiting=(Y,), answered={X: 1}, unposted=(UnpostedTurn(1, ago(5)),)) == Reserve(1, (Y,))


def test_the_next_look_is_for_the_answer_that_comes_first() -> None:
    unposted = (UnpostedTurn(3, ago(10)), UnpostedTurn(1, ago(20)), UnpostedTurn(2, ago(30)))
    assert step(answered={X: 1, Y: 2, Z: 3}, unposted=unposted) == LookAgain(NOW + timedelta(seconds=40))


@pytest.mark.parametrize(("claims", "minutes"), [(1, 1), (10, 1), (11, 2), (12, 4), (15, 32), (16, 60), (1000, 60)])
def test_an_answer_that_nobody_can_post_is_tried_less_and_less_often(claims: int, minutes: int) -> None:
    early = UnpostedTurn(1, ago(minutes * 60) + MOMENT, claims)
    assert step(unposted=(early,)) == LookAgain(NOW + MOMENT)
    assert step(unposted=(UnpostedTurn(1, ago(minutes * 60), claims),)) == Post(1, claims + 1)


def test_a_turn_without_markers_is_posted_too() -> None:
    assert step(unposted=(UnpostedTurn(1, ago(60)),)) == Post(1, 1)
    assert step(unposted=(UnpostedTurn(1, ago(20)),)) == LookAgain(NOW + timedelta(seconds=40))


def test_an_unposted_turn_does_not_hide_what_an_open_run_needs() -> None:
    unposted = (UnpostedTurn(1, ago(1)),)
    assert step(waiting=(Y,), answered={X: 1}, unposted=unposted, runs=runs(living())) == Wake(1)
    assert step(answered={X: 1}, unposted=unposted, runs=(reserved(seconds_ago=10),)) == Close(
        1, RunEnd.NEVER_STARTED, "it never came"
    )


# Stops

S, T = "2.500000-stop", "2.600000-stop"


def stopping(*waiting: str, stops: tuple[Stop, ...] = (Stop(S),), turn: int = 3, **rest: Any) -> Step:
    """The step for messages that wait, and stops."""
    return step(waiting=(*waiting, *(stop.id for stop in stops)), stops=stops, turn=turn, **rest)


@pytest.mark.parametrize("of", [None, 3])
def test_a_stop_wakes_the_run_that_is_at_work(of: int | None) -> None:
    assert stopping(X, stops=(Stop(S, of),), runs=runs(living())) == Wake(1)


def test_a_stop_closes_a_run_that_has_ended_first() -> None:
    gone = RunView(1, (X,), ago(1), started=True, closed=None)
    assert stopping(X, runs=(gone,)) == Close(1, RunEnd.GONE, "it is gone, and nothing says why")


def test_a_stop_needs_no_worker_if_none_has_begun() -> None:
    for none in ((), runs(reserved())):
        assert stopping(X, Y, runs=none) == AnswerStopped(S, (X, Y, S), began=False)


def test_a_stop_after_a_worker_has_died_ends_the_turn_and_no_other_run_begins() -> None:
    died = runs(ended(1, RunEnd.CRASHED, X))
    assert stopping(X, runs=died) == AnswerStopped(S, (X, S), began=True)


def test_a_message_after_the_stop_is_new_work() -> None:
    assert stopping(X, Z) == AnswerStopped(S, (X, S), began=False)
    assert step(waiting=(Z,), answered={X: 3, S: 3}, unposted=(UnpostedTurn(3, ago(1)),)) == Reserve(1, (Z,))


def test_of_two_stops_one_has_the_effect_and_both_are_answered() -> None:
    assert stopping(X, stops=(Stop(S), Stop(T))) == AnswerStopped(S, (X, S, T), began=False)


@pytest.mark.parametrize("there", [(), runs(living()), runs(ended(1))])
def test_a_stop_without_anything_at_work_is_told(there: tuple[RunView, ...]) -> None:
    assert stopping(runs=there) == Tell(S, NoEffect.NOTHING_AT_WORK)
    assert stopping(Z, runs=there) == Tell(S, NoEffect.NOTHING_AT_WORK), "what came later is not meant"


def test_a_stop_of_an_earlier_turn_is_told_and_the_turn_at_work_goes_on() -> None:
    assert stopping(X, stops=(Stop(S, 2),), runs=runs(living())) == Tell(S, NoEffect.TURN_ENDED)


def test_a_guests_stop_is_told_and_stops_nothing_not_even_beside_a_members() -> None:
    fixed = {S: GUEST}
    assert stopping(X, runs=runs(living()), fixed=fixed) == Tell(S, Refusal.GUEST)
    assert stopping(X, stops=(Stop(T), Stop(S)), fixed=fixed) == AnswerStopped(T, (X, T), began=False)


def test_a_stop_does_not_answer_what_was_refused() -> None:
    for there in ((), runs(reserved())):
        assert stopping(X, runs=there, fixed={X: GUEST}) == Tell(S, NoEffect.NOTHING_AT_WORK)
        assert stopping(X, Y, runs=there, fixed={X: GUEST}) == AnswerStopped(S, (Y, S), began=False)


def test_stops_alone_begin_no_run() -> None:
    assert not isinstance(stopping(), Reserve)


# Deletions

D = "2.700000-delete"


def deleting(*of: str, **rest: Any) -> Step:
    """The step if somebody deleted the message X, and these of its inputs wait."""
    return step(waiting=(*of, D), deletions=(Deletion(D, of),), **rest)


def test_a_message_that_is_deleted_before_anybody_begins_is_dropped_with_its_edits() -> None:
    edited = "1.500000-edit"
    for there in ((), runs(reserved()), runs(ended(1, RunEnd.CRASHED, X))):
        assert deleting(X, edited, runs=there) == Drop((X, edited, D))


def test_a_deletion_of_what_a_worker_has_is_told() -> None:
    assert deleting(X, runs=runs(living())) == Tell(D, NoEffect.BEGUN)


def test_a_deletion_of_what_is_answered_is_told() -> None:
    assert deleting() == Tell(D, NoEffect.TURN_ENDED)


def test_a_deletion_alone_begins_no_run() -> None:
    assert not isinstance(deleting(), Reserve)


# What people choose below an answer


UNDO, OTHER = "9.000001-choice", "9.500001-choice"


def chosen(view: View | None = None, **of: Any) -> View:
    """A choice about turn 3, the newest, by default an Undo that nobody has looked at."""
    known: dict[str, Any] = {"id": UNDO, "act": Act.UNDO, "turn": 3}
    choice = Pressed(**(known | of))
    base = view or View(pending=(), answered={}, turn=4, newest=3)
    return replace(base, pending=(*base.pending, choice.id), choices=(*base.choices, choice))


def about(pending: tuple[str, ...] = (), runs: tuple[RunView, ...] = ()) -> View:
    return View(pending=pending, answered={}, runs=runs, turn=4, newest=3)


@pytest.mark.parametrize(
    ("view", "step"),
    [
        (chosen(), Choose(UNDO)),
        (chosen(chosen=UNDO), CarryOut(UNDO, 4)),
        (chosen(chosen=UNDO, back=True), CarryOut(UNDO, 4)),
        (chosen(chosen=OTHER), Tell(UNDO, NoEffect.CHOSEN)),
        (chosen(turn=2), Tell(UNDO, NoEffect.GONE_ON)),
        (chosen(turn=2, chosen=UNDO), Tell(UNDO, NoEffect.GONE_ON)),
        (chosen(turn=2, chosen=UNDO, back=True), CarryOut(UNDO, 4)),
        (chosen(settled=True), Tell(UNDO, NoEffect.NOT_POSSIBLE)),
        (chosen(act=None), Tell(UNDO, NoEffect.NOT_POSSIBLE)),
        (chosen(act=Act.TERMINAL, turn=1), Show(UNDO)),
        (chosen(act=Act.GOOD, chosen=OTHER), Show(UNDO)),
        (chosen(act=Act.NEW_SESSION, chosen=UNDO), CarryOut(UNDO, 4)),
        # The agent answers it as it does a message.
        (chosen(act=Act.CONTINUE), Choose(UNDO)),
        (chosen(act=Act.CONTINUE, chosen=UNDO), Reserve(1, (UNDO,))),
        (chosen(act=Act.RETRY, chosen=UNDO), CarryOut(UNDO, 4)),
        (chosen(act=Act.RETRY, chosen=UNDO, back=True), Reserve(1, (UNDO,))),
        # Something is at work.
        (chosen(about((X,), (living(),))), Tell(UNDO, NoEffect.AT_WORK)),
        (chosen(about((X,))), Tell(UNDO, NoEffect.AT_WORK)),
        (chosen(about((X,), (living(),)), chosen=UNDO), Tell(UNDO, NoEffect.AT_WORK)),
        (chosen(about((X,), (living(),)), chosen=UNDO, back=True), Wake(1)),
        (chosen(about((X,)), chosen=UNDO, back=True), CarryOut(UNDO, 4)),
        # A run that waits for something to do.
        (chosen(about(runs=(living(),)), chosen=UNDO), EndIdle(1)),
        (chosen(about(runs=(living(),)), act=Act.CONTINUE, chosen=UNDO), Wake(1)),
        (chosen(about(runs=(ended(1),)), chosen=UNDO), CarryOut(UNDO, 4)),
        # Two people.
        (chosen(chosen(chosen=UNDO), id=OTHER, chosen=UNDO), CarryOut(UNDO, 4)),
        (chosen(chosen(act=Act.CONTINUE, chosen=UNDO), id=OTHER, chosen=UNDO), Tell(OTHER, NoEffect.CHOSEN)),
        # Somebody who may not.
        (replace(chosen(), fixed={UNDO: GUEST}), Tell(UNDO, Refusal.GUEST)),
        (replace(chosen(act=Act.GOOD), fixed={UNDO: GUEST}), Tell(UNDO, Refusal.GUEST)),
        (replace(chosen(chosen=UNDO, back=True), fixed={UNDO: GUEST}), CarryOut(UNDO, 4)),
        # No money is left.
        (replace(chosen(act=Act.RETRY), fixed={UNDO: NO_MONEY}), Answer((UNDO,), NO_MONEY)),
    ],
)
def test_a_choice_has_one_effect_or_is_told_why_it_has_none(view: View, step: Step) -> None:
    assert next_step(view, NOW) == step


def test_a_stop_stops_a_retry_that_waits_and_no_choice_that_does_not() -> None:
    stop = Stop("9.900001-stop")
    waiting = chosen(act=Act.RETRY, chosen=UNDO, back=True)
    with_stop = replace(waiting, pending=(*waiting.pending, stop.id), stops=(stop,))
    assert next_step(with_stop, NOW) == AnswerStopped(stop.id, (UNDO, stop.id), began=False)
    undo = replace(chosen(), pending=(UNDO, stop.id), stops=(stop,))
    assert next_step(undo, NOW) == Tell(stop.id, NoEffect.NOTHING_AT_WORK)
