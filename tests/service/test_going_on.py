"""A turn whose worker ended in its middle: what is left of it, and how another run goes on with it."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from saved_state import bundles, opened
from system import System, below, eventually, full_text

from peerbot.conversation.ends import RunEnd
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
    pathlib.Path('tries.txt').write_text('one')
    whole = pathlib.Path('.git/half')
    whole.write_text('the first half')
    whole.rename(file)  # whole, and the last: a checkpoint may come between any two writes
    time.sleep(60)
END
```"""

STOPS_ITS_SUPERVISOR = """run ```
python3 - <<'END'
import os, pathlib, signal, time
file = pathlib.Path('half.txt')
if file.exists():
    print('went on with', file.read_text())
else:
    file.write_text('the first half')
    while not pathlib.Path('now').exists():
        time.sleep(0.1)
    pid, line = os.getppid(), b''
    while b'peerbot.worker' not in line:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
        pid = int(stat.rpartition(')')[2].split()[1])
        line = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(600)
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


def checkpoints(system: System, conversation: Conversation) -> list[str]:
    """The runs that have a checkpoint in the journal."""
    return [file.parent.name for file in bundles(system.directory / "journal", str(conversation))]


async def saved(system: System, conversation: Conversation, file: str = "half.txt", run: int = 1) -> None:
    """Wait until a run's checkpoint holds a file."""
    place = system.github.repository_path(await repository(system, conversation))

    def is_there() -> bool:
        for bundle in bundles(system.directory / "journal", str(conversation)):
            with suppress(FileNotFoundError, subprocess.CalledProcessError), opened(bundle, place) as state:
                if bundle.parent.name == str(run) and file in state.files:
                    return True
        return False

    await eventually(is_there, 20)


async def test_a_turn_whose_worker_was_killed_goes_on_with_its_work_and_its_session(system: System) -> None:
    conversation, identity = await system.say(WORK)
    await eventually(lambda: system.logged("run_started"), 20)
    await saved(system, conversation)
    system.kill_workers()
    turn = await system.answer(conversation, identity)

    assert (turn.status, turn.run) == ("done", 2)
    assert "went on with the first half" in full_text(turn)
    assert sorted(file.path for file in turn.files) == ["half.txt", "tries.txt"]
    assert len(system.answers(conversation)) == 1
    read = system.read_by_model()
    assert "The worker that worked on this turn ended in the middle of it" in read
    assert "The uncommitted changes in the workspace are your own" in read
    place = turn.repository or ""
    assert git(system, place, "show", f"{conversation.branch}:half.txt") == "the first half"
    await eventually(lambda: not checkpoints(system, conversation))


async def killed(system: System) -> tuple[Conversation, str]:
    """Make a turn whose worker was killed after a checkpoint had its work; no other run has begun yet."""
    conversation, identity = await system.say(WORK)
    await eventually(lambda: system.logged("run_started"))
    await saved(system, conversation)
    system.kill_workers()
    return conversation, identity


def fetches(system: System) -> int:
    """Count git's requests for commits."""
    return sum(call.path.endswith("/git-upload-pack") for call in system.github.calls)


async def test_saved_work_is_taken_over_though_github_fails_for_a_moment(system: System) -> None:
    """GitHub drops the request that fetches the files below the saved work."""
    conversation, identity = await killed(system)
    system.github.faults.add("git-upload-pack$", count=fetches(system) - 1)  # served as they are
    system.github.faults.add("git-upload-pack$", dropped=True)
    turn = await system.answer(conversation, identity)

    assert (turn.status, turn.run) == ("done", 2)
    assert "went on with the first half" in full_text(turn)
    assert not system.github.faults.planned


async def test_saved_work_outlives_a_turn_that_could_not_take_it_over(tmp_path: Path) -> None:
    """GitHub is away for as long as the next run waits: the thread is told, and the next message has the work."""
    async with System(tmp_path, {**FAST, "SESSION_TIMEOUT_MINUTES": "0.5"}) as system:
        await system.start()
        conversation, identity = await killed(system)
        system.github.faults.add("git-upload-pack$", status=503, count=1000)
        turn = await system.answer(conversation, identity)
        assert (turn.status, turn.run, turn.began) == ("failed", 2, False)
        assert "could not be checked out" in full_text(turn)
        assert checkpoints(system, conversation) == ["1"]

        system.github.faults.planned.clear()
        again = await system.ask("go on", thread=conversation, mention=False)
        assert again.status == "done"
        assert git(system, again.repository or "", "show", f"{conversation.branch}:half.txt") == "the first half"
        assert git(system, again.repository or "", "show", f"{conversation.branch}:tries.txt") == "one"
        await eventually(lambda: not checkpoints(system, conversation))


