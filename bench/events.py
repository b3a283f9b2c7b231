"""Fifty events a second at two dispatchers: how long Slack waits for its acks, and a person for their run's start.

Most events are chatter that is not for us, in channels and in people's threads; some are mentions. A mention comes as
two events (`app_mention` and `message`). A guest writes the mentions at the full rate. They are recorded as usual and
answered without a run, since two cores can't start five workers a second. A member's mentions come so far apart that
none waits in line. Beside that, a program writes into the same store all the time: the acks are compared with one
create.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from gcs_server import gcs_server, make_bucket
from system import System, eventually

from bench.figures import Figure, Section, milliseconds, percentile
from bench.slow import slow_way
from peerbot.journal.open import open_storage
from peerbot.local.slack.socketmode import Ack

EVENTS_A_SECOND = 50
BUCKET, SLOW_SECONDS = "peerbot-bench", 0.02
GUEST, PEOPLE, ROOM = "U0GUEST0001", "C0PEOPLE001", "C0GUESTS001"
RUN_EVERY_SECONDS = 3.0
CREATES_A_SECOND = 10


@dataclass
class _Found:
    """The results of a store's rounds, in seconds."""

    chatter: list[float] = field(default_factory=list)
    mentions: list[float] = field(default_factory=list)
    creates: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)  # on a disk: a create that survives a power failure
    starts: list[float] = field(default_factory=list)
    again: int = 0  # events that Slack had to send more than once
    wrote: int = 0  # objects that chatter left in the journal


async def measure(directory: Path, *, quick: bool) -> Section:
    seconds = 2.0 if quick else 180.0  # in one minute, three messages would decide the 99th percentile
    section = Section(f"{EVENTS_A_SECOND} events a second, two dispatchers, for {seconds:.0f} s on each store")
    _show(section, "a directory", await _on_store(directory / "file", (directory / "store").as_uri(), {}, seconds))
    with gcs_server() as server:
        make_bucket(server, BUCKET)
        async with slow_way(urlsplit(server).port or 0, SLOW_SECONDS) as port:
            settings = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
            found = await _on_store(directory / "gs", f"gs://{BUCKET}", settings, seconds)
    _show(section, f"a bucket {SLOW_SECONDS * 1000:.0f} ms away", found)
    return section


async def _on_store(directory: Path, url: str, settings: dict[str, str], seconds: float) -> _Found:
    os.environ |= settings  # for the measured writes; the dispatchers get it as a setting
    quiet = {"PEERBOT_STORE": url, "LOG_LEVEL": "INFO", "WORKER_IDLE_SECONDS": "0", "WORKER_MAX_CONCURRENT": "2"}
    found = _Found()
    async with System(directory, quiet | settings) as system:
        _furnish(system)
        await system.start()
        await system.start()
        await system.say("hello")  # makes the person's repository
        await eventually(lambda: _ended(system) == 1, 45)
        before = len(system.slack.acks)
        async with _creating(directory, url, found):
            members = await _talk(system, seconds)
        await system.slack.wait_for(lambda: system.slack.undelivered == 0, 30)
        await eventually(lambda: _ended(system) > members, 60)
        _sort(system, list(system.slack.acks)[before:], found)
        found.wrote = await _left_by_chatter(system, url)
        for dispatcher in system.dispatchers:  # in good order they would first post all refusals, one a second
            dispatcher.kill()
    return found


async def _left_by_chatter(system: System, url: str) -> int:
    storage = await open_storage(url)
    folders = [f"{kind}/{system.slack.team}/{PEOPLE}/" for kind in ("conversations", "pending")]
    found = [key for folder in folders async for key in storage.list(folder)]
    await storage.close()
    return len(found)


def _furnish(system: System) -> None:
    system.slack.add_user(GUEST, "Gus Guest", kind="guest")
    for channel, name in ((PEOPLE, "people"), (ROOM, "guests")):
        system.slack.add_channel(channel, name, members=(system.slack.person, GUEST, system.slack.bot_user))


def _ended(system: System) -> int:
    return len(system.logged("process_ended"))


