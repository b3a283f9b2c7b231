"""When we look at a pull request again, and what its checks come to."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.conversation.pulls import LAST, Checks, PullState, lateness, slot_at, summed
from peerbot.slack.pull_words import pull_words

AGES = st.floats(0, 2 * LAST)


def test_looks_come_less_and_less_often_for_thirty_days() -> None:
    begins = [age for age in range(LAST + 1) if slot_at(age) != slot_at(age - 0.001)]
    apart = [after - before for before, after in pairwise(begins)]
    assert begins[0] == 1
    assert apart == sorted(apart)
    assert {15 * each for each in apart} == {15, 60, 300, 900, 3600}, "in seconds"
    assert len(begins) == 823
    assert LAST * 15 == 30 * 24 * 3600


@given(AGES)
def test_a_look_is_due_until_it_was_made_and_then_not_before_the_next(age: float) -> None:
    slot = slot_at(age)
    assert lateness(slot, age) < 0
    if slot:
        assert lateness(slot - 1, age) >= 0
        assert lateness(0, age) >= lateness(slot - 1, age)


@given(AGES, AGES)
def test_an_older_answer_never_goes_back_to_an_earlier_look(one: float, other: float) -> None:
    assert slot_at(min(one, other)) <= slot_at(max(one, other))


def test_of_two_late_looks_the_one_that_people_wait_for_comes_first() -> None:
    fresh, old = lateness(1, 4.5), lateness(slot_at(50_000), 50_000 + 250)
    assert fresh > old > 0


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({"passed": 0, "failed": 0, "running": 0}, None),
        ({"passed": 2, "failed": 0, "running": 0}, Checks(outcome="passed", total=2)),
        ({"passed": 2, "failed": 0, "running": 1}, Checks(outcome="running")),
        ({"passed": 2, "failed": 1, "running": 1}, Checks(outcome="failed", failed=1, total=4)),
        ({"passed": 300, "failed": 0, "running": 0, "unread": 1}, None),  # nobody knows
        ({"passed": 299, "failed": 1, "running": 0, "unread": 1}, Checks(outcome="failed", failed=1, total=301)),
    ],
)
def test_checks_are_summed_up(counts: dict[str, int], wanted: Checks | None) -> None:
    assert summed(**counts) == wanted


def test_each_state_has_a_sign_and_words() -> None:
    failed = Checks(outcome="failed", failed=1, total=3)
    assert pull_words(PullState(standing="open", checks=failed)) == "🟢 open, ❌ 1 of 3 checks failed"
    assert pull_words(PullState(standing="draft")) == "📝 draft"
    assert pull_words(PullState(standing="merged", checks=failed)) == "🔀 merged"
    assert pull_words(PullState(standing="closed")) == "🚫 closed, not merged"
