"""A process that a test starts, and that does not outlive the test, whatever becomes of either."""

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
    """Start a process; at the end it gets `stop`, where it lives still, then SIGTERM, then SIGKILL.

    SIGINT alone is not enough: a shell starts what it runs in the background with SIGINT ignored, and so does then
    what those tests start that somebody runs there.
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
    """Give it time to end; what it prints meanwhile is read, so that no full pipe holds it."""
    reading = asyncio.gather(process.wait(), *(pipe.read() for pipe in (process.stdout, process.stderr) if pipe))
    with suppress(TimeoutError):
        await asyncio.wait_for(reading, GRACE_SECONDS)
