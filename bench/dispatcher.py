"""The dispatcher at rest and at its first duty: its memory, and how long Slack waits for an ack."""

import asyncio
import os
import sys
import time
from pathlib import Path
from statistics import median

import psutil

from bench.figures import Figure, mebibytes, milliseconds
from peerbot.journal.open import open_storage
from tests.service.system import System, eventually

GUEST, ROOM = "U0GUEST0001", "D0GUEST0001"
SETTLE_SECONDS = 1.0


async def measure(directory: Path, *, events: int) -> list[Figure]:
    directory.mkdir()
    async with System(directory) as system:
        process = await system.start()
        await asyncio.sleep(SETTLE_SECONDS)
        memory = await _memory(process.pid)
        acks = await _acks(system, events)
    return [_ack_figure(acks, await _writes(directory, events)), memory]


async def _memory(pid: int) -> Figure:
    ours = psutil.Process(pid).memory_full_info()
    bare = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import aiohttp, sys; sys.stdin.read()",
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(SETTLE_SECONDS)
    beside = psutil.Process(bare.pid).memory_full_info()
    await bare.communicate(b"")
    pss = f" (PSS {mebibytes(ours.pss)})" if hasattr(ours, "pss") else ""
    return Figure(
        "memory of an idle dispatcher (RSS)", mebibytes(ours.rss) + pss, "Python with aiohttp alone",
        mebibytes(beside.rss), f"×{ours.rss / beside.rss:.1f}", "< 120 MiB", 1,
    )  # fmt: skip


async def _acks(system: System, events: int) -> list[float]:
    """Seconds from an event to its ack. The events are a guest's: recorded like all, then refused without a run."""
    system.slack.add_user(GUEST, "Gus Guest", kind="guest")
    system.slack.add_channel(ROOM, "", kind="im", members=(GUEST, system.slack.bot_user))
    found = []
    for number in range(events):
        ts = await system.slack.say(GUEST, ROOM, f"message {number}")
        sent = time.monotonic()
        await system.slack.wait_for(lambda: system.slack.undelivered == 0, 10)
        found.append(time.monotonic() - sent)
        await eventually(lambda ts=ts: len(system.slack.thread(ROOM, ts)) > 1)  # its refusal is there: all is quiet
    return found


async def _writes(directory: Path, count: int) -> tuple[float, float]:
    """Seconds for one create in the store that was used, and for one write with fsync: medians."""
    storage = await open_storage((directory / "journal").as_uri())
    creates, synced = [], []
    data = os.urandom(400)
    for number in range(count):
        began = time.monotonic()
        await storage.put_if_absent(f"bench/{number}.json", data)
        creates.append(time.monotonic() - began)
        began = time.monotonic()
        _write_synced(directory / f"{number}.synced", data)
        synced.append(time.monotonic() - began)
    await storage.close()
    return median(creates), median(synced)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _ack_figure(acks: list[float], writes: tuple[float, float]) -> Figure:
    create, synced = writes
    return Figure(
        "event → ack (marker and input are in the journal)", milliseconds(median(acks)),
        f"one create in the same store (a bare write with fsync: {milliseconds(synced)})", milliseconds(create),
        f"×{median(acks) / create:.1f}", "", len(acks),
    )  # fmt: skip
