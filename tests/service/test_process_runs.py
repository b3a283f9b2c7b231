"""Runs as processes, with and without the sandbox: real processes, real signals, several dispatchers."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from run_processes import (
    CONVERSATION,
    IGNORES_TERM,
    Stage,
    end_dispatcher,
    ended,
    eventually,
    need_sandbox,
    spec,
    start_dispatcher,
)

from peerbot.conversation.ends import RunEnd
from peerbot.errors import Unavailable
from peerbot.runs.port import NOT_ASKED, Phase, RunEvent
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.runs.processes.sandbox import Sandbox

WAITS = "import time; print('up', flush=True); time.sleep(600)"
ENDS_ON_TERM = """
import signal, sys, time
def end(*_):
    print("asked to end", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
DRAINED_ON_TERM = ENDS_ON_TERM.replace("exit(0)", "exit(143)")
BEATS = """
import os, sys, time
while True:
    print("beat", flush=True)
    os.write(int(os.environ["PEERBOT_HEARTBEAT_FD"]), b".")
    time.sleep(0.05)
"""
# A grandchild in a session of its own, whose parent is gone: the worst that an agent's shell can leave behind.
LEAVES_ORPHAN = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, "-c", "import time; print('orphan', flush=True); time.sleep(600)", sys.argv[1]])
    os._exit(0)
os.wait()
"""


@pytest.fixture(params=["sandboxed", "unsandboxed"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox | None:
    return need_sandbox() if request.param == "sandboxed" else None


@pytest.fixture
async def stage(tmp_path: Path, sandbox: Sandbox | None) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "runs", sandbox)
    yield stage
    await stage.close()


async def test_a_run_gets_exactly_the_environment_it_is_given(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-planted")
    runs = stage.runs("import json, os; print(json.dumps(dict(os.environ)))")
    await runs.start(spec(environment={"PEERBOT_GATEWAY_URL": "http://127.0.0.1:1", "ODD": "a b\n'\"$x"}))
    assert (await ended(runs)).end is RunEnd.FINISHED
    home, tmp, secret = ("/home/agent", "/tmp", "/run/peerbot/bootstrap")
    if not stage.sandbox:
        home, tmp, secret = (str(stage.folder() / name) for name in ("home", "tmp", "bootstrap"))
    environment = json.loads(stage.printed())
    environment.pop("PWD", None)  # bubblewrap says where it has put the command
    assert int(environment.pop("PEERBOT_HEARTBEAT_FD")) > 2
    assert environment == {
        "PEERBOT_GATEWAY_URL": "http://127.0.0.1:1",
        "ODD": "a b\n'\"$x",
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{sys.base_prefix}/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": tmp,
        "PEERBOT_BOOTSTRAP_FILE": secret,
    }


async def test_a_run_works_in_an_empty_workspace_of_its_own(stage: Stage) -> None:
    runs = stage.runs("import os; print(os.getcwd(), os.listdir()); open('x', 'w').write(os.environ['HOME'])")
    await runs.start(spec())
    await ended(runs)
    workspace = "/workspace" if stage.sandbox else stage.folder() / "workspace"
    assert stage.printed() == f"{workspace} []\n"


async def test_the_bootstrap_secret_is_a_file_that_the_worker_reads_and_removes(stage: Stage) -> None:
    runs = stage.runs(
        """
