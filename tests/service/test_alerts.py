"""Each alert's condition comes true for real: a real Prometheus reads a dispatcher to which the fault happens."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus import NEEDS_PROMETHEUS, Prometheus, alerts
from system import System, away, eventually

from peerbot.conversation.documents import Input
from peerbot.local.slack import Fault

pytestmark = [NEEDS_PROMETHEUS, pytest.mark.slow]

LONG = "run `sleep 120`"
CRASHES = 3
BUDGET = 0.019
"""A month's budget of which one of the demo model's turns spends more than four fifths."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def mark_old(system: System, minutes: float) -> None:
    """Leave a marker in the journal, as a dispatcher does that dies before it writes the input."""
    ts = f"{time.time() - minutes * 60:.6f}"
    await system.journal.mark(
        Input(team=system.slack.team, channel=system.slack.general, thread_ts=ts, ts=ts, user=system.slack.person,
              text="x", event_id="Ev1")
    )  # fmt: skip


async def ready(port: int, times: int) -> None:
    async with aiohttp.ClientSession() as http:

        async def look() -> None:
            async with http.get(f"http://127.0.0.1:{port}/ready") as reply:
                assert reply.status == 503

        await asyncio.gather(*(look() for _ in range(times)))


@pytest.mark.timeout(600)
async def test_each_alert_comes_true_when_its_fault_happens(tmp_path: Path) -> None:
    port, fired = free_port(), set()
    async with System(tmp_path, {"PEERBOT_METRICS_PORT": str(port)}) as system:
        dispatcher = await system.start()
        async with Prometheus(tmp_path / "prometheus", port) as prometheus:

            async def fires(alert: str, seconds: float = 60) -> None:
                await prometheus.fires(alert, seconds)
                fired.add(alert)

            for alert in alerts():
                assert await prometheus.query(alerts()[alert]) == [], alert
            # A message whose workers crash again and again
            asked = await system.say(LONG)
            for run in range(1, CRASHES + 1):
                await eventually(lambda n=run: len(system.logged("run_started")) == n and system.worker_pids(), 60)
                system.kill_workers()
                await eventually(lambda n=run: len(system.logged("run_died")) == n, 60)
            await fires("PeerBotRunsFail")
            await system.answer(*asked)
            # A channel that the bot is removed from while it answers
            system.slack.faults.add("chat.postMessage", Fault(error="is_archived"), times=50)
            await system.say("hello")
            await fires("PeerBotAnswersLetGo")
            system.slack.faults.clear()
            # Claude's API has an outage
            system.model.faults.error(500, times=1000)
            several = [await system.say("hello") for _ in range(3)]
            await fires("PeerBotModelFails", 120)
            system.model.faults.clear()
            for asked in several:
                await system.answer(*asked)
            # A disk that is gone for a while, then one with the runs' folder
            with away(tmp_path / "journal"):
                await ready(await system.port(), 200)
                await fires("PeerBotStoreFails")
            (tmp_path / "data" / "runs").rename(tmp_path / "data" / "elsewhere")
            await fires("PeerBotLoopDied")
            (tmp_path / "data" / "elsewhere").rename(tmp_path / "data" / "runs")
            # Slack takes no connection
            system.slack.faults.add("apps.connections.open", Fault(error="internal_error"), times=10_000)
            system.slack.drop_sockets()
            await fires("PeerBotNoSocket")
            system.slack.faults.clear()
            # A dispatcher that crashes again and again, and leaves a marker at last
            for _ in range(CRASHES):
                await system.end(dispatcher, signal.SIGKILL)
                await mark_old(system, 60)
                before = time.time()
                dispatcher = await system.start(PEERBOT_MONTH_BUDGET_USD=str(BUDGET))
                await prometheus.until(f"peerbot_start_time_seconds > {before}", bool)
            await fires("PeerBotRestarts")
            await fires("PeerBotInputsWait")
            await system.ask("hello")
            await fires("PeerBotBudgetNearlySpent", 150)
            assert await system.end(dispatcher) == 0
            await fires("PeerBotDown")

    assert fired == set(alerts())
