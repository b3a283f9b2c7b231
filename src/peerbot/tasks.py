"""Background tasks with an owner: the log names those that fail, and the owner awaits them when it closes."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

from peerbot import metrics
from peerbot.errors import PeerBotError
from peerbot.logs import logger

log = logger(__name__)

_T = TypeVar("_T")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
"""How long a loop that died waits before it starts again: twice as long after each time, until it lasts for a while."""

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


async def kept(name: str, loop: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a loop that others rely on. If it dies of an error, that is logged and counted, and it starts again.

    A loop that returns has decided to end.
    """
    restarts, clock = metrics.loop_restarts.labels(name), asyncio.get_running_loop().time
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = clock()
        try:
            return await loop()
        except Exception as error:
            log.error("loop_died", loop=name, seconds=round(clock() - began, 1), exc_info=error)
        restarts.inc()
        if clock() - began > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


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

    def keep(self, name: str, loop: Callable[[], Coroutine[object, object, None]]) -> asyncio.Task[None]:
        """Run a loop in the background, as `kept` does."""
        return self.spawn(kept(name, loop))

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
        metrics.tasks_failed.inc()
        if isinstance(error, PeerBotError):
            log.warning("task_failed", task=task.get_name(), reason=str(error), exc_info=error)
        else:
            log.error("task_failed", task=task.get_name(), exc_info=error)
