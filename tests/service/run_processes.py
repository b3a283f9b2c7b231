"""The common base of the tests of process runs: stand-in workers, and ways to see which processes there are."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from peerbot.conversation.keys import Conversation
from peerbot.runs.port import Phase, RunSpec, RunState
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.runs.processes.sandbox import Sandbox, SandboxMissing

T = TypeVar("T")
IGNORES_TERM = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("up", flush=True)
while True: time.sleep(600)
"""
DISPATCHER = """
import asyncio, json, sys
from pathlib import Path
from peerbot.conversation.keys import Conversation
from peerbot.runs.port import RunSpec
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.runs.processes.sandbox import Sandbox

async def main(directory, sandboxed, without, command):
    sandbox = Sandbox(without=without) if sandboxed else None
    runs = ProcessRuns(Path(directory), command=command, sandbox=sandbox)
    await runs.start(RunSpec(Conversation("T1", "C1", "1700000000.000001"), 1, "the-secret", {}))
    await asyncio.Event().wait()

asyncio.run(main(*json.loads(sys.argv[1])))
"""

CONVERSATION = Conversation("T1", "C1", "1700000000.000001")


def need_sandbox() -> Sandbox:
    """The sandbox. Without one the test is left out, with a line that says how to get it; in CI it fails."""
    try:
        return Sandbox.find()
    except SandboxMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


async def eventually(look: Callable[[], T], seconds: float = 5) -> T:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        await asyncio.sleep(0.01)
    return seen


class Stage:
    """A shared folder of runs, and workers that can be told from every other process of the machine."""

    def __init__(self, directory: Path, sandbox: Sandbox | None) -> None:
        self.directory = directory
        self.sandbox = sandbox
        self.marker = f"stand-in-{uuid.uuid4()}"
        self._opened: list[ProcessRuns] = []

    def command(self, source: str) -> list[str]:
        """Return the command of a worker that is `source`; it finds the marker in `sys.argv[1]`."""
        return [sys.executable, "-c", source, self.marker]

    def runs(self, source: str, *, grace_seconds: float = 5, silent_seconds: float = 60) -> ProcessRuns:
        """Open a dispatcher's runs, whose worker is `source`."""
        runs = ProcessRuns(
            self.directory,
            command=self.command(source),
            sandbox=self.sandbox,
            grace_seconds=grace_seconds,
            silent_seconds=silent_seconds,
        )
        self._opened.append(runs)
        return runs

    def folder(self, run: int = 1) -> Path:
        return self.directory / CONVERSATION.job_name(run)

    def printed(self, run: int = 1) -> str:
        """Read the worker's output so far."""
        log = self.folder(run) / "worker.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """List the living processes that carry the marker: workers, their children, and the sandboxes around them."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "status", "ppid"])
            if self.marker in " ".join(process.info["cmdline"] or []) and process.info["status"] != "zombie"
        ]

    def workers(self) -> list[psutil.Process]:
        """The workers alone."""
        return [process for process in self.processes() if process.info["cmdline"][:2] == [sys.executable, "-c"]]

    def guard(self) -> psutil.Process:
        """Return the process that the dispatcher, which is us, has started."""
        return next(process for process in self.processes() if process.info["ppid"] == os.getpid())

    def open_files(self) -> set[str]:
        """List the files that the run's processes hold open."""
        descriptors = [fd for process in self.processes() for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
        return {str(fd.readlink()) for fd in descriptors if fd.is_symlink()}

    async def close(self) -> None:
        for runs in self._opened:
            await runs.close()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def spec(run: int = 1, *, environment: dict[str, str] | None = None, secret: str = "the-secret") -> RunSpec:
    return RunSpec(CONVERSATION, run, secret, environment or {})


async def ended(runs: ProcessRuns, run: int = 1, seconds: float = 10) -> RunState:
    """Wait until the run has ended; returns its state."""
    async with asyncio.timeout(seconds):
        changes = runs.watch()
        while (state := await runs.look(CONVERSATION, run)) is None or state.phase is not Phase.ENDED:
            await anext(changes)
        return state


def start_dispatcher(stage: Stage, source: str, without: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A dispatcher in a process of its own, that starts run 1 and stays."""
    arguments = json.dumps([str(stage.directory), stage.sandbox is not None, without, stage.command(source)])
    return subprocess.Popen([sys.executable, "-c", DISPATCHER, arguments])


def end_dispatcher(dispatcher: subprocess.Popen[bytes]) -> None:
    dispatcher.kill()
    dispatcher.wait(5)
