"""The checker of the chaos run calls each thing that can be wrong by its name, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from checker import Name, judge
from doors import Asked
from evidence import Asking, Evidence, Save, Seen, Shown
from plan import make_plan

ONE, TWO = "1700000001.000001-message", "1700000002.000002-message"
PUSHED, CHECKPOINT = {"c001-m1.txt": "a" * 40}, {"c001-m2.txt": "c" * 40}


def healthy() -> Evidence:
    """A conversation of two messages, as it should be when it has ended."""
    objects: dict[str, dict[str, Any]] = {f"inputs/{identity}.json": {} for identity in (ONE, TWO)}
    for k, identity in ((1, ONE), (2, TWO)):
        ended = f"2023-11-14T22:14:{k:02d}Z"
        objects[f"turns/{k}.json"] = {"answers": [identity], "status": "done", "text": "", "ended_at": ended}
        objects[f"turns/{k}.posted"] = {}
    objects |= {"runs/1.json": {}, "runs/1.closed": {"reason": "finished"}}
    seen = Seen(
        conversation="T1/C1/1700000001.000001",
        asked=[Asking("c001-m1", ONE, "did:c001-m1"), Asking("c001-m2", TWO, "did:c001-m2")],
        shown=[Shown("1700000011.000000", 1, 1, "did:c001-m1"), Shown("1700000012.000000", 2, 1, "did:c001-m2")],
        objects=objects,
        markers=[],
        saves=[Save(1.0, "refs/heads/peerbot/abc", PUSHED), Save(2.0, "work/2/1/1.bundle", CHECKPOINT)],
        branch=PUSHED | CHECKPOINT,
        requests=[
            Asked(1_700_000_035.0, frozenset({"c001-m1"}), frozenset({"c001-m1"})),
            Asked(1_700_000_036.0, frozenset({"c001-m2"}), frozenset({"c001-m1", "c001-m2"})),
        ],
        waited=1.0,
    )
    return Evidence([seen])


def an_answer_is_lost(seen: Seen) -> None:
    seen.shown.pop()


def an_answer_is_posted_twice(seen: Seen) -> None:
    seen.shown.append(seen.shown[1])


def an_input_is_answered_by_two_turns(seen: Seen) -> None:
    seen.objects["turns/2.json"]["answers"] = [ONE, TWO]


def an_answer_is_anothers(seen: Seen) -> None:
    seen.shown[1] = Shown("1700000012.000000", 2, 1, "did:c001-m1")


def the_answers_are_swapped(seen: Seen) -> None:
    seen.shown[0] = Shown("1700000013.000000", 1, 1, "did:c001-m1")


def the_inputs_are_swapped(seen: Seen) -> None:
    for name in ("answers",):
        first, second = seen.objects["turns/1.json"], seen.objects["turns/2.json"]
        first[name], second[name] = second[name], first[name]
    seen.shown = [Shown("1700000011.000000", 1, 1, "did:c001-m2"), Shown("1700000012.000000", 2, 1, "did:c001-m1")]
    seen.requests = []


def an_input_is_not_recorded(seen: Seen) -> None:
    del seen.objects[f"inputs/{TWO}.json"]


def a_marker_was_skipped(seen: Seen) -> None:
    seen.asked.append(Asking("c001-m3", "1700000003.000003-message", "did:c001-m3"))
    seen.objects["inputs/1700000003.000003-message.json"] = {}


def a_stop_is_ignored(seen: Seen) -> None:
    seen.objects["inputs/1700000002.500000-stop.json"] = {}


def a_marker_is_left(seen: Seen) -> None:
    seen.markers.append(TWO)


def a_receipt_is_missing(seen: Seen) -> None:
    del seen.objects["turns/2.posted"]


def a_run_is_open(seen: Seen) -> None:
    del seen.objects["runs/1.closed"]


def a_run_was_refused(seen: Seen) -> None:
    seen.objects["runs/1.closed"] = {"reason": "not_admitted", "detail": "it is closing"}


def a_push_was_dropped(seen: Seen) -> None:
    del seen.branch["c001-m1.txt"]


def a_checkpoint_was_dropped(seen: Seen) -> None:
    del seen.branch["c001-m2.txt"]


def work_was_done_again(seen: Seen) -> None:
    seen.branch["c001-m2.txt"] = "b" * 40


def a_message_was_worked_on_again(seen: Seen) -> None:
    seen.requests.append(Asked(1_700_000_099.0, frozenset({"c001-m2"}), frozenset({"c001-m1", "c001-m2"})))


def the_session_was_lost(seen: Seen) -> None:
    seen.requests[1] = Asked(1_700_000_036.0, frozenset({"c001-m2"}), frozenset({"c001-m2"}))


def it_ended_late(seen: Seen) -> None:
    seen.waited = 181.0


def it_never_ended(seen: Seen) -> None:
    seen.waited = None


PLANTED: dict[Callable[[Seen], None], set[Name]] = {
    an_answer_is_lost: {Name.LOST, Name.ELSEWHERE},
    an_answer_is_posted_twice: {Name.DOUBLED},
    an_input_is_answered_by_two_turns: {Name.ANSWERED_TWICE, Name.ELSEWHERE},
    an_answer_is_anothers: {Name.ELSEWHERE},
    the_answers_are_swapped: {Name.OUT_OF_ORDER},
    the_inputs_are_swapped: {Name.OUT_OF_ORDER},
    an_input_is_not_recorded: {Name.UNRECORDED},
    a_marker_was_skipped: {Name.UNMARKED, Name.LOST},
    a_stop_is_ignored: {Name.IGNORED},
    a_marker_is_left: {Name.MARKER_LEFT},
    a_receipt_is_missing: {Name.NO_RECEIPT},
    a_run_is_open: {Name.RUN_OPEN},
    a_run_was_refused: {Name.RUN_REFUSED},
    a_push_was_dropped: {Name.WORK_LOST},
    a_checkpoint_was_dropped: {Name.WORK_LOST},
    work_was_done_again: {Name.WORK_LOST},
    a_message_was_worked_on_again: {Name.WORKED_AFTER},
    the_session_was_lost: {Name.FORGOTTEN},
    it_ended_late: {Name.NOT_ENDED},
    it_never_ended: {Name.NOT_ENDED},
}


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert judge(healthy()) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_each_fault_of_a_conversation_has_its_name(plant: Callable[[Seen], None]) -> None:
    evidence = healthy()
    plant(evidence.conversations[0])

    assert {problem.name for problem in judge(evidence)} == PLANTED[plant]


def test_leftovers_deaths_and_findings_of_verify_have_their_names() -> None:
    evidence = healthy()
    evidence.workers, evidence.died, evidence.verify = ["python -m peerbot.worker"], ["1"], [("unposted", "", "x")]

    assert [problem.name for problem in judge(evidence)] == [Name.WORKER_LEFT, Name.DISPATCHER_DIED, Name.VERIFY]


def test_every_name_is_planted() -> None:
    outside = {Name.WORKER_LEFT, Name.DISPATCHER_DIED, Name.VERIFY}

    assert set().union(*PLANTED.values()) | outside == set(Name)


def test_the_same_seed_makes_the_same_plan_and_another_one_another() -> None:
    assert make_plan(3, 40) == make_plan(3, 40)
    assert make_plan(3, 40) != make_plan(4, 40)
    assert {len(talk.messages) for talk in make_plan(3, 40).talks} == {1, 2, 3, 4}
