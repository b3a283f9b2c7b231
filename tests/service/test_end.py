"""Everything ends soon and leaves nothing, even while a worker waits for the next message of its thread.

Debian 12's own Python (3.11.2) once took half a minute for it.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import psutil
import pytest
from child_process import started
from system import System, below, eventually

END_SECONDS = 9.0  # a quiet machine takes 1 to 2; a worker that does not end by itself is killed after 10


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
async def test_local_ends_soon_while_a_worker_waits(tmp_path: Path, number: Signals) -> None:
    command = (sys.executable, "-m", "peerbot", "local", "--in", str(tmp_path))
    async with started(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        await asyncio.wait_for(process.stdout.readuntil(b"staying up"), 60)
        await eventually(lambda: _waits(tmp_path / "runs"))

        assert await _end(process, [number]) == (0 if number == SIGTERM else 130)


@pytest.mark.parametrize(
    "signals", [[SIGINT], [SIGTERM], [SIGTERM] * 50], ids=["SIGINT", "SIGTERM", "SIGTERM again and again"]
)
async def test_a_dispatcher_ends_soon_while_a_worker_waits(tmp_path: Path, signals: list[Signals]) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "120"}) as system:
        dispatcher = await system.start()
        await system.ask("what is in this repository?")
        await eventually(lambda: _waits(tmp_path / "data" / "runs"))

        assert await _end(dispatcher, signals) == (0 if signals[0] == SIGTERM else 130)


async def _end(process: asyncio.subprocess.Process, signals: Sequence[Signals]) -> int:
    """Send the signals one after the other; returns the exit code. The process ends in time and leaves none behind."""
    below_it = psutil.Process(process.pid).children(recursive=True)
    assert below_it, "a worker waits"
    ending = asyncio.create_task(process.wait())
    async with asyncio.timeout(END_SECONDS):
        for number in signals:
            if process.returncode is None:  # `send_signal` would take the exit code away from asyncio (Python 3.11)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            await asyncio.wait([ending], timeout=0.002)
        code = await ending
    assert [one for one in below_it if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    return code


def _waits(runs: Path) -> bool:
    """Whether the one worker has done its first turn: it then waits for the next message."""
    [log] = below(runs, "worker.log")
    return any(json.loads(line).get("event") == "turn_finished" for line in log.read_text().splitlines())
