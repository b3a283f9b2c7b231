"""People approve a plan before the work: by a button, in words, the next day, or not at all."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually
from test_questions import asked, buttons, now, press, questions, turn_of

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


async def test_a_rejected_plan_is_not_done(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system, PLAN)
    await press(system, message, REJECT)
    turn = await system.answer(conversation, identity)
    assert "Ada Lovelace rejected the plan" in turn.text
    assert not turn.files
    await eventually(lambda: "Rejected by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    turn = await system.ask("run `touch later.txt`", thread=conversation, mention=False)
    assert [file.path for file in turn.files] == ["later.txt"], "the next turn may work again"


async def test_the_agent_judges_words(system: System) -> None:
    await system.start()
    conversation, identity, _ = await asked(system, PLAN)
    await system.say("looks good to me", thread=conversation, mention=False)
    turn = await system.answer(conversation, identity)
    assert PRIMES in turn.text
    assert len(questions(system, conversation)) == 1, "it did not ask again"

    _, again, _ = await asked(system, PLAN.replace("primes", "fibonacci"), thread=conversation, mention=False)
    await system.say("rather in another language", thread=conversation, mention=False)
    turn = await system.answer(conversation, again)
    assert "rather in another language" in turn.text
    assert not turn.files


@pytest.mark.parametrize("how", ["button", "words", "reject"])
async def test_a_plan_is_decided_the_next_day(system: System, tmp_path: Path, how: str) -> None:
    at_once = {"PEERBOT_QUESTION_MINUTES": "0", "WORKER_IDLE_SECONDS": "0"}
    dispatcher = await system.start(**at_once)
    conversation, identity, message = await asked(system, PLAN)
    turn = await system.answer(conversation, identity)
    assert turn.deferred
    assert not turn.files
    await eventually(lambda: not system.worker_pids())
    await system.end(dispatcher, signal.SIGKILL)

    await system.start(**at_once, PEERBOT_DATA_DIR=str(tmp_path / "fresh"))
    if how == "words":
        await system.say("yes, go ahead", thread=conversation, mention=False)
    else:
        await press(system, message, APPROVE if how == "button" else REJECT)
    turn = await turn_of(system, conversation, 2)
    if how == "reject":
        assert "rejected the plan" in turn.text
        assert not turn.files
    else:
        assert PRIMES in turn.text, turn.text
        assert [file.path for file in turn.files] == ["primes.py"]
    assert len(questions(system, conversation)) == 1
    await system.settled(conversation)
    turn = await system.ask("run `touch later.txt`", thread=conversation, mention=False)
    assert [file.path for file in turn.files] == ["later.txt"], "the next turn may work again"


async def test_nothing_is_changed_before_the_plan_is_approved(system: System) -> None:
    await system.start()
    turn = await system.ask("plan: nothing but run `touch early.txt`")
    assert not turn.files
    assert "approve a plan before you change anything" in turn.text


UNASKED = "do something large: a script that prints primes"


async def test_the_agent_plans_by_itself(system: System) -> None:
    await system.start()
    conversation, identity, message = await asked(system, UNASKED)
    assert "Write `primes.py`" in str(message["blocks"])
    assert f"<@{system.slack.person}>" in message["text"]
    assert buttons(message) == [APPROVE, REJECT]
    assert '"EnterPlanMode"' in json.dumps(system.model.seen[-1]["messages"])
    assert not system.work_file("primes.py"), "nothing is changed before"
    await press(system, message, APPROVE)
    turn = await system.answer(conversation, identity)
    assert PRIMES in turn.text, turn.text
    assert [file.path for file in turn.files] == ["primes.py"]
    assert len(questions(system, conversation)) == 1
    await eventually(lambda: "Approved by Ada Lovelace" in str(now(system, conversation)["blocks"]))
    turn = await system.ask("run `touch later.txt`", thread=conversation, mention=False)
    assert [file.path for file in turn.files] == ["later.txt"], "the next turn may work again"


async def test_what_the_agent_planned_by_itself_is_approved_the_next_day(system: System, tmp_path: Path) -> None:
    at_once = {"PEERBOT_QUESTION_MINUTES": "0", "WORKER_IDLE_SECONDS": "0"}
    dispatcher = await system.start(**at_once)
    conversation, identity, message = await asked(system, UNASKED)
    turn = await system.answer(conversation, identity)
    assert turn.deferred
    await eventually(lambda: not system.worker_pids())
    await system.end(dispatcher, signal.SIGKILL)

    await system.start(**at_once, PEERBOT_DATA_DIR=str(tmp_path / "fresh"))
    await press(system, message, APPROVE)
    turn = await turn_of(system, conversation, 2)
    assert PRIMES in turn.text, turn.text
    assert [file.path for file in turn.files] == ["primes.py"]
    assert len(questions(system, conversation)) == 1
