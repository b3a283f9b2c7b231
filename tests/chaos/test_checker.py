"""The checker of the chaos run calls each thing that can be wrong by its name, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from checker import Name, judge
from doors import Asked
from evidence import Asking, Evidence, Menu, Question, Save, Seen, Shown
from hands import PICKED, Did
from plan import ACTS, ANSWERS, CHOICES, PICKS, make_plan

from peerbot.conversation.keys import Conversation

ONE, TWO = "1700000001.000001-message", "1700000002.000002-message"
AGAIN = "1700000014.500000-message"
PRESSED, UNDO, TOO_LATE = "1700000001.500000-answer", "1700000013.000000-choice", "1700000014.000000-choice"
ADA, BOB = "U1", "U2"
HERE = Conversation("T1", "C1", "1700000001.000001")
PUSHED, CHECKPOINT = {"c001-m1.txt": "a" * 40}, {"c001-m2.txt": "c" * 40}


def healthy() -> Evidence:
    """A conversation of two messages and an undo, as it should be when it has ended. The first makes the agent ask."""
    objects: dict[str, dict[str, Any]] = {f"inputs/{identity}.json": {"user": ADA} for identity in (ONE, TWO)}
    objects |= {f"inputs/{identity}.json": {"user": ADA} for identity in (PRESSED, UNDO)}
    objects[f"inputs/{UNDO}.json"] |= {"act": "undo", "turn": 2}
    objects |= {f"inputs/{TOO_LATE}.json": {"user": BOB}, f"settled/{TOO_LATE}.json": {"why": "chosen"}}
    objects |= {"questions/1/1.settled": {"how": "answered", "input": PRESSED, "choices": [["Red"]], "words": ""}}
    for k, answers in ((1, [ONE, PRESSED]), (2, [TWO]), (3, [UNDO])):
        ended = f"2023-11-14T22:14:{k:02d}Z"
        objects[f"turns/{k}.json"] = {"answers": answers, "status": "done", "text": "", "ended_at": ended}
        objects[f"turns/{k}.posted"] = {}
    objects |= {"repository.json": {"repository": "team/tools"}, "conversation.json": {"repository": "team/tools"}}
    objects |= {"runs/1.json": {}, "runs/1.closed": {"reason": "finished"}}
    seen = Seen(
        conversation="T1/C1/1700000001.000001",
        asked=[Asking("c001-m1", ONE, "Which c001-m1?"), Asking("c001-m2", TWO, "did:c001-m2")],
        shown=[
            Shown("1700000011.000000", 1, 1, "Which c001-m1? Red"),
            Shown("1700000012.000000", 2, 1, "did:c001-m2"),
            Shown("1700000015.000000", 3, 1, "undone"),
        ],
        objects=objects,
        markers=[],
        saves=[Save(1.0, "refs/heads/peerbot/abc", PUSHED), Save(2.0, "work/2/1/1.bundle", CHECKPOINT)],
        branch=PUSHED,
        kept=[PUSHED | CHECKPOINT],
        questions=[Question("1700000001.400000", "1.1", "Which c001-m1?", open=False)],
        menus=[Menu("1700000001.100000", "I work in `team/tools` in this thread, as Ada chose.", False, True)],
        did=[
            Did(HERE, BOB, PICKED, "", 0.0),
            Did(HERE, ADA, "answer", "", 0.0),
            Did(HERE, ADA, "choice", "", 0.0),
            Did(HERE, BOB, "choice", "", 0.0),
        ],
        whispers=[(BOB, "Ada had already pressed Undo.")],
        requests=[
            Asked(1_700_000_035.0, frozenset({"c001-m1"}), frozenset({"c001-m1"})),
            Asked(1_700_000_036.0, frozenset({"c001-m2"}), frozenset({"c001-m1", "c001-m2"})),
        ],
        waited=1.0,
    )
    return Evidence([seen])


def an_answer_is_lost(seen: Seen) -> None:
    seen.shown.pop(1)


def an_answer_is_posted_twice(seen: Seen) -> None:
    seen.shown.append(seen.shown[1])


def an_input_is_answered_by_two_turns(seen: Seen) -> None:
    seen.objects["turns/2.json"]["answers"] = [ONE, TWO]


def work_is_answered_again_unasked(seen: Seen) -> None:
    seen.shown[2] = Shown("1700000015.000000", 3, 1, "did:c001-m2")


def an_answer_is_anothers(seen: Seen) -> None:
    seen.shown[1] = Shown("1700000012.000000", 2, 1, "Which c001-m1? Red")


def the_answers_are_swapped(seen: Seen) -> None:
    seen.shown[0] = Shown("1700000013.000000", 1, 1, "Which c001-m1? Red")


def the_inputs_are_swapped(seen: Seen) -> None:
    seen.objects["turns/1.json"]["answers"], seen.objects["turns/2.json"]["answers"] = [TWO], [ONE, PRESSED]
    seen.shown[0] = Shown("1700000011.000000", 1, 1, "did:c001-m2")
    seen.shown[1] = Shown("1700000012.000000", 2, 1, "Which c001-m1? Red")
    seen.requests = []


def an_input_is_not_recorded(seen: Seen) -> None:
    del seen.objects[f"inputs/{TWO}.json"]


def a_marker_was_skipped(seen: Seen) -> None:
    seen.asked.append(Asking("c001-m3", "1700000003.000003-message", "did:c001-m3"))
    seen.objects["inputs/1700000003.000003-message.json"] = {}


def a_stop_is_ignored(seen: Seen) -> None:
    seen.objects["inputs/1700000002.500000-stop.json"] = {"user": BOB}


def nobody_was_told(seen: Seen) -> None:
    seen.whispers.clear()


def a_press_is_lost(seen: Seen) -> None:
    seen.did.append(Did(HERE, BOB, "choice", "", 0.0))


def words_are_lost(seen: Seen) -> None:
    seen.did.append(Did(HERE, BOB, "message", "", 0.0, "1700000001.600000-message"))


def the_work_is_where_nobody_picked(seen: Seen) -> None:
    seen.objects["conversation.json"] = {"repository": "team/product"}


def a_pick_is_ignored(seen: Seen) -> None:
    del seen.objects["repository.json"], seen.objects["conversation.json"]


def a_menu_stays(seen: Seen) -> None:
    seen.menus[0] = Menu("1700000001.100000", "In which repository should I work?", True, True)


def a_question_is_asked_again(seen: Seen) -> None:
    seen.questions.append(Question("1700000001.450000", "1.2", "Which c001-m1?", open=False))
    seen.objects["questions/1/2.settled"] = {"how": "ended"}


def a_question_is_posted_twice(seen: Seen) -> None:
    seen.questions.append(Question("1700000001.450000", "1.1", "Which", open=False))


def a_second_answer_has_an_effect(seen: Seen) -> None:
    seen.objects["inputs/1700000001.600000-answer.json"] = {"user": BOB}
    seen.objects["turns/2.json"]["answers"].append("1700000001.600000-answer")


def a_question_keeps_its_buttons(seen: Seen) -> None:
    seen.questions[0] = Question("1700000001.400000", "1.1", "Which c001-m1?", open=True)


def the_agent_read_another_answer(seen: Seen) -> None:
    seen.shown[0] = Shown("1700000011.000000", 1, 1, "Which c001-m1? Green")


def a_marker_is_left(seen: Seen) -> None:
    seen.markers.append(TWO)


def a_receipt_is_missing(seen: Seen) -> None:
    del seen.objects["turns/2.posted"]


def a_run_is_open(seen: Seen) -> None:
    del seen.objects["runs/1.closed"]


def a_run_was_refused(seen: Seen) -> None:
    seen.objects["runs/1.closed"] = {"reason": "not_admitted", "detail": "it is closing"}


def a_push_was_dropped(seen: Seen) -> None:
    seen.branch, seen.kept = {}, [CHECKPOINT]


def a_checkpoint_was_dropped(seen: Seen) -> None:
    seen.kept = [PUSHED]


def work_was_done_again(seen: Seen) -> None:
    seen.kept = [PUSHED | {"c001-m2.txt": "b" * 40}]


def the_branch_of_an_undo_is_gone(seen: Seen) -> None:
    seen.kept.clear()


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
    work_is_answered_again_unasked: {Name.ELSEWHERE},
    an_answer_is_anothers: {Name.ELSEWHERE},
    the_answers_are_swapped: {Name.OUT_OF_ORDER},
    the_inputs_are_swapped: {Name.OUT_OF_ORDER},
    an_input_is_not_recorded: {Name.UNRECORDED},
    a_marker_was_skipped: {Name.UNMARKED, Name.LOST},
    a_stop_is_ignored: {Name.IGNORED},
    nobody_was_told: {Name.NOT_TOLD},
    a_press_is_lost: {Name.PRESS_LOST},
    words_are_lost: {Name.PRESS_LOST},
    the_work_is_where_nobody_picked: {Name.PICKED_TWICE},
    a_pick_is_ignored: {Name.NOT_PICKED},
    a_menu_stays: {Name.NOT_PICKED},
    a_question_is_asked_again: {Name.ASKED_TWICE},
    a_question_is_posted_twice: {Name.ASKED_TWICE},
    a_second_answer_has_an_effect: {Name.SETTLED_TWICE},
    a_question_keeps_its_buttons: {Name.OPEN},
    the_agent_read_another_answer: {Name.ELSEWHERE},
    a_marker_is_left: {Name.MARKER_LEFT},
    a_receipt_is_missing: {Name.NO_RECEIPT},
    a_run_is_open: {Name.RUN_OPEN},
    a_run_was_refused: {Name.RUN_REFUSED},
    a_push_was_dropped: {Name.WORK_LOST},
    a_checkpoint_was_dropped: {Name.WORK_LOST},
    work_was_done_again: {Name.WORK_LOST},
    the_branch_of_an_undo_is_gone: {Name.WORK_LOST},
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


def test_a_short_run_has_each_kind_of_act_answer_and_choice() -> None:
    messages = [message for talk in make_plan(1, 12).talks for message in talk.messages]

    assert {message.act for message in messages} == {None, *ACTS}
    assert {message.answer for message in messages} == {None, *ANSWERS}
    assert {message.choice for message in messages} == {None, *CHOICES}


def test_a_short_run_has_each_way_to_pick_a_repository() -> None:
    assert {talk.pick for talk in make_plan(1, 12).talks} == {None, *PICKS}


def test_a_retry_does_the_same_work_again() -> None:
    evidence = healthy()
    [seen] = evidence.conversations
    seen.objects[f"inputs/{UNDO}.json"]["act"] = "retry"
    work_is_answered_again_unasked(seen)
    a_message_was_worked_on_again(seen)

    assert judge(evidence) == []


def test_a_retry_asks_the_same_again() -> None:
    evidence = healthy()
    [seen] = evidence.conversations
    seen.objects[f"inputs/{UNDO}.json"] |= {"act": "retry", "turn": 1}
    seen.objects["turns/3.json"]["answers"].append(AGAIN)
    seen.objects[f"inputs/{AGAIN}.json"] = {"user": ADA}
    seen.objects["questions/3/1.settled"] = {"how": "answered", "input": AGAIN, "choices": [], "words": "a warm one"}
    seen.questions.append(Question("1700000014.000000", "3.1", "Which c001-m1?", open=False))
    seen.shown[2] = Shown("1700000015.000000", 3, 1, "Which c001-m1? a warm one")

    assert judge(evidence) == []