async def test_a_dispatcher_that_ends_leaves_the_turn_to_the_next_with_what_was_done(tmp_path: Path) -> None:
    async with System(tmp_path, {**FAST, "PEERBOT_CHECKPOINT_SECONDS": "30"}) as system:
        dispatcher = await system.start()
        conversation, identity = await system.say(WORK)
        await eventually(lambda: below(tmp_path / "data", "half.txt"), 20)
        await system.end(dispatcher)
        assert checkpoints(system, conversation) == ["1"]
        await system.start()
        turn = await system.answer(conversation, identity)

        assert (turn.status, turn.run) == ("done", 2)
        assert "went on with the first half" in full_text(turn)
        assert len(system.answers(conversation)) == 1
        ends = [run.closed.reason for run in await system.journal.runs(conversation) if run.closed]
        assert ends[0] == "drained"


async def test_a_message_whose_run_starts_as_a_dispatcher_ends_is_answered_by_the_next(system: System) -> None:
    """A dispatcher that closes starts no run any more, and does not take that for a run that can't be started."""
    system.github.faults.add("", delay_seconds=2)
    conversation, identity = await system.say("run `echo my turn`")
    await eventually(lambda: "Reserve" in [line["step"] for line in system.logged("step")], 20)
    await system.end(system.dispatchers[0])
    await system.start()
    turn = await system.answer(conversation, identity)

    assert (turn.status, turn.run) == ("done", 1)
    assert "my turn" in full_text(turn)


async def test_a_worker_that_is_asked_to_end_saves_its_work_and_another_goes_on(tmp_path: Path) -> None:
    """SIGTERM to the worker alone, while its dispatcher stays: it may come from the agent, so it counts as a try."""
    async with System(tmp_path, {**FAST, "PEERBOT_CHECKPOINT_SECONDS": "30"}) as system:
        await system.start()
        conversation, identity = await system.say(WORK)
        await eventually(lambda: below(tmp_path / "data", "half.txt"), 20)
        [supervisor] = system.supervisors()
        os.kill(supervisor, signal.SIGTERM)
        turn = await system.answer(conversation, identity)

        assert (turn.status, turn.run) == ("done", 2)
        first = (await system.journal.runs(conversation))[0]
        assert first.closed
        assert (first.closed.reason, first.closed.by_signal) == (RunEnd.CRASHED, True)
        assert "went on with the first half" in full_text(turn)
        assert len(system.answers(conversation)) == 1
        assert git(system, turn.repository or "", "show", f"{conversation.branch}:half.txt") == "the first half"


@pytest.mark.timeout(240)
async def test_a_supervisor_that_its_agent_has_stopped_is_ended_and_another_run_answers(tmp_path: Path) -> None:
    """It holds the only place, and the next in line gets that."""
    async with System(tmp_path, FAST | {"WORKER_MAX_CONCURRENT": "1"}) as system:
        await system.start()
        conversation, identity = await system.say(STOPS_ITS_SUPERVISOR)
        await eventually(lambda: system.logged("run_started"), 20)
        await saved(system, conversation)
        [half] = below(tmp_path / "data", "half.txt")
        half.with_name("now").touch()
        waits = await system.say("run `echo my turn`")
        turn = await system.answer(conversation, identity, 180)

        assert (turn.status, turn.run) == ("done", 2)
        assert "went on with the first half" in full_text(turn)
        assert len(system.answers(conversation)) == 1
        ends = [run.closed.reason for run in await system.journal.runs(conversation) if run.closed]
        assert ends[0] == "hung"
        assert "gave no sign of life for 60 s" in system.logged("run_died")[0]["detail"]
        assert "my turn" in full_text(await system.answer(*waits))


async def test_a_turn_that_was_given_up_says_what_is_saved_and_the_next_message_goes_on_from_it(
    system: System,
) -> None:
    conversation, first = await system.say("run `echo before > before.txt`")
    begun = await system.answer(conversation, first)
    await eventually(lambda: system.logged("run_closed"), 20)
    _, identity = await system.say(WORK, thread=conversation, mention=False)
    for run in (2, 3, 4):
        await eventually(lambda n=run: len(system.logged("run_started")) == n and system.worker_pids(), 20)
        if run == 2:
            await saved(system, conversation, run=run)
        system.kill_workers()
        await eventually(lambda n=run: len(system.logged("run_died")) == n - 1, 20)
    given_up = await system.answer(conversation, identity)

    assert (given_up.status, given_up.run) == ("failed", None)
    assert "I saved its changes, and your next message here goes on from them." in full_text(given_up)
    assert f"Earlier pushes are on the branch `{conversation.branch}`." in full_text(given_up)

    after = await system.ask("run `cat before.txt half.txt`", thread=conversation, mention=False)
    assert "before\nthe first half" in full_text(after)
    assert {"half.txt", "tries.txt"} <= {file.path for file in after.files}
    assert git(system, begun.repository or "", "show", f"{conversation.branch}:half.txt") == "the first half"
    assert (
        "The worker that worked on your last turn, which nobody answered, ended in the middle" in system.read_by_model()
    )
    await eventually(lambda: not checkpoints(system, conversation))
