"""Background tasks with an owner: the log names those that fail, and the owner awaits them when it closes."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from peerbot.errors import PeerBotError
from peerbot.logs import logger

log = logger(__name__)

_T = TypeVar("_T")

_LONGEST_PAUSE_SECONDS = 60.0

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
"""Starts a background task, which belongs to the part that handed this function out."""


async def undisturbed(closing: Coroutine[object, object, _T]) -> _T:
    """Finish a closing in a separate task, however often the calling task is cancelled; returns its result.

    A signal cancels the calling task, and the next signal cancels it again. In a cancelled task CPython before 3.11.4
    (gh-102780; Debian 12 has 3.11.2) raises `CancelledError` when an `asyncio.timeout` runs out, so that the rest of
    the closing is skipped. Every step of a closing has its own deadline.
    """
    task = asyncio.create_task(closing)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


async def kept_up(loop: Callable[[], Coroutine[object, object, None]], *, pause_seconds: float = 1.0) -> None:
    """Run a loop that must not end. If it fails, begin it again after a pause, which doubles up to a minute.

    The log says so each time, and how often it was. If the loop returns, it is over.
    """
    failures = 0
    while True:
        try:
            return await loop()
        except Exception as error:
            failures += 1
            name = getattr(loop, "__qualname__", repr(loop))
            log.error("loop_begins_again", task=name, failures=failures, reason=str(error), exc_info=error)
            await asyncio.sleep(min(pause_seconds * 2 ** min(failures - 1, 10), _LONGEST_PAUSE_SECONDS))


class Tasks:
    """Starts tasks and ends them. It logs a task that fails, and the other tasks go on."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start `work` in the background."""
        task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self, deadline_seconds: float) -> None:
        """Give running tasks, and those that they start, `deadline_seconds` to end, then cancel the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_seconds):
                while self._running:
                    await asyncio.wait(self._running)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, PeerBotError):
            log.warning("task_failed", task=task.get_name(), reason=str(error), exc_info=error)
        else:
            log.error("task_failed", task=task.get_name(), exc_info=error)
