"""A question outlives its worker, and the dispatcher: the answer next week goes on at the same call."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually, full_text
from test_questions import ASK, BLUE, GREEN, RED, asked, buttons, now, press, questions, turn_of

from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Fault

AT_ONCE = {"PEERBOT_QUESTION_MINUTES": "0"}  # so a worker waits for nobody


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        yield system


async def deferred(system: System, text: str = ASK) -> tuple[Conversation, str, dict[str, Any]]:
    """Ask, and wait until the worker that waited for an answer has gone."""
    conversation, identity, message = await asked(system, text)
    turn = await system.answer(conversation, identity)
    assert turn.deferred == "1.1"
    assert "I am waiting for the answer" in str(system.answers(conversation)[-1][0]["blocks"])
    await system.settled(conversation)
    await eventually(lambda: not system.worker_pids())
    assert buttons(now(system, conversation)), "the buttons stay"
    return conversation, identity, message


def results(system: System) -> dict[str, str]:
    """The results of tools that the model has read, by the call's id."""
    contents = [m["content"] for body in system.model.seen for m in body["messages"] if m["role"] == "user"]
    blocks = [b for content in contents if isinstance(content, list) for b in content]
    return {b["tool_use_id"]: str(b["content"]) for b in blocks if b.get("type") == "tool_result"}


async def test_an_answer_after_everything_died_goes_on_at_the_same_call(system: System, tmp_path: Path) -> None:
    dispatcher = await system.start(**AT_ONCE)
    conversation, _, message = await deferred(system)
    await system.end(dispatcher, signal.SIGKILL)
    assert not results(system)

    await system.start(**AT_ONCE, PEERBOT_DATA_DIR=str(tmp_path / "fresh"))
    await press(system, message, GREEN)
    turn = await turn_of(system, conversation, 2)
    assert turn.run == 2
    assert '"Which colour?"="Green"' in turn.text
    assert not turn.deferred
    assert len(results(system)) == 1, "there was one call"
    assert len(questions(system, conversation)) == 1
    await system.settled(conversation)
    await eventually(lambda: "Chosen by Ada Lovelace" in str(now(system, conversation)["blocks"]))


async def test_words_that_came_while_nobody_listened_are_the_answer(system: System) -> None:
    dispatcher = await system.start(**AT_ONCE)
    conversation, _, _ = await deferred(system)
    await system.end(dispatcher, signal.SIGKILL)
    _, words = await system.say("something in between", thread=conversation, mention=False)
    await system.start(**AT_ONCE)
    turn = await system.answer(conversation, words)
    assert "something in between" in turn.text
    assert turn.inputs == [words]


async def test_others_write_meanwhile_and_the_question_stays_open(system: System) -> None:
    bob = system.add_person("U0BOB", "Bob")
    await system.start(**AT_ONCE)
    conversation, _, message = await deferred(system)
    _, aside = await system.say("run `echo aside`", thread=conversation, user=bob, mention=False)
    turn = await system.answer(conversation, aside)
    assert turn.inputs == [aside]
    assert "aside" in turn.text
    assert "Nobody has answered yet" in next(iter(results(system).values()))
    await system.settled(conversation)
    assert buttons(now(system, conversation)), "people can still answer"
    await press(system, message, RED)
    turn = await turn_of(system, conversation, 3)
    assert "My answer to your question “Which colour?”: Red" in system.read_by_model(3)
    await system.settled(conversation)


async def test_a_stop_ends_the_waiting(system: System) -> None:
    await system.start(**AT_ONCE)
    conversation, _, _ = await deferred(system)
    await system.slack.say(system.slack.person, conversation.channel, "stop", thread_ts=conversation.thread_ts)
    await eventually(lambda: "Stopped by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    await eventually(lambda: "no longer wait" in str(system.slack.whispers(system.slack.person)))
    await system.settled(conversation)
    turn = await system.ask("run `echo on`", thread=conversation, mention=False)
    assert "on" in turn.text
    assert "stopped this before anybody answered" in next(iter(results(system).values()))


async def test_a_worker_that_has_to_go_defers(system: System) -> None:
    dispatcher = await system.start()
    conversation, identity, message = await asked(system)
    await system.end(dispatcher)
    turn = await turn_of(system, conversation, 1)
    assert turn.deferred == "1.1"
    await system.start()
    await press(system, message, BLUE)
    turn = await turn_of(system, conversation, 2)
    assert '"Which colour?"="Blue"' in turn.text, full_text(turn)
    await system.settled(conversation)
    assert identity


async def test_killed_while_asking_it_asks_the_same_question(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system)
    system.kill_workers()
    await eventually(lambda: len(system.logged("model_request")) == 2, 60)
    await press(system, message, GREEN)
    turn = await system.answer(conversation, identity)
    assert turn.run == 2
    assert "Green" in turn.text, full_text(turn)
    assert len(questions(system, conversation)) == 1, "people see no second one"
    await system.settled(conversation)
    await eventually(lambda: "Chosen by Ada Lovelace" in str(now(system, conversation)["blocks"]))


async def test_answered_between_two_workers(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system)
    system.kill_workers()
    await press(system, message, RED)
    turn = await system.answer(conversation, identity)
    assert turn.run == 2
    assert "Red" in turn.text, full_text(turn)
    assert len(turn.inputs) == 2
    assert len(questions(system, conversation)) == 1
    await system.settled(conversation)


async def test_the_message_is_edited_after_a_crash_between_journal_and_slack(system: System) -> None:
    dispatcher = await system.start()
    conversation, identity, message = await asked(system)
    system.slack.faults.add("chat.update", Fault(error="internal_error"), times=10_000)
    await press(system, message, BLUE)
    await eventually(lambda: [file for file in system.files(conversation) if file.endswith("/1/1.settled")])
    await system.end(dispatcher, signal.SIGKILL)
    assert buttons(now(system, conversation))
    system.slack.faults.clear()
    await system.start()
    await eventually(lambda: not buttons(now(system, conversation)), 60)
    turn = await system.answer(conversation, identity)
    assert "Blue" in turn.text
    await system.settled(conversation)


async def test_the_sign_says_who_waits(system: System) -> None:
    await system.start(**AT_ONCE)
    conversation, identity, message = await asked(system)
    await eventually(lambda: system.reactions(conversation, identity) == {"question"})
    await eventually(lambda: "Needs you" in str(system.cards(conversation)[0]["blocks"]))
    await press(system, message, BLUE)
    await turn_of(system, conversation, 2)
    await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"})
