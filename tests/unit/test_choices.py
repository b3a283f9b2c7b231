"""Which controls an answer has, and what is read back from them."""

import pytest

from peerbot.conversation import notes
from peerbot.conversation.choice_notes import Retried, SessionForgotten, Undone
from peerbot.conversation.choices import Act, offered
from peerbot.conversation.documents import SessionRef, Turn, TurnStatus
from peerbot.local.slack.blocks import problems
from peerbot.slack.choice_words import about_choice, for_the_agent, moved, no_effect
from peerbot.slack.controls import as_buttons, choices, chosen
from peerbot.slack.render import answer, plain, words

ALL = set(Act)
MESSAGE, STOP = "1.000001-message", "1.000002-stop"
SESSION = SessionRef(id="0" * 36, turn=1, run=1)


def turn(**of: object) -> Turn:
    known = {"k": 1, "run": 1, "answers": [MESSAGE], "status": TurnStatus.DONE, "text": "Done.", "session": SESSION}
    return Turn.model_validate(known | of)


MENU_AND_FEEDBACK = {Act.NEW_SESSION, Act.TERMINAL, Act.GOOD, Act.BAD}


@pytest.mark.parametrize(
    ("of", "acts"),
    [
        ({}, {Act.RETRY, *MENU_AND_FEEDBACK}),
        ({"commit": "b" * 40, "before": "a" * 40}, ALL - {Act.CONTINUE}),
        ({"commit": "a" * 40, "before": "a" * 40}, {Act.RETRY, *MENU_AND_FEEDBACK}),
        ({"commit": "b" * 40}, MENU_AND_FEEDBACK),  # of a release that did not say where it began
        ({"notes": [notes.StoppedBy(name="Ada")]}, ALL - {Act.UNDO}),
        ({"notes": [notes.TimeUp(minutes=5)], "commit": "b" * 40, "before": "a" * 40}, ALL),
        ({"notes": [notes.GivenUp(end="hung")], "run": None, "session": None}, {Act.CONTINUE, Act.RETRY}),
        ({"status": TurnStatus.REFUSED, "run": None}, set()),
        ({"run": None, "undoes": 1, "notes": [Undone(name="A", turn=1, branch="b", kept_on="k")]}, set()),
        ({"run": None, "forgets": 1, "notes": [SessionForgotten(name="A")]}, set()),
        ({"began": False, "session": None, "notes": [notes.NotBegun(reason="No.")]}, {Act.CONTINUE, Act.RETRY}),
    ],
)
def test_an_answer_offers_what_makes_sense_after_it(of: dict[str, object], acts: set[Act]) -> None:
    assert set(offered(turn(**of))) == acts


@pytest.mark.parametrize("acts", [ALL, {Act.RETRY}, {Act.TERMINAL, Act.NEW_SESSION}, set()])
def test_slack_takes_the_controls_and_their_plain_form(acts: set[Act]) -> None:
    blocks = choices(12, acts)
    assert not problems(blocks)
    assert not problems([b for block in blocks for b in (as_buttons(block) if "context" in block["type"] else [block])])
    visible = [e for block in blocks if block["type"] == "actions" for e in block["elements"] if e["type"] == "button"]
    assert len(visible) <= 3
    assert {chosen(value) for value in _values(blocks)} == {(act.value, 12) for act in acts}


def _values(part: object) -> list[str]:
    """The values of all elements, options and buttons in some blocks."""
    if isinstance(part, list):
        return [value for item in part for value in _values(item)]
    if not isinstance(part, dict):
        return []
    own = [part["value"]] if "value" in part else []
    return own + [value for item in part.values() for value in _values(item)]


@pytest.mark.parametrize(
    "value", ["", "retry", "retry:", "retry:x", ":3", "retry:-1", "retry:99999999", "x" * 99 + ":1"]
)
def test_values_that_are_not_ours_are_nothing(value: str) -> None:
    assert chosen(value) is None


def test_words_have_no_buttons_and_the_last_message_alone_has_them() -> None:
    whole = answer(turn(text="word\n\n" * 4000), repository_url="", branch_url="", seconds=None)
    with_buttons = [m for m in whole.messages if any(b["type"] == "actions" for b in m.blocks)]
    assert with_buttons == [whole.messages[-1]]
    assert "Retry" not in words(with_buttons[0])
    assert sum(block["type"] == "actions" for block in plain(with_buttons[0]).blocks) == 2


def test_people_read_who_was_first_and_with_what() -> None:
    assert no_effect("undo", "chosen", ("Ada", "continue")) == (
        "Ada had already pressed *Continue* for this answer, so your *Undo* had no effect."
    )
    assert "4 more" in moved("b", [f"commit {i}" for i in range(9)])


def test_the_agent_hears_of_an_undo_and_of_a_new_session_alone() -> None:
    undone = Undone(name="Ada", turn=2, branch="b", kept_on="k")
    assert "turn 2" in for_the_agent(undone)
    assert for_the_agent(SessionForgotten(name="Ada"))
    retried = Retried(name="Ada", turn=2)
    assert not for_the_agent(retried)
    assert about_choice(retried)
    assert not about_choice(notes.SessionNotKept())
