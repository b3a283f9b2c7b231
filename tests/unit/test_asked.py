"""What an answer means, and how a question looks: whatever the agent asks, and whatever comes back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.conversation.questions import (
    Item,
    Option,
    Question,
    QuestionSettled,
    is_question_id,
    read_answer,
    told,
    wants_plan,
)
from peerbot.local.slack.blocks import problems
from peerbot.slack.interactions import BlockAction
from peerbot.slack.questions import SUBMIT_ACTION, asked, ended, picked
from peerbot.worker.clock import Clock

COLOURS = Item(question="Which colour?", options=(Option(label="Red"), Option(label="Blue", description="Cold")))
SIZES = Item(question="Which size?", options=(Option(label="S"), Option(label="L")), several=True)

texts = st.text(min_size=1, max_size=1000)
options = st.builds(Option, label=texts, description=st.text(max_size=4000))
items = st.builds(
    Item, question=st.text(min_size=1, max_size=4000), options=st.lists(options, max_size=10).map(tuple),
    several=st.booleans(),
)  # fmt: skip


def question(*items: Item, plan: str = "") -> Question:
    kind = "plan" if plan else "question"
    return Question(turn=1, i=1, run=1, call="c", kind=kind, items=items, plan=plan, asker="U0ADA")


def pressed(action: str, value: str, **fields: tuple[str, ...]) -> BlockAction:
    found = {("b", name): values for name, values in fields.items()}
    return BlockAction("T", "U", "C", "1.1", "1.1", "", "b", action, value, "2.2", "t", found)


@pytest.mark.parametrize(
    ("picks", "text", "read"),
    [
        ([[1]], "", ((("Blue",),), "")),
        ([[7]], "", None),
        ([[]], "", None),
        ([], "blue ", ((("Blue",),), "")),
        ([], "dark blue", ((), "dark blue")),
        ([], "  ", None),
    ],
)
def test_an_answer_is_read(picks: list[list[int]], text: str, read: object) -> None:
    assert read_answer(question(COLOURS), picks, text) == read


def test_several_answers_are_read_item_by_item() -> None:
    assert read_answer(question(COLOURS, SIZES), [[0], [1, 0, 1]], "") == ((("Red",), ("L", "S")), "")
    assert read_answer(question(COLOURS, SIZES), [[], [1]], "") == (((), ("L",)), "")
    assert read_answer(question(COLOURS, SIZES), [], "red") == ((), "red"), "words are not for one of them alone"


def test_only_a_button_approves_a_plan() -> None:
    plan = question(plan="# Plan")
    assert read_answer(plan, [], "approve") == ((), "approve"), "the agent judges words"
    read = read_answer(plan, [[0]], "")
    assert read
    assert QuestionSettled(how="answered", choices=read[0]).approves


def test_a_click_is_read_and_nothing_else_is() -> None:
    assert picked(pressed("peerbot_answer_1", "3.2:1")) == ("3.2", [[1]])
    assert picked(pressed(SUBMIT_ACTION, "3.2", peerbot_field_0=("1", "x"), peerbot_field_3=("0",))) == (
        "3.2",
        [[1], [], [], [0]],
    )
    for value in ("", "3.2", "3.2:x", "3.2:٣", "../3:1", "0.1:1", "3.2:99999"):
        assert picked(pressed("peerbot_answer_1", value)) is None
    assert not is_question_id("1.1/../2")


@given(st.lists(items, min_size=1, max_size=4), st.text(min_size=1, max_size=3000))
def test_slack_takes_whatever_the_agent_asks(items: list[Item], words: str) -> None:
    asks = question(*items)
    settled = [
        QuestionSettled(how="answered", name=words[:80], words=words),
        QuestionSettled(how="answered", name="Ada", choices=tuple(asks.choices(i)[:2] for i in range(asks.count))),
        QuestionSettled(how="stopped", name=words[:80]),
    ]
    for message in [*asked(asks), *(ended(asks, end) for end in settled)]:
        assert problems(message.blocks) == []
        assert 0 < len(message.text) <= 3_900


@given(st.text(min_size=1, max_size=30_000))
def test_slack_takes_whatever_plan(plan: str) -> None:
    asks = question(plan=plan)
    for message in [*asked(asks), ended(asks, QuestionSettled(how="ended"))]:
        assert problems(message.blocks) == []


def test_nothing_that_the_agent_asks_pings_anybody() -> None:
    [message] = asked(question(Item(question="<!channel> <@U0BOB>?", options=(Option(label="<!here>"),))))
    assert message.text.count("<@") == 1, "only the person who asked for the work"
    assert "<!" not in str(message.blocks)


def test_the_agent_reads_question_and_answer() -> None:
    settled = QuestionSettled(how="answered", choices=(("Red",), ()))
    words = told(question(COLOURS, SIZES), settled)
    assert "“Which colour?”: Red" in words
    assert "“Which size?”: (none)" in words


def test_a_plan_is_asked_for() -> None:
    assert wants_plan(" Plan: do it")
    assert not wants_plan("we have a plan: do it")


async def test_the_clock_stands_still_while_people_think() -> None:
    clock = Clock()
    clock.start(0.2)
    async with clock.limit():
        with clock.stands_still():
            warned = asyncio.create_task(clock.until(0.1))
            await asyncio.sleep(0.3)
            assert not warned.done()
        await warned
    with pytest.raises(TimeoutError):
        async with clock.limit():
            await asyncio.sleep(5)
