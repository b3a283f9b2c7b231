"""The agent asks people: buttons, forms and words; one answer counts, everyone is told, and it outlives its worker."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually, full_text

from peerbot.conversation.keys import Conversation
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
