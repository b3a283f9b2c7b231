"""What a hostile agent costs others: another person's turn, `/health`, Slack's acks and the memory, beside each attack.

This program plays the hostile run over the worker's own protocol, with both of its tokens: the agent runs as its
worker's user. Before each attack the same is measured without it, in the same system.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import psutil
from system import System, eventually

from bench.attacker import HALF_OPEN, UPLOADS, Wanted
from bench.dispatcher import acks
from bench.figures import Figure, Section, mebibytes, milliseconds, percentile, seconds
from bench.relay import played_run
from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.process import raise_file_limit
from peerbot.worker.gateway import GatewayClient

HEALTH_SECONDS, MEMORY_SECONDS = 0.02, 0.02  # between two looks


@dataclass
class _Seen:
    """What others saw: seconds, and the dispatcher's memory at its highest."""

    turns: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    memory: int = 0


@dataclass
class _Target:
    """The system under attack, and the hostile run's side of it."""

    system: System
    process: psutil.Process
    gateway: str
    health: str
    hostile: GatewayClient
    other: Conversation
    turn: int


async def measure(directory: Path, *, quick: bool) -> Section:
    raise_file_limit()
    count = 2 if quick else 20
    attacks = {
        f"{UPLOADS} slow uploads": "uploads",
        f"{HALF_OPEN} half-open connections to each port": "connections",
        "forged transcripts and states": "forged",
    }
    section = Section("Another person beside a hostile agent")
    async with AsyncExitStack() as stack:
        target = await _target(stack, directory, quick)
        idle = target.process.memory_info().rss
        for name, attack in attacks.items():
            without = await _looked(target, count)
            async with _under(target, attack):
                beside = await _looked(target, count)
            section.figures += _figures(name, without, beside, idle)
    return section


def _figures(name: str, without: _Seen, beside: _Seen, idle: int) -> list[Figure]:
    rows = (
        ("another person's turn", beside.turns, without.turns, seconds),
        ("`/health`", beside.health, without.health, milliseconds),
        ("event → ack", beside.acks, without.acks, milliseconds),
    )
    found = []
    for what, ours, theirs, shown in rows:
        high, usual = percentile(ours, 95), percentile(theirs, 95)
        found.append(
            Figure(
                f"{what}, beside {name} (95th percentile)", shown(high), "the same without", shown(usual),
                f"×{high / usual:.2f} (medians: ×{percentile(ours, 50) / percentile(theirs, 50):.2f})",
                "< ×1.5", len(ours),
            )
        )  # fmt: skip
    memory = Figure(
        f"memory (RSS), beside {name}", mebibytes(beside.memory), "before all attacks", mebibytes(idle),
        f"×{beside.memory / idle:.2f}", "< ×2", 1,
    )  # fmt: skip
    return [*found, memory]


async def _target(stack: AsyncExitStack, directory: Path, quick: bool) -> _Target:
    settings = {"WORKER_IDLE_SECONDS": "600", "LOG_LEVEL": "INFO", "PEERBOT_RUN_BUDGET_USD": "1000"}
    system = await stack.enter_async_context(System(directory, settings))
    dispatcher = await system.start()
    gateway = f"http://127.0.0.1:{await system.port('gateway_port')}"
    health = f"http://127.0.0.1:{await system.port()}"
    root = await system.slack.say(system.slack.person, system.slack.general, "attack")
    hostile = await stack.enter_async_context(played_run(system, gateway, root))
    other, identity = await system.say("hello")
    await system.answer(other, identity)
    process = psutil.Process(dispatcher.pid)
    target = _Target(system, process, gateway, health, hostile, other, (await hostile.begin()).turn)
    await _looked(target, 1 if quick else 3)  # everything was loaded once
    return target


async def _looked(target: _Target, count: int) -> _Seen:
    """See what others see, in `count` turns of another person, and as many acks for each."""
    seen = _Seen()
    watching = [asyncio.create_task(_health(target, seen)), asyncio.create_task(_memory(target, seen))]
    try:
        for _ in range(count):
            await _turn(target, seen)
            seen.acks += await acks(target.system, 3)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return seen


async def _turn(target: _Target, seen: _Seen) -> None:
    """Measure a turn from its message to the journal: after that, Slack's own limits decide when the answer is seen."""
    system, conversation = target.system, target.other
    number = await system.journal.next_turn(conversation)
    written = system.directory / "journal" / "conversations" / str(conversation) / "turns" / f"{number}.json"
    began = time.monotonic()
    said = await system.say("hello", thread=conversation, mention=False)
    await eventually(written.exists)
    seen.turns.append(time.monotonic() - began)
    await system.answer(*said)


async def _health(target: _Target, seen: _Seen) -> None:
    """Ask for the dispatcher's health again and again, on a connection of its own each time, as a kubelet does."""
    while True:
        began = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"{target.health}/health") as reply,
        ):
            reply.raise_for_status()
            await reply.read()
        seen.health.append(time.monotonic() - began)
        await asyncio.sleep(HEALTH_SECONDS)


async def _memory(target: _Target, seen: _Seen) -> None:
    while True:
        seen.memory = max(seen.memory, target.process.memory_info().rss)
        await asyncio.sleep(MEMORY_SECONDS)


@asynccontextmanager
async def _under(target: _Target, attack: str) -> AsyncIterator[None]:
    """Let an attacker be at work, as a process of its own and behind everybody else for the machine's CPUs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.attacker", attack),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    hostile = target.hostile
    wanted = Wanted(
        target.gateway, target.health, hostile.url, hostile.agent_token, hostile._supervisor_token, target.turn
    )
    process.stdin.write(json.dumps(asdict(wanted)).encode() + b"\n")
    try:
        assert await process.stdout.readline() == b"at work\n"
        yield
    finally:
        process.kill()
        await process.wait()
