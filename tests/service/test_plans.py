"""People approve a plan before the work: by a button, in words, the next day, or not at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually
from test_questions import asked, buttons, now, press

from peerbot.slack.questions import ANSWER

PLAN = "plan: a script that prints primes"
APPROVE, REJECT = f"{ANSWER}_0", f"{ANSWER}_1"
PRIMES = "2 3 5 7 11"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, {"PEERBOT_QUESTION_MINUTES": "2"}) as system:
        yield system


async def test_an_approved_plan_is_done(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system, PLAN)
    assert "Write `primes.py`" in str(message["blocks"])
    assert f"<@{system.slack.person}>" in message["text"]
    assert not system.work_file("primes.py"), "nothing is changed before"
    await press(system, message, APPROVE)
    turn = await system.answer(conversation, identity)
    assert PRIMES in turn.text
    await eventually(lambda: "Approved by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    assert not buttons(now(system, conversation))
