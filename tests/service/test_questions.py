"""The agent asks people: buttons, forms and words; one answer counts, everyone is told, and it outlives its worker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Fault
from peerbot.slack.questions import ANSWER, SUBMIT_ACTION

ASK = "ask me which colour"
RED, GREEN, BLUE = (f"{ANSWER}_{n}" for n in range(3))


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, {"PEERBOT_QUESTION_MINUTES": "2"}) as system:
        yield system


def questions(system: System, conversation: Conversation) -> list[dict[str, Any]]:
    """The messages that ask, oldest first."""
    thread = system.slack.thread(conversation.channel, conversation.thread_ts)
    return [m for m in thread if (m.get("metadata") or {}).get("event_type") == "peerbot_question"]


def buttons(message: dict[str, Any]) -> list[str]:
    blocks = [block for block in message["blocks"] if block["type"] == "actions"]
    return [element["action_id"] for block in blocks for element in block["elements"]]


async def asked(system: System, text: str = ASK, **how: Any) -> tuple[Conversation, str, dict[str, Any]]:
    """Write something, and wait until the agent asks."""
    conversation, identity = await system.say(text, **how)
    before = len(questions(system, conversation))
    await eventually(lambda: len(questions(system, conversation)) > before, 60)
    return conversation, identity, questions(system, conversation)[-1]


async def turn_of(system: System, conversation: Conversation, k: int) -> Turn:
    """Wait until turn `k` is answered."""
    await eventually(lambda: k in [number for _, number in system.answers(conversation)], 60)
    turn = await system.journal.turn(conversation, k)
    assert turn
    return turn


async def press(system: System, message: dict[str, Any], action: str, user: str = "", **chosen: Any) -> None:
    await system.slack.press(user or system.slack.person, system.slack.general, message["ts"], action, **chosen)


def now(system: System, conversation: Conversation) -> dict[str, Any]:
    return questions(system, conversation)[-1]


async def test_a_click_answers_and_the_turn_goes_on(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system)
    assert f"<@{system.slack.person}>" in message["text"], "it notifies the person who asked"
    assert buttons(message) == [RED, GREEN, BLUE]
    await eventually(lambda: "Needs you" in str(system.cards(conversation)[0]["blocks"]))
    await press(system, message, GREEN)
    turn = await system.answer(conversation, identity)
    assert '"Which colour?"="Green"' in turn.text
    assert turn.k == 1
    assert turn.inputs[0] == identity
    assert turn.inputs[1].endswith("-answer")
    await system.settled(conversation)
    await eventually(lambda: not buttons(now(system, conversation)))
    assert "Chosen by Ada Lovelace" in str(now(system, conversation)["blocks"])
    assert "*Green*" in str(now(system, conversation)["blocks"])


async def test_words_in_the_thread_answer_and_a_label_is_the_choice(system: System) -> None:
    await system.start()
    conversation, identity, _ = await asked(system)
    _, words = await system.say("a warm one, please", thread=conversation, mention=False)
    turn = await system.answer(conversation, identity)
    assert "a warm one, please" in turn.text
    assert turn.inputs == [identity, words], "the message is the answer, and nothing else"
    await eventually(lambda: "Answered by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    assert "> a warm one, please" in str(now(system, conversation)["blocks"])

    _, again, _ = await asked(system, "ask me once more", thread=conversation, mention=False)
    await system.say("blue", thread=conversation, mention=False)
    turn = await system.answer(conversation, again)
    assert '"Which colour?"="Blue"' in turn.text
    await eventually(lambda: "Chosen by" in str(now(system, conversation)["blocks"]))


async def test_a_form_asks_several_questions_at_once(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system, "ask me two things, I may take several")
    assert buttons(message) == ["peerbot_field_0", "peerbot_field_1", SUBMIT_ACTION]
    await press(system, message, "peerbot_field_0", peerbot_field_0=["1"])  # Slack tells each change
    await press(system, message, SUBMIT_ACTION)
    await eventually(lambda: "Choose something first" in str(system.slack.whispers(system.slack.person)))
    await press(system, message, SUBMIT_ACTION, peerbot_field_0=["0", "2"], peerbot_field_1=["1"])
    turn = await system.answer(conversation, identity)
    assert "Red" in turn.text
    assert "Blue" in turn.text
    assert "Green" not in turn.text
    assert '"Which size?"="Large"' in turn.text
    await eventually(lambda: "Which size? *Large*" in str(now(system, conversation)["blocks"]))

    _, again, _ = await asked(system, "ask me two things", thread=conversation, mention=False)
    await system.say("whatever fits together", thread=conversation, mention=False)
    turn = await system.answer(conversation, again)
    assert "whatever fits together" in turn.text


async def test_two_people_twice_on_two_replicas_have_one_effect_and_everyone_is_told(system: System) -> None:
    bob = system.add_person("U0BOB", "Bob")
    ada = system.slack.person
    await system.start(PEERBOT_QUESTIONS_FOR="everyone")
    await system.start(PEERBOT_QUESTIONS_FOR="everyone")
    conversation, identity, message = await asked(system)
    await asyncio.gather(
        press(system, message, RED), press(system, message, RED), press(system, message, BLUE, bob),
        press(system, message, GREEN, bob),
    )  # fmt: skip
    turn = await system.answer(conversation, identity)
    assert [i for i in turn.inputs[1:] if not i.endswith("-answer")] == []
    assert len(turn.inputs) == 2
    await system.settled(conversation)
    told = [*system.slack.whispers(ada), *system.slack.whispers(bob)]
    assert len(told) == 3, "all but the one that counts, each once"
    chosen = next(label for label in ("Red", "Green", "Blue") if f'"Which colour?"="{label}"' in turn.text)
    assert all("answered this" in str(each) and chosen in str(each) for each in told), told
    await eventually(lambda: f"*{chosen}*" in str(now(system, conversation)["blocks"]))
    assert len(system.answers(conversation)) == 1

    # The turn has ended: a client that lags behind still shows the buttons.
    await system.slack.press_shown(bob, system.slack.general, message, GREEN)
    before = len(told)
    await eventually(lambda: len(system.slack.whispers(bob)) + len(system.slack.whispers(ada)) > before)
    await system.settled(conversation)


async def test_only_the_asker_decides_and_others_steer(system: System) -> None:
    bob = system.add_person("U0BOB", "Bob")
    guest = system.add_person("U0GUEST", "Gus", kind="guest")
    await system.start()
    conversation, identity, message = await asked(system)
    await press(system, message, RED, bob)
    await eventually(lambda: "Only Ada Lovelace can decide this" in str(system.slack.whispers(bob)))
    await press(system, message, RED, guest)
    await eventually(lambda: system.slack.whispers(guest))
    _, aside = await system.say("I like green", thread=conversation, user=bob, mention=False)
    await press(system, message, BLUE)
    turn = await system.answer(conversation, identity)
    assert '"Which colour?"="Blue"' in turn.text
    later = turn if aside in turn.inputs else await system.answer(conversation, aside)
    assert aside in later.inputs, "it is a message like any other"


async def test_a_stop_ends_the_question_too(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system)
    await system.slack.say(system.slack.person, conversation.channel, "stop", thread_ts=conversation.thread_ts)
    turn = await system.answer(conversation, identity)
    assert turn.stopped
    await eventually(lambda: "Stopped by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    assert not buttons(now(system, conversation))
    await system.slack.press_shown(system.slack.person, system.slack.general, message, RED)
    await eventually(lambda: "stopped this work" in str(system.slack.whispers(system.slack.person)))
    await system.settled(conversation)
    turn = await system.ask("run `echo on`", thread=conversation, mention=False)
    assert "on" in turn.text


async def test_thinking_takes_no_time_of_the_turn(system: System) -> None:
    await system.start(SESSION_TIMEOUT_MINUTES="0.1")
    conversation, identity, message = await asked(system)
    await asyncio.sleep(7)  # longer than the turn may take
    await press(system, message, RED)
    turn = await system.answer(conversation, identity)
    assert turn.status == "done", full_text(turn)
    assert '"Which colour?"="Red"' in turn.text


LOST, FAILED, NO = Fault(lost=True), Fault(error="internal_error"), Fault(error="restricted_action")


@pytest.mark.parametrize("fault", [LOST, FAILED, NO], ids=["lost", "failed", "no"])
async def test_a_question_is_posted_once_or_the_agent_knows(system: System, fault: Fault) -> None:
    await system.start()
    conversation, identity = await system.say(ASK)
    await eventually(lambda: system.cards(conversation), 60)
    system.slack.faults.add("chat.postMessage", fault)
    if fault.error == "restricted_action":
        turn = await system.answer(conversation, identity)
        assert "could not show this to people" in turn.text
        assert not questions(system, conversation)
    else:
        await eventually(lambda: questions(system, conversation), 60)
        await eventually(lambda: [f for f in system.files(conversation) if f.endswith("/1/1.posted")], 60)
        await press(system, now(system, conversation), RED)
        turn = await system.answer(conversation, identity)
        assert "Red" in turn.text
        assert len(questions(system, conversation)) == 1
    await system.settled(conversation)