import os, stat, time
path = os.environ["PEERBOT_BOOTSTRAP_FILE"]
print(oct(stat.S_IMODE(os.stat(path).st_mode)), len(open(path).read()), flush=True)
os.unlink(path)
print(os.path.exists(path), flush=True)
time.sleep(600)
"""
    )
    await runs.start(spec(secret="s3cret-s3cret", environment={"TOKEN_LIKE": "v4lue-v4lue"}))
    await eventually(lambda: stage.printed().endswith("False\n"))
    assert stage.printed() == f"{'0o400' if stage.sandbox else '0o600'} 13\nFalse\n"
    told = "".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    assert stage.marker in told
    assert "s3cret-s3cret" not in told
    assert "v4lue-v4lue" not in told
    kept = b"".join(path.read_bytes() for path in stage.folder().rglob("*") if path.is_file())
    assert b"s3cret-s3cret" not in kept
    assert str(stage.folder() / "lock") in stage.open_files()
    assert not [name for name in stage.open_files() if "memfd" in name]


@pytest.mark.parametrize(
    ("source", "end", "detail"),
    [
        ("print('all well')", RunEnd.FINISHED, "exit code 0"),
        ("import sys; print('the cause'); sys.exit(3)", RunEnd.CRASHED, "exit code 3 after"),
        ("raise KeyError('the cause')", RunEnd.CRASHED, "KeyError: 'the cause'"),
        ("import os; os.kill(os.getpid(), 9)", RunEnd.CRASHED, "exit code 137 (SIGKILL)"),
        ("import os; os.abort()", RunEnd.CRASHED, "exit code 134 (SIGABRT)"),
    ],
)
async def test_how_a_worker_ends_says_why_its_run_ended(stage: Stage, source: str, end: RunEnd, detail: str) -> None:
    runs = stage.runs(source)
    await runs.start(spec())
    state = await ended(runs)
    assert state.end is end
    assert state.by_signal is ("SIG" in detail)
    assert detail in state.detail


async def test_closing_lets_the_worker_end_in_its_own_way(stage: Stage) -> None:
    """Only the worker is asked: it ends the processes that it started."""
    child = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('child asked', flush=True))\n"
    child += "print('child up', flush=True)\nwhile True: time.sleep(600)"
    runs = stage.runs(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n{ENDS_ON_TERM}")
    await runs.start(spec())
    await eventually(lambda: stage.printed().count("up\n") == 2)
    await runs.close()
    assert "\nasked to end" in stage.printed()
    assert "child asked" not in stage.printed()
    state = await runs.look(CONVERSATION, 1)
    assert state is not None
    assert (state.phase, state.end) == (Phase.ENDED, RunEnd.DRAINED)
    assert stage.processes() == []


async def test_a_drain_that_nobody_asked_for_is_a_crash_by_a_signal(stage: Stage) -> None:
    """The agent can send its supervisor SIGTERM. Another dispatcher reads the same from the folder."""
    runs = stage.runs(DRAINED_ON_TERM)
    await runs.start(spec())
    await eventually(lambda: "up" in stage.printed())
    _worker(stage).terminate()
    assert (await ended(runs)).end is RunEnd.CRASHED
    state = await stage.runs(WAITS).look(CONVERSATION, 1)
    assert state is not None
    assert (state.end, state.said, state.by_signal) == (RunEnd.CRASHED, NOT_ASKED, True)


async def test_a_drain_while_the_dispatcher_itself_is_asked_to_end_was_asked_for(stage: Stage) -> None:
    """As systemd stops a service: all of its processes at once."""
    runs = stage.runs(DRAINED_ON_TERM)
    await runs.start(spec())
    await eventually(lambda: "up" in stage.printed())
    runs.ending()
    _worker(stage).terminate()
    state = await ended(runs)
    assert (state.end, state.said, state.by_signal) == (RunEnd.DRAINED, "", False)


def _worker(stage: Stage) -> psutil.Process:
    """The worker itself, below all that it runs in."""
    return max(stage.workers(), key=lambda process: len(process.parents()))


async def test_a_worker_that_ignores_that_is_killed_after_its_grace_time(stage: Stage) -> None:
    runs = stage.runs(IGNORES_TERM, grace_seconds=0.3)
    await runs.start(spec())
    await eventually(lambda: "up" in stage.printed())
    begun = time.monotonic()
    await runs.close()
    assert 0.3 <= time.monotonic() - begun < 3
    assert "no" in stage.printed()
    state = await runs.look(CONVERSATION, 1)
    assert state is not None
    assert state.end is RunEnd.DRAINED
    assert "SIGKILL" in state.detail
    assert stage.processes() == []


async def test_a_run_can_be_ended_before_its_worker_is_up(stage: Stage) -> None:
    runs = stage.runs(WAITS)
    await runs.start(spec())
    await runs.close()
    state = await runs.look(CONVERSATION, 1)
    assert state is not None
    assert state.end is RunEnd.DRAINED
    assert stage.processes() == []


async def test_nothing_that_a_worker_started_outlives_it(stage: Stage) -> None:
    runs = stage.runs(f"{LEAVES_ORPHAN}\nwhile len(open('/proc/self/fd/1').read()) < 7: time.sleep(0.01)")
    await runs.start(spec())
    assert (await ended(runs)).end is RunEnd.FINISHED
    assert stage.printed() == "orphan\n"
    assert stage.processes() == []


async def test_nothing_that_a_worker_started_outlives_a_kill(stage: Stage) -> None:
    runs = stage.runs(f"{LEAVES_ORPHAN}\n{IGNORES_TERM}", grace_seconds=0.2)
    await runs.start(spec())
    await eventually(lambda: "orphan" in stage.printed() and "up" in stage.printed())
    await runs.close()
    assert stage.processes() == []


async def test_a_run_ends_with_the_dispatcher_that_started_it(stage: Stage) -> None:
    """Even if that is killed at once; another dispatcher saw the run live and is told that it ended."""
    dispatcher = start_dispatcher(stage, f"{LEAVES_ORPHAN}\n{IGNORES_TERM}")
    try:
        await eventually(lambda: "orphan" in stage.printed() and "up" in stage.printed(), seconds=10)
        runs = stage.runs(WAITS)
        state = await runs.look(CONVERSATION, 1)
        assert state is not None
        assert state.phase is Phase.RUNNING
        changes = runs.watch()
    finally:
        end_dispatcher(dispatcher)
    await eventually(lambda: not stage.processes(), seconds=2)
    async with asyncio.timeout(2):
        assert await anext(changes) == RunEvent(CONVERSATION, 1, woken=False)
    state = await runs.look(CONVERSATION, 1)
    assert state is not None
    assert (state.phase, state.end) == (Phase.ENDED, RunEnd.DISPATCHER_ENDED)
    assert str(dispatcher.pid) in state.detail


async def test_a_worker_that_was_stopped_is_ended_and_its_run_has_hung(stage: Stage) -> None:
    """The other one, which beats, is left alone."""
    runs = stage.runs(BEATS, silent_seconds=1)
    await runs.start(spec())
    await eventually(lambda: "beat" in stage.printed())
    [worker] = stage.workers()
    await runs.start(spec(2))
    await eventually(lambda: "beat" in stage.printed(2))
    worker.suspend()
    state = await ended(runs, 1)

    assert state.end is RunEnd.HUNG
    assert state.end.died_of_itself
    assert "the worker gave no sign of life for 1 s" in state.detail
    other = await runs.look(CONVERSATION, 2)
    assert other
    assert other.phase is Phase.RUNNING
    assert len(stage.workers()) == 1


async def test_a_run_that_was_stopped_as_a_whole_goes_on_when_it_may(stage: Stage) -> None:
    """As on a laptop that slept: nobody could beat, and nobody listened."""
    runs = stage.runs(BEATS, silent_seconds=0.5)
    await runs.start(spec())
    await eventually(lambda: "beat" in stage.printed())
    family = [stage.guard(), *stage.guard().children(recursive=True)]
    for process in family:
        process.suspend()
    before = stage.printed().count("beat")
    await asyncio.sleep(1)
    for process in family:
        process.resume()
    await eventually(lambda: stage.printed().count("beat") > before + 10)


async def test_a_run_whose_outermost_process_is_killed_has_crashed_and_leaves_nothing(stage: Stage) -> None:
    runs = stage.runs(IGNORES_TERM)
    await runs.start(spec())
    await eventually(lambda: "up" in stage.printed())
    stage.guard().kill()
    assert (await ended(runs)).end is RunEnd.CRASHED
    await eventually(lambda: not stage.processes(), seconds=2)


async def test_a_dispatcher_holds_nothing_of_the_runs_that_have_ended(stage: Stage) -> None:
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    runs = stage.runs("print('done')")
    for run in range(1, 6):
        await runs.start(spec(run))
        await ended(runs, run)
    await runs.close()
    await eventually(lambda: held() <= before)


async def test_starting_a_run_twice_starts_one_process(stage: Stage) -> None:
    first, second = stage.runs(WAITS), stage.runs(WAITS)
    await asyncio.gather(*(runs.start(spec()) for runs in (first, second, first, second)))
    await eventually(lambda: "up" in stage.printed())
    commands = [process.info["cmdline"] for process in stage.processes()]
    assert commands.count(stage.command(WAITS)) == 1
    assert [state.phase for state in await second.list()] == [Phase.RUNNING]


async def test_a_run_that_has_ended_is_not_started_again(stage: Stage) -> None:
    runs = stage.runs("print('once')")
    await runs.start(spec())
    await ended(runs)
    await runs.start(spec())
    await stage.runs(WAITS).start(spec())
    assert [(state.run, state.end) for state in await runs.list()] == [(1, RunEnd.FINISHED)]
    assert stage.printed() == "once\n"


async def test_every_dispatcher_of_the_machine_sees_and_hears_a_run(stage: Stage) -> None:
    starter, other = stage.runs(ENDS_ON_TERM), stage.runs(WAITS)
    changes = other.watch()
    started, woken = RunEvent(CONVERSATION, 1, woken=False), RunEvent(CONVERSATION, 1, woken=True)
    async with asyncio.timeout(5):
        await starter.start(spec())
        assert await anext(changes) == started
        await starter.wake(CONVERSATION, 1)
        assert await anext(changes) == woken
        await starter.close()
        assert await anext(changes) == RunEvent(CONVERSATION, 1, woken=False)
    assert await other.look(CONVERSATION, 1) == await starter.look(CONVERSATION, 1)
    note = json.loads((stage.folder() / "run.json").read_text())
    assert (note["conversation"], note["run"], note["dispatcher"]) == (str(CONVERSATION), 1, os.getpid())


async def test_a_wake_reaches_the_dispatcher_whose_run_it_is_from_another(stage: Stage) -> None:
    starter, other = stage.runs(WAITS), stage.runs(WAITS)
    await starter.start(spec())
    changes = starter.watch()
    for _ in range(3):
        begun = time.monotonic()
        await other.wake(CONVERSATION, 1)
        async with asyncio.timeout(2):
            assert await anext(changes) == RunEvent(CONVERSATION, 1, woken=True)
        assert time.monotonic() - begun < 1


async def test_a_wake_through_its_own_dispatcher_is_heard_at_once_by_every_watcher(stage: Stage) -> None:
    runs = stage.runs(WAITS)
    await runs.start(spec())
    watchers = [runs.watch(), runs.watch()]
    begun = time.monotonic()
    await runs.wake(CONVERSATION, 1)
    for watcher in watchers:
        assert await anext(watcher) == RunEvent(CONVERSATION, 1, woken=True)
    assert time.monotonic() - begun < 0.1


async def test_what_a_worker_prints_is_kept_within_bounds_to_its_last_line(stage: Stage) -> None:
    """It never waits for anybody to read what it prints."""
    runs = stage.runs("for n in range(200_000): print(f'{n:060}')\nprint('the last line')")
    await runs.start(spec())
    assert (await ended(runs)).end is RunEnd.FINISHED
    assert 1_000_000 < (stage.folder() / "worker.log").stat().st_size <= 2 * 1024 * 1024
    assert stage.printed().endswith(f"{199_999:060}\nthe last line\n")


async def test_an_ended_run_leaves_its_notes_and_its_log_alone(stage: Stage) -> None:
    runs = stage.runs("import os; os.makedirs('a/b'); open('a/b/c', 'w').close(); os.chmod('a', 0); print('done')")
    await runs.start(spec())
    await ended(runs)
    await runs.close()
    assert {path.name for path in stage.folder().iterdir()} == {
        "run.json", "end.json", "worker.log", "lock", "dispatcher", "wake",
    }  # fmt: skip


NESTED = """
import os
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
print("made", flush=True)
"""


async def test_directories_inside_each_other_keep_no_run_from_being_cleared(stage: Stage) -> None:
    """Neither when that run ends nor when a dispatcher starts and finds what another one left."""
    runs = stage.runs(NESTED)
    for run in (1, 2):
        await runs.start(spec(run))
        assert (await ended(runs, run)).end is RunEnd.FINISHED
        assert stage.printed(run) == "made\n"
    await runs.close()
    assert not (stage.folder(1) / "workspace").exists()
    assert not (stage.folder(2) / "workspace").exists()
    for run in (1, 2):  # as a dispatcher leaves them that dies before it has cleared up
        (stage.folder(run) / "workspace").mkdir()
        making = await asyncio.create_subprocess_exec(
            sys.executable, "-c", NESTED, cwd=stage.folder(run) / "workspace", stdout=asyncio.subprocess.DEVNULL
        )
        assert await making.wait() == 0
    damaged = stage.folder(3)
    damaged.mkdir()
    (damaged / "run.json").write_text('{"conversation": "?", "run": 3, "dispatcher": 1}')
    after = stage.runs(WAITS)
    await after.start(spec(4))
    await eventually(lambda: not any((stage.folder(run) / "workspace").exists() for run in (1, 2)))


async def test_old_runs_are_removed_when_a_dispatcher_starts(stage: Stage) -> None:
    before = stage.runs("print('done')")
    for run in (1, 2):
        await before.start(spec(run))
        await ended(before, run)
    await before.close()
    long_ago = time.time() - 25 * 3600
    os.utime(stage.folder(1), (long_ago, long_ago))
    after = stage.runs(WAITS)
    await after.start(spec(3))
    await eventually(lambda: not stage.folder(1).exists())
    assert {state.run: state.phase for state in await after.list()} == {2: Phase.ENDED, 3: Phase.RUNNING}


async def test_closing_ends_every_run_at_once_and_every_watch(stage: Stage) -> None:
    runs = stage.runs(IGNORES_TERM, grace_seconds=0.5)
    for run in (1, 2, 3):
        await runs.start(spec(run))
    await eventually(lambda: all("up" in stage.printed(run) for run in (1, 2, 3)))
    changes = runs.watch()
    begun = time.monotonic()
    await asyncio.gather(runs.close(), runs.close())
    assert time.monotonic() - begun < 1.4
    assert stage.processes() == []
    async with asyncio.timeout(2):
        assert {event.run async for event in changes} == {1, 2, 3}
        assert [event async for event in runs.watch()] == []
    await runs.close()
    with pytest.raises(Unavailable):
        await runs.start(spec(4))
    assert {state.end for state in await stage.runs(WAITS).list()} == {RunEnd.DRAINED}


async def test_a_run_that_never_was_is_none_and_may_be_woken(stage: Stage) -> None:
    runs = stage.runs(WAITS)
    await runs.wake(CONVERSATION, 1)
    assert await runs.look(CONVERSATION, 1) is None
    assert await runs.list() == []


async def test_a_run_that_could_not_be_started_leaves_room_for_another_try(tmp_path: Path) -> None:
    runs = ProcessRuns(tmp_path, command=[sys.executable, "-c", "pass"], sandbox=None)
    with pytest.raises(Unavailable):
        await runs.start(spec(environment={"MORE_THAN_THE_KERNEL_TAKES": "x" * 1_000_000}))
    assert await runs.look(CONVERSATION, 1) is None
    await runs.start(spec())
    assert (await ended(runs)).end is RunEnd.FINISHED
    await runs.close()


async def test_a_run_may_lose_its_dispatcher_in_its_first_moments(stage: Stage) -> None:
    """A sandbox that is only half made then must not be finished by itself."""
    dispatcher = start_dispatcher(stage, WAITS)
    await eventually(psutil.Process(dispatcher.pid).children, seconds=10)
    end_dispatcher(dispatcher)
    await eventually(lambda: not stage.processes(), seconds=2)