async def _talk(system: System, seconds: float) -> int:
    """Write messages that make fifty events a second; returns how many of them were a member's mentions."""
    slack, mention = system.slack, system.slack.mention()
    threads = [await slack.say(slack.person, PEOPLE, f"thread {number}") for number in range(20)]
    began, sent, said, members = time.monotonic(), 0, 0, 0
    while (at := time.monotonic() - began) < seconds:
        if sent >= at * EVENTS_A_SECOND:
            await asyncio.sleep(0.005)
            continue
        said += 1
        if at >= members * RUN_EVERY_SECONDS:
            members += 1
            await slack.say(slack.person, slack.general, f"{mention} hello {members}")
            sent += 2
        elif said % 9 == 0:
            await slack.say(GUEST, ROOM, f"{mention} do something {said}")
            sent += 2
        else:
            await slack.say(slack.person, PEOPLE, f"chatter {said}", thread_ts=threads[said % 20] if said % 3 else None)
            sent += 1
    return members


@asynccontextmanager
async def _creating(directory: Path, url: str, found: _Found) -> AsyncIterator[None]:
    """Create objects in the same store meanwhile, some a second. On a disk, also create some that are synced to it."""
    storage = await open_storage(url)

    async def create() -> None:
        number = 0
        while True:
            data, number = os.urandom(400), number + 1
            began = time.monotonic()
            await storage.put_if_absent(f"bench/{number}.json", data)
            found.creates.append(time.monotonic() - began)
            if url.startswith("file:"):
                began = time.monotonic()
                await asyncio.to_thread(_create_synced, directory / f"synced-{number}", data)
                found.synced.append(time.monotonic() - began)
            await asyncio.sleep(1 / CREATES_A_SECOND)

    creating = asyncio.create_task(create())
    try:
        yield
    finally:
        creating.cancel()
        await asyncio.wait([creating])
        await storage.close()


def _create_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sort(system: System, acks: Sequence[Ack], found: _Found) -> None:
    """Sort the acks by the events that they were for, and find when each member's run was started."""
    for_us = system.slack.mention()
    acked: dict[str, float] = {}
    for ack in acks:
        if ack.event.get("user") not in (system.slack.person, GUEST):
            continue  # our own cards and answers are events, too
        ours = for_us in ack.event["text"]
        (found.mentions if ours else found.chatter).append(ack.seconds)
        found.again += ack.attempts > 1
        if ours and ack.event["channel"] == system.slack.general:
            acked[ack.event["ts"]] = min(ack.at, acked.get(ack.event["ts"], ack.at))
    queued = {line["conversation"].rpartition("/")[2] for line in system.logged("queued")}
    started = {line["conversation"].rpartition("/")[2]: line["timestamp"] for line in system.logged("run_started")}
    found.starts = [
        datetime.fromisoformat(started[ts]).timestamp() - at
        for ts, at in acked.items()
        if ts in started and ts not in queued
    ]


def _show(section: Section, store: str, found: _Found) -> None:
    beside = [("one create in the same store", found.creates)]
    if found.synced:
        beside.append(("one file created and synced to the same disk", found.synced))
    for what, theirs in beside:
        section.figures += [
            _figure(f"mention → ack, p{percent}, journal in {store}", found.mentions, what, theirs, percent, "≤ ×2.5")
            for percent in (50, 99)
        ]
    section.figures += [
        _figure(f"chatter → ack, p{percent}, journal in {store}", found.chatter, *beside[0], percent, "")
        for percent in (50, 99)
    ]
    starts = [f"p{p} {percentile(found.starts, p):.2f} s" for p in (50, 99)]
    section.notes.append(
        f"Journal in {store}: ack → run started, without waiting in line: {', '.join(starts)} "
        f"({len(found.starts)} runs). Events sent again for want of an ack: {found.again}. Objects that chatter left "
        f"in the journal: {found.wrote}."
    )


def _figure(
    what: str, ours: Sequence[float], beside: str, theirs: Sequence[float], percent: int, target: str
) -> Figure:
    mine, other = percentile(ours, percent), percentile(theirs, percent)
    return Figure(
        what,
        milliseconds(mine),
        f"{beside}, p{percent}",
        milliseconds(other),
        f"×{mine / other:.1f}",
        target,
        len(ours),
    )
