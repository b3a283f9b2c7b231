"""What is left of a turn whose worker ended in its middle, and how another run goes on with it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually

from peerbot.conversation.keys import Conversation

pytestmark = pytest.mark.slow  # real faults take real time: `make slow`

FAST = {"PEERBOT_CHECKPOINT_SECONDS": "0.3", "WORKER_IDLE_SECONDS": "1"}
WORK = """run ```
python3 - <<'END'
import pathlib, time
file = pathlib.Path('half.txt')
if file.exists():
    print('went on with', file.read_text())
else:
    file.write_text('the first half')
    pathlib.Path('tries.txt').write_text('one')
    time.sleep(60)
END
```"""


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, FAST) as system:
        await system.start()
        yield system


def git(system: System, repository: str, *arguments: str) -> str:
    command = ["git", "-C", str(system.github.repository_path(repository)), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def repository(system: System, conversation: Conversation) -> str:
    begun = await system.journal.conversation(conversation)
    assert begun
    return begun.repository


async def refs(system: System, conversation: Conversation) -> list[str]:
    """The conversation's checkpoints on GitHub."""
    found = git(system, await repository(system, conversation), "for-each-ref", "--format=%(refname)", "refs/peerbot")
    return found.split()


async def saved(system: System, conversation: Conversation, file: str = "half.txt", run: int = 1) -> None:
    """Wait until a run's checkpoint holds a file."""
    place = await repository(system, conversation)
    async with asyncio.timeout(20):
        while True:
            try:
                git(system, place, "show", f"{conversation.checkpoint_ref(run)}:{file}")
            except subprocess.CalledProcessError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_turn_whose_worker_was_killed_goes_on_with_its_work_and_its_session(system: System) -> None:
    conversation, identity = await system.say(WORK)
    await eventually(lambda: system.logged("run_started"), 20)
    await saved(system, conversation)
    for pid in system.worker_pids():
        os.kill(pid, signal.SIGKILL)
    turn = await system.answer(conversation, identity)

    assert (turn.status, turn.run) == ("done", 2)
    assert "went on with the first half" in turn.text
    assert sorted(file.path for file in turn.files) == ["half.txt", "tries.txt"]
    assert len(system.answers(conversation)) == 1
    read = system.read_by_model()
    assert "the worker that worked on this turn ended in the middle of it" in read
    assert "The uncommitted changes in the workspace are your own" in read
    place = turn.repository or ""
    assert git(system, place, "show", f"{conversation.branch}:half.txt") == "the first half"
    await eventually(lambda: not git(system, place, "for-each-ref", "refs/peerbot"))


async def test_a_dispatcher_that_ends_leaves_the_turn_to_the_next_with_what_was_done(tmp_path: Path) -> None:
    async with System(tmp_path, {**FAST, "PEERBOT_CHECKPOINT_SECONDS": "30"}) as system:
        dispatcher = await system.start()
        conversation, identity = await system.say(WORK)
        await eventually(lambda: list((tmp_path / "data").rglob("tries.txt")), 20)
        await system.end(dispatcher)
        assert await refs(system, conversation) == [conversation.checkpoint_ref(1)]
        await system.start()
        turn = await system.answer(conversation, identity)

        assert (turn.status, turn.run) == ("done", 2)
        assert "went on with the first half" in turn.text
        assert len(system.answers(conversation)) == 1
        ends = [run.closed.reason for run in await system.journal.runs(conversation) if run.closed]
        assert ends[0] == "drained"
