"""Slack's own status of the agent in a thread: set while a turn is at work, ended with it, and never in the way."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually, full_text

from peerbot.conversation.keys import Conversation
from peerbot.local.slack.faults import Fault
from peerbot.slack.agent_status import METHOD
from peerbot.slack.manifest import SCOPES

AT_WORK = "run `touch begun; while [ ! -e go ]; do sleep 0.05; done`"
ERRORS = ["channel_not_found", "invalid_arguments", "is_archived", "not_in_channel", "thread_not_found", "fatal_error"]
"""Slack's words for a status that it does not take now. After those that mean that there is no agent, nobody asks."""


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        yield system


def status(system: System, conversation: Conversation) -> str:
    return system.slack.agent_status(conversation.channel, conversation.thread_ts)


def go(system: System) -> None:
    for begun in (system.directory / "data").rglob("begun"):
        begun.with_name("go").touch()


def tries(system: System) -> list[str]:
    return [call.outcome for call in system.slack.calls if call.method == METHOD]


async def test_slack_shows_that_a_turn_is_at_work_and_that_it_has_ended(system: System) -> None:
    await system.start()
    conversation, identity = await system.say(AT_WORK)
    await eventually(lambda: status(system, conversation) == "processing", 20)
    [said] = [call.arguments for call in system.slack.calls if call.method == METHOD]
    assert said["initiator_user_id"] == system.slack.person

    await eventually(lambda: list((system.directory / "data").rglob("begun")), 20)
    go(system)
    await system.answer(conversation, identity)
    await eventually(lambda: status(system, conversation) == "active")

    await system.ask("what can you do?", thread=conversation, mention=False)
    await eventually(lambda: tries(system) == ["ok"] * 4)
    assert status(system, conversation) == "active"


async def test_a_turn_whose_dispatcher_died_does_not_stay_at_work(system: System) -> None:
    first = await system.start()
    conversation, identity = await system.say("run `sleep 1`")
    await eventually(lambda: status(system, conversation) == "processing", 20)
    await system.end(first, signal.SIGKILL)
    assert status(system, conversation) == "processing"
    await system.start()
    await system.answer(conversation, identity)
    await eventually(lambda: status(system, conversation) == "active")


async def test_an_app_that_is_no_agent_answers_and_asks_slack_once(system: System) -> None:
    """As an app does that was installed before the manifest had it: the card's Stop is there all the same."""
    system.slack.grant([scope.name for scope in SCOPES if scope.name != "assistant:write"])
    await system.start()
    for text in ("hello", "what can you do?"):
        assert full_text(await system.ask(text))
    assert tries(system) == ["not_authorized"]


async def test_slack_may_refuse_the_status_and_the_answers_come(system: System) -> None:
    for error in ERRORS:
        system.slack.faults.add(METHOD, Fault(error=error))
    await system.start()
    for _ in range(len(ERRORS) // 2):
        assert (await system.ask("hello")).status == "done"
    await eventually(lambda: tries(system) == ERRORS)
    await system.ask("hello")
    await eventually(lambda: tries(system)[len(ERRORS) :] == ["ok", "ok"])
