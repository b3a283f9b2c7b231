"""The cost of the metrics: what a scrape takes of a dispatcher's time, and what an attacker takes who asks without end.

A dispatcher at rest, after some turns. Its CPU time is the kernel's; what it takes at rest is left out.
"""

import asyncio
import time
from pathlib import Path
from statistics import median

import aiohttp
import psutil
from system import System, eventually

from bench.figures import Figure, Section
from peerbot.web.metrics import FRESH_SECONDS

EVERY_SECONDS = 1.1 * FRESH_SECONDS
"""Longer than a page is kept, so that each scrape writes one."""


async def measure(directory: Path, *, quick: bool) -> Section:
    scrapes, attack_seconds = (4, 4.0) if quick else (30, 10.0)
    async with System(directory) as system:
        dispatcher = psutil.Process((await system.start()).pid)
        for _ in range(1 if quick else 3):
            await system.ask("run `echo hello`")
        await eventually(lambda: not system.worker_pids())
        url = f"http://127.0.0.1:{await system.port('metrics_port')}/metrics"
        async with aiohttp.ClientSession() as http:

            async def scrape() -> tuple[float, int]:
                began = time.perf_counter()
                async with http.get(url) as reply:
                    size = len(await reply.read())
                return 1000 * (time.perf_counter() - began), size

            await scrape()
            await asyncio.sleep(5 * EVERY_SECONDS)  # the last things of a turn come after its answer
            rest = await _cpu_share(dispatcher, asyncio.sleep(scrapes * EVERY_SECONDS))
            taken: list[tuple[float, int]] = []

            async def scraped() -> None:
                for _ in range(scrapes):
                    taken.append(await scrape())
                    await asyncio.sleep(EVERY_SECONDS)

            at_work = await _cpu_share(dispatcher, scraped())
            asked = 0

            async def attack() -> None:
                nonlocal asked
                until = time.monotonic() + attack_seconds
                while time.monotonic() < until:
                    await asyncio.gather(*(scrape() for _ in range(10)))
                    asked += 10

            attacked = await _cpu_share(dispatcher, attack())
    each = 1000 * (at_work - rest) * EVERY_SECONDS
    return Section(
        "The metrics",
        figures=[
            Figure("a scrape, until its last byte", f"{median(ms for ms, _ in taken):.0f} ms", "size",
                   f"{median(size for _, size in taken) / 1024:.0f} KiB", "", "", scrapes),
            Figure("CPU of a scrape", f"{each:.1f} ms", "each 30 s", f"{100 * each / 30_000:.3f} % of a core", "",
                   "below 2 %", scrapes),
            Figure("CPU while ten clients ask without end", f"{100 * (attacked - rest):.1f} % of a core", "answered",
                   f"{asked / attack_seconds:.0f} a second", "", "below 2 %", asked),
        ],
    )  # fmt: skip


async def _cpu_share(process: psutil.Process, work: object) -> float:
    """Do something; returns which share of a core the process took meanwhile."""
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    await work  # type: ignore[misc]
    return float(sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
