"""A loop that fails begins again: nothing that loops dies unseen."""

import asyncio

import pytest
from structlog.testing import capture_logs

from peerbot.tasks import kept_up


async def test_a_loop_that_fails_begins_again_and_each_failure_is_told_and_counted() -> None:
    tries = 0

    async def loop() -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ValueError(f"an answer that is no JSON, {tries}")

    with capture_logs() as told:
        await asyncio.wait_for(kept_up(loop, pause_seconds=0.001), 10)

    assert tries == 4
    assert [(line["event"], line["failures"]) for line in told] == [("loop_begins_again", n) for n in (1, 2, 3)]
    assert told[0]["task"].endswith("loop")
    assert told[0]["reason"] == "an answer that is no JSON, 1"


async def test_a_loop_that_is_cancelled_ends() -> None:
    begun = asyncio.Event()

    async def loop() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_up(loop))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
