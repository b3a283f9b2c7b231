"""Trouble on purpose: what a person may break on the chat page, to see that the answer still comes once."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from peerbot.local.slack import Fault
from peerbot.local.world import World

AWAY_SECONDS = 15.0


class Troubles:
    """Breaks parts of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store_away: asyncio.Task[None] | None = None

    def all(self) -> dict[str, tuple[str, str, Callable[[], Awaitable[str]]]]:
        """What one may break: by name its title, what it does, and the doing."""
        return {
            "twice": ("Deliver twice", "Slack sends every event twice, until you press it again.", self._twice),
            "slow": ("Delay", "Slack takes 5 s for each of its next 5 calls.", self._slow),
            "limited": ("429", "Slack refuses its next 5 calls, and says to wait a second.", self._limited),
            "lost": ("Drop after taking", "Slack does what its next call asks, and the reply is lost.", self._lost),
            "worker": ("Kill the worker", "Every worker is killed in the middle of its work.", self._kill),
            "dispatcher": (
                "Kill the dispatcher",
                "It ends at once, with its workers and all that it has in memory. Another one starts.",
                self._end,
            ),
            "cut": ("Cut the dispatcher off", "All of its connections to Slack break.", self._cut),
            "store": ("Store away", f"The journal can't be reached for {AWAY_SECONDS:.0f} s.", self._no_store),
            "github": ("GitHub away", "GitHub answers its next 10 requests with 503.", self._no_github),
        }

    async def close(self) -> None:
        """Put back what is away."""
        if self._store_away:
            self._store_away.cancel()
            await asyncio.wait([self._store_away])

    @property
    def _is_away(self) -> bool:
        return self._store_away is not None and not self._store_away.done()

    async def _twice(self) -> str:
        faults = self._world.slack.faults
        faults.duplicate_events = not faults.duplicate_events
        return "Every event comes twice now." if faults.duplicate_events else "Every event comes once again."

    async def _slow(self) -> str:
        self._world.slack.faults.add("*", Fault(delay_seconds=5), times=5)
        return "Slack's next 5 calls take 5 s each."

    async def _limited(self) -> str:
        self._world.slack.faults.add("*", Fault(status=429, retry_after_seconds=1), times=5)
        return "Slack's next 5 calls are refused with 429."

    async def _lost(self) -> str:
        self._world.slack.faults.add("*", Fault(lost=True))
        return "The reply to Slack's next call is lost."

    async def _kill(self) -> str:
        killed = self._world.kill_workers()
        return f"Killed {killed} {'worker' if killed == 1 else 'workers'}." if killed else "No worker is at work."

    async def _end(self) -> str:
        if self._is_away:
            return "The journal is away, and no dispatcher starts without it. Wait until it is back."
        await self._world.kill_dispatcher()
        return "The dispatcher is gone, and another one has started. It knows what the journal has."

    async def _cut(self) -> str:
        self._world.slack.drop_sockets()
        return "The dispatcher's connections are cut. It connects again, and catches up."

    async def _no_store(self) -> str:
        if self._is_away:
            return "The journal is away already."
        self._store_away = asyncio.create_task(self._take_away(self._world.directory / "journal"))
        return f"The journal is away for {AWAY_SECONDS:.0f} s."

    async def _take_away(self, journal: Path) -> None:
        away = journal.with_name("journal-away")
        os.rename(journal, away)  # noqa: PTH104 (one step, which does not block)
        try:
            await asyncio.sleep(AWAY_SECONDS)
        finally:
            os.rename(away, journal)  # noqa: PTH104

    async def _no_github(self) -> str:
        self._world.github.faults.add(".", count=10, status=503)
        return "GitHub answers its next 10 requests with 503."
