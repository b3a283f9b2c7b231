"""People press Continue and New session below an answer: one effect, and everyone is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from after import COMMIT, controls, press, told, turn_after
from system import System, eventually, full_text

from peerbot.conversation.choices import Act
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import STOP


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


async def stopped(system: System) -> Conversation:
    """Have a turn that somebody stopped."""
    conversation, identity = await system.say("run `touch begun.txt; sleep 120`")
    await eventually(lambda: system.work_file("begun.txt"), 60)
    card = system.cards(conversation)[0]["ts"]
    await system.slack.press(system.slack.person, conversation.channel, card, STOP)
    turn = await system.answer(conversation, identity)
    assert turn.stopped
    await system.settled(conversation)
    system.forget_work()
    return conversation


async def test_continue_after_a_stop_goes_on_with_the_same_session(system: System) -> None:
    conversation = await stopped(system)
    assert "continue" in controls(system, conversation, 1)
    await press(system, conversation, 1, Act.CONTINUE)
    turn = await turn_after(system, conversation, 1)
    before = await system.journal.turn(conversation, 1)
    assert before
    assert turn.session
    assert before.session
    assert turn.session.id == before.session.id
    assert "Go on." in system.read_by_model()
    assert "Ada Lovelace" in system.read_by_model()
