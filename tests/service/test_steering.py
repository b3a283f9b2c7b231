"""People write while the agent works: it reads that before its next request to Claude, in the same turn."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from relay_world import BODY, serve
from scripted_api import Script, calls
from system import System, below, eventually

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.local.model.replies import Reply
from peerbot.local.model.requests import is_aside

LONG = "touch begun.txt; for i in $(seq 600); do [ -e .git/go ] && break; sleep 0.1; done"


@dataclass
class Model(Script):
    """Answers as the test says, and keeps the requests of the conversation. `waits` holds one back."""

    steps: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    waits: dict[int, asyncio.Event] = field(default_factory=dict)

    async def api(self, request: web.Request) -> web.StreamResponse:
        request[BODY] = await request.content.read()
        body = json.loads(request[BODY])
        if not is_aside(body) and not request.path.endswith("count_tokens"):
            self.asked.append(body)
            if gate := self.waits.get(len(self.asked)):
                async with asyncio.timeout(60):
                    await gate.wait()
        return await self.answer(request)

    def said(self, number: int) -> str:
        """All that was said, in the `number`th request, from 1 on."""
        return json.dumps(self.asked[number - 1]["messages"])


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def system(tmp_path: Path, model: Model) -> AsyncIterator[System]:
    async with AsyncExitStack() as stack:
        url = await serve(stack, model.api)
        system = await stack.enter_async_context(System(tmp_path, {"ANTHROPIC_BASE_URL": url}))
        await system.start()
        yield system


async def begun(system: System, text: str = "do something long") -> tuple[Conversation, str]:
    conversation, identity = await system.say(text)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    return conversation, identity


async def handed_over(system: System, identity: str) -> None:
    """Wait until the worker has given a message to the agent; its log says so."""
    logs = below(system.directory / "data" / "runs", "worker.log")
    await eventually(
        lambda: any("message_handed_over" in log.read_text() and identity in log.read_text() for log in logs), 30
    )


def let_go(system: System) -> None:
    for begun in (system.directory / "data").rglob("begun.txt"):
        (begun.parent / ".git" / "go").touch()  # where it is no work of the agent's


async def once(system: System, conversation: Conversation, *identities: str) -> Turn:
    """All are answered by one turn, in one message, and nothing is left over."""
    turn = await system.answer(conversation, identities[0])
    await system.settled(conversation)
    assert set(turn.inputs) == set(identities)
    assert len(system.answers(conversation)) == 1
    return turn


async def test_a_message_is_read_before_the_next_request_and_answered_in_the_same_turn(
    system: System, model: Model
) -> None:
    model.steps = [calls("Bash", command=LONG), calls("Bash", command="sleep 1"), Reply("Done, on Neptune.")]
    conversation, first = await begun(system)
    _, second = await system.say("and name the planet Neptune", thread=conversation, mention=False)
    await handed_over(system, second)
    let_go(system)
    turn = await once(system, conversation, first, second)
    assert turn.text == "Done, on Neptune."
    assert "Neptune" not in model.said(1)
    assert "and name the planet Neptune" in model.said(2)
    assert len(model.asked) == 3
    await eventually(lambda: system.reactions(conversation, second) == {"white_check_mark", "heavy_plus_sign"})


async def test_a_message_that_comes_during_the_last_request_is_answered_in_the_same_turn(
    system: System, model: Model
) -> None:
    """Claude is answering already: the agent goes on with the message, and the thread gets one answer with both."""
    model.steps = [calls("Bash", command="touch begun.txt"), Reply("The first answer."), Reply("And Neptune.")]
    model.waits[2] = asyncio.Event()
    conversation, first = await begun(system)
    await eventually(lambda: len(model.asked) == 2)
    _, second = await system.say("and Neptune?", thread=conversation, mention=False)
    await handed_over(system, second)
    model.waits[2].set()
    turn = await once(system, conversation, first, second)
    assert turn.text == "The first answer.\n\nAnd Neptune."
    assert "and Neptune?" in model.said(3)


async def test_what_somebody_may_not_say_does_not_reach_the_agent(system: System, model: Model) -> None:
    guest = system.add_person("U0GUEST", "Gus", kind="guest")
    model.steps = [calls("Bash", command=LONG), Reply("Done.")]
    conversation, first = await begun(system)
    await system.say("delete it all", thread=conversation, mention=False, user=guest)
    _, second = await system.say("be quick", thread=conversation, mention=False)
    await handed_over(system, second)
    let_go(system)
    turn = await system.answer(conversation, first)
    assert set(turn.inputs) == {first, second}
    assert "delete it all" not in json.dumps(model.asked)


async def test_a_message_that_the_agent_had_not_read_when_its_worker_died_is_answered_once(
    system: System, model: Model
) -> None:
    model.steps = [calls("Bash", command=LONG), Reply("Done, both.")]
    conversation, first = await begun(system)
    _, second = await system.say("and Neptune", thread=conversation, mention=False)
    await handed_over(system, second)
    system.kill_workers()
    turn = await once(system, conversation, first, second)
    assert turn.run == 2
    assert "and Neptune" in model.said(len(model.asked))


async def test_a_message_is_not_lost_if_claude_code_dies(system: System, model: Model) -> None:
    model.steps = [calls("Bash", command=LONG), Reply("Done, both.")]
    conversation, first = await begun(system)
    _, second = await system.say("and Neptune", thread=conversation, mention=False)
    await handed_over(system, second)
    kill_the_cli(system)
    turn = await once(system, conversation, first, second)
    assert turn.run == 1
    assert "and Neptune" in model.said(len(model.asked))


def kill_the_cli(system: System) -> None:
    import psutil

    for pid in system.worker_pids():
        for process in psutil.Process(pid).children(recursive=True):
            if "claude" in process.name():
                process.kill()


async def test_a_stop_ends_what_waits_too(system: System, model: Model) -> None:
    model.steps = [calls("Bash", command=LONG)]
    conversation, first = await begun(system)
    _, second = await system.say("and Neptune", thread=conversation, mention=False)
    stop = await system.slack.say(system.slack.person, conversation.channel, "stop", thread_ts=conversation.thread_ts)
    turn = await once(system, conversation, first, second, f"{stop}-stop")
    assert turn.stopped
    assert not turn.text, "what the agent may have begun with the second message is not told"
