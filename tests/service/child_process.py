"""A process that a test starts. It never outlives the test, however either of them ends."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

GRACE_SECONDS = 20.0


@asynccontextmanager
async def started(
    *command: str, stop: signal.Signals = signal.SIGTERM, **how: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a process. If it still lives at the end, it gets `stop`, then SIGTERM, then SIGKILL.

    SIGINT alone is not enough: a shell starts background programs with SIGINT ignored, and tests that run in the
    background hand that on to their own processes.
    """
    process = await asyncio.create_subprocess_exec(*command, **how)
    try:
        yield process
    finally:
        for number in dict.fromkeys((stop, signal.SIGTERM, signal.SIGKILL)):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)
                await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Give it time to end. Its output is read meanwhile, so that no full pipe blocks it."""
    reading = asyncio.gather(process.wait(), *(pipe.read() for pipe in (process.stdout, process.stderr) if pipe))
    with suppress(TimeoutError):
        await asyncio.wait_for(reading, GRACE_SECONDS)
