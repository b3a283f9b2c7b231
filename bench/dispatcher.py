"""The dispatcher at rest and at its first duty: its memory, and how long Slack waits for an ack, with both stores."""

import asyncio
import os
import sys
import time
from pathlib import Path
from statistics import median

import psutil
from gcs_server import gcs_server, make_bucket
from system import System, eventually

from bench.figures import Figure, Section, mebibytes, milliseconds
from peerbot.journal.open import open_storage

GUEST, ROOM, BUCKET = "U0GUEST0001", "D0GUEST0001", "peerbot-bench"
SETTLE_SECONDS = 1.0


async def measure(directory: Path, *, quick: bool) -> Section:
    events = 4 if quick else 100
    with gcs_server() as server:
        make_bucket(server, BUCKET)
        os.environ["STORAGE_EMULATOR_HOST"] = server  # for the measured writes; the dispatcher gets it as a setting
        figures = await _on_store("directory", directory / "file", (directory / "store").as_uri(), events, {})
        bucket = {"STORAGE_EMULATOR_HOST": server}
        figures += await _on_store("bucket", directory / "gs", f"gs://{BUCKET}", events, bucket)
    return Section("A dispatcher at rest, and one event at a time", figures)


async def _on_store(name: str, directory: Path, url: str, events: int, settings: dict[str, str]) -> list[Figure]:
    async with System(directory, {"PEERBOT_STORE": url, **settings}) as system:
        process = await system.start()
        await asyncio.sleep(SETTLE_SECONDS)
        memory = await _memory(name, process.pid)
        times = await acks(system, events)
    create = await _creates(url, events)
    ack = Figure(
        f"event → ack, journal in a {name}", milliseconds(median(times)), "one create in the same store",
        milliseconds(create), f"×{median(times) / create:.1f}", "two creates and the way", len(times),
    )  # fmt: skip
    return [ack, memory]


async def _memory(store: str, pid: int) -> Figure:
    ours = psutil.Process(pid).memory_full_info()
    bare = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import aiohttp, sys; sys.stdin.read()", stdin=asyncio.subprocess.PIPE
    )
    await asyncio.sleep(SETTLE_SECONDS)
    beside = psutil.Process(bare.pid).memory_full_info()
    await bare.communicate(b"")
    shared = f" (PSS {mebibytes(ours.pss)})" if hasattr(ours, "pss") else ""
    return Figure(
        f"memory of an idle dispatcher (RSS), journal in a {store}", mebibytes(ours.rss) + shared,
        "Python with aiohttp alone", mebibytes(beside.rss), f"×{ours.rss / beside.rss:.1f}", "< 120 MiB", 1,
    )  # fmt: skip


async def acks(system: System, events: int) -> list[float]:
    """Measure the seconds from an event to its ack. A guest's events are recorded, then refused without a run."""
    system.slack.add_user(GUEST, "Gus Guest", kind="guest")  # again is fine
    system.slack.add_channel(ROOM, "", kind="im", members=(GUEST, system.slack.bot_user))
    found = []
    for number in range(events):
        ts = await system.slack.say(GUEST, ROOM, f"message {number}")
        sent = time.monotonic()
        await system.slack.wait_for(lambda: system.slack.undelivered == 0, 10)
        found.append(time.monotonic() - sent)
        await eventually(lambda ts=ts: len(system.slack.thread(ROOM, ts)) > 1)  # its refusal is there: nothing goes on
    return found


async def _creates(url: str, count: int) -> float:
    """Measure the seconds for one create: the median of many."""
    storage = await open_storage(url)
    found = []
    for number in range(count):
        data = os.urandom(400)
        began = time.monotonic()
        await storage.put_if_absent(f"bench/{number}.json", data)
        found.append(time.monotonic() - began)
    await storage.close()
    return median(found)
