"""Measures what no event tells: runs that exist, the room in Slack's budgets, what the month cost, the loop's lag."""

import asyncio
from collections import Counter
from dataclasses import dataclass

from peerbot import metrics
from peerbot.conversation.documents import now
from peerbot.conversation.limits import Purse, Scope, month_of
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.unrecorded import Unrecorded
from peerbot.errors import PeerBotError
from peerbot.journal.budgets import Chains
from peerbot.logs import logger
from peerbot.runs.port import Phase, Runs
from peerbot.settings import Settings
from peerbot.slack.outbound import Outbound
from peerbot.slack.receive import Receiver

log = logger(__name__)

LOOK_SECONDS = 5.0
MONTH_SECONDS = 60.0
LAG_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Measures:
    """Fills the gauges of `metrics.py`."""

    settings: Settings
    runs: Runs
    places: Places
    unrecorded: Unrecorded
    outbound: Outbound
    receiver: Receiver
    chains: Chains

    def begin(self) -> None:
        """Show the settings that others are measured by."""
        metrics.runs_most.set(self.settings.worker_max_concurrent)
        metrics.turn_limit_seconds.set(self.settings.session_timeout_minutes * 60)
        metrics.month_budget_dollars.set(self.settings.peerbot_month_budget_usd or 0)

    async def look(self) -> None:
        """Look again and again at what this replica and the runs are doing."""
        while True:
            metrics.line_length.set(len(self.places.line()))
            metrics.unrecorded.set(self.unrecorded.count)
            self.outbound.measure()
            self.receiver.measure()
            try:
                phases = Counter(state.phase for state in await self.runs.list())
            except PeerBotError as error:
                log.debug("runs_not_counted", reason=str(error))
            else:
                for phase in (Phase.STARTING, Phase.RUNNING):
                    metrics.runs.labels(phase.value).set(phases[phase])
            await asyncio.sleep(LOOK_SECONDS)

    async def month(self) -> None:
        """Read again and again what everybody has spent this month, if that has a budget."""
        while self.settings.peerbot_month_budget_usd:
            try:
                newest = await self.chains.of(Purse(Scope.MONTH, "all", month_of(now()))).look()
            except PeerBotError as error:
                log.debug("month_not_read", reason=str(error))
            else:
                metrics.month_spent_dollars.set(newest.spent_usd if newest else 0)
            await asyncio.sleep(MONTH_SECONDS)

    async def lag(self) -> None:
        """Measure again and again how late the event loop wakes us."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            metrics.event_loop_lag_seconds.observe(max(0.0, clock() - due))
