"""The next person in line: people take turns."""

import random

from peerbot.conversation.keys import Conversation
from peerbot.conversation.line import Waiting, in_turn


def thread(number: int) -> Conversation:
    return Conversation("T1", "C1", f"{number}.000000")


def threads(person: str, *numbers: int) -> dict[Conversation, Waiting]:
    return {thread(number): Waiting(f"{number}.000000", person) for number in numbers}


def line(waiting: dict[Conversation, Waiting], running: list[str], **served_at: float) -> list[int]:
    return numbers(in_turn(waiting, running, served_at))


def numbers(line: list[Conversation]) -> list[int]:
    return [int(float(conversation.thread_ts)) for conversation in line]


def test_the_first_person_is_served_first() -> None:
    assert line(threads("ada", 3) | threads("bob", 1) | threads("eve", 2), []) == [1, 2, 3]


def test_one_with_many_threads_does_not_keep_others_waiting_behind_them_all() -> None:
    waiting = threads("ada", *range(101, 116)) | threads("bob", 200)

    assert line(waiting, ["ada", "ada"])[0] == 200
    assert line(waiting, [])[:3] == [101, 200, 102]


def test_what_runs_for_somebody_counts() -> None:
    waiting = threads("ada", 1, 2) | threads("bob", 3)

    assert line(waiting, ["bob"]) == [1, 2, 3]
    assert line(waiting, ["ada"]) == [3, 1, 2]


def test_on_a_machine_for_one_people_alternate() -> None:
    waiting = threads("ada", 2, 3) | threads("bob", 4, 5)

    assert line(waiting, [], ada=3.5) == [4, 2, 5, 3]


def test_a_person_who_lost_a_place_is_not_put_behind_later_ones() -> None:
    waiting = threads("ada", 2) | threads("bob", 3) | threads("eve", 1)
    assert line(waiting, [], ada=2.5) == [1, 3, 2]

    waiting[thread(2)] = Waiting("2.000000", "ada", interrupted=True)
    assert line(waiting, [], ada=2.5) == [1, 2, 3]
    assert line(waiting, ["ada"], ada=2.5) == [1, 3, 2]


def test_what_somebody_got_before_they_wrote_does_not_count_against_them() -> None:
    assert line(threads("ada", 10) | threads("bob", 11), [], ada=9.0) == [10, 11]


def test_every_replica_comes_to_the_same_order() -> None:
    waiting = threads("ada", 1, 4, 6) | threads("bob", 2, 5) | threads("eve", 3)
    shuffled = list(waiting)
    random.shuffle(shuffled)

    expected = in_turn(waiting, ["eve", "bob"], {"bob": 4.5})
    assert in_turn({c: waiting[c] for c in shuffled}, ["bob", "eve"], {"bob": 4.5}) == expected
    assert sorted(expected) == sorted(waiting)
