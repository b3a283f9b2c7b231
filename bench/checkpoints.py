"""What checkpoints cost: the same turn with one every 3 s and without any, in large repositories, in turn.

The agent computes and changes files, about a second for each change. So if checkpoints take time from it, the turn
takes longer. The clone comes before both, varies by more than the difference, and does not count.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from system import System

from bench.figures import Section, Table, logged, mebibytes, now, seconds
from peerbot.conversation.documents import TurnStatus

EVERY_SECONDS, NEVER_SECONDS = 3.0, 3600.0
FILES = 30_000
FILES_A_FOLDER = 100
COMMITS = 2_048  # of a mebibyte each: 2 GiB of history
LARGE_FILES = 16  # that the commits change again and again
TARGET_PERCENT = 5

WORK = """run ```
python3 - <<'END'
import hashlib, pathlib
place, digest = pathlib.Path('work'), b''
place.mkdir(exist_ok=True)
for step in range(STEPS):
    for _ in range(SPINS):
        digest = hashlib.sha256(digest).digest()
    for file in range(3):
        (place / f'{(3 * step + file) % 20}.txt').write_text(f'{step} {digest.hex()}')
END
```"""


@dataclass(frozen=True)
class _Turn:
    wall: float  # from the start of Claude Code to the answer in the thread
    saves: list[float]  # when each checkpoint was kept


async def measure(directory: Path, *, quick: bool) -> Section:
    """Play the turn in both repositories, some times with checkpoints and without; returns the table."""
    steps, rounds = (8, 1) if quick else (60, 2)
    work = WORK.replace("STEPS", str(steps)).replace("SPINS", str(await asyncio.to_thread(_spins_a_second)))
    rows: list[list[str]] = []
    for name, make in (
        (f"{FILES:,} files", lambda: _many_files(FILES)),
        ("a long history", lambda: _long_history(COMMITS // (64 if quick else 1))),
    ):
        rows += await _in_repository(directory / name.replace(" ", "-"), name, make, work, rounds)
    return Section(
        "What checkpoints cost",
        tables=[
            Table(
                f"The same turn of about {steps} s of work that changes files every second, with a checkpoint every "
                f"{EVERY_SECONDS:g} s and without any (medians):",
                ["repository", "what", "with", "without", "difference", "target", "turns of each"],
                rows,
            )
        ],
    )


async def _in_repository(
    directory: Path, name: str, make: Callable[[], Iterator[bytes]], work: str, rounds: int
) -> list[list[str]]:
    found: dict[float, list[_Turn]] = {EVERY_SECONDS: [], NEVER_SECONDS: []}
    async with System(directory, {"WORKER_IDLE_SECONDS": "0"}) as system:
        dispatcher = await system.start()
        begun = await system.ask("hello")  # makes the person's repository
        path = system.github.repository_path(begun.repository or "")
        await asyncio.to_thread(_import, path, make())
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        await system.end(dispatcher)
        for every in (EVERY_SECONDS, NEVER_SECONDS) * rounds:
            found[every].append(await _turn(system, every, work))
    with_them, without = found[EVERY_SECONDS], found[NEVER_SECONDS]
    where, rows = f"{name}, {mebibytes(size)}", []
    ours, beside = (median(turn.wall for turn in turns) for turns in (with_them, without))
    difference = f"{ours - beside:+.2f} s ({100 * (ours - beside) / beside:+.1f} %)"
    target = f"≤ {TARGET_PERCENT} %"
    what = "the agent's start → answer"
    rows.append([where, what, seconds(ours), seconds(beside), difference, target, str(rounds)])
    counts = [str(median(len(turn.saves) for turn in turns)) for turns in (with_them, without)]
    took = [_took(b - a) for turn in with_them for a, b in zip(turn.saves, turn.saves[1:], strict=False)]
    each = f"{median(took):.2f} s each" if took else ""
    rows.append([where, "checkpoints", *counts, each, "", str(rounds)])
    return rows


async def _turn(system: System, every: float, work: str) -> _Turn:
    dispatcher = await system.start(PEERBOT_CHECKPOINT_SECONDS=f"{every:g}")
    said = now()
    conversation, identity = await system.say(work)
    turn = await system.answer(conversation, identity, 300)
    answered = now()
    if turn.status is not TurnStatus.DONE or turn.commit is None:
        raise RuntimeError(f"the turn did not do its work: {turn.text}")
    log = system.directory / "data" / "runs" / conversation.job_name(1) / "worker.log"
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    saves = [datetime.fromisoformat(e["timestamp"]).timestamp() for e in events if e["event"] == "checkpoint_saved"]
    await system.end(dispatcher)
    return _Turn(answered - logged(log, str(conversation), said)["agent_started"], saves)


def _took(gap: float) -> float:
    """Return the time that a save took, from the gap between two: the wait is 3 s, or nine times as long."""
    return max(gap - EVERY_SECONDS, 0.0) if gap < EVERY_SECONDS * 10 / 9 else gap / 10


def _spins_a_second() -> int:
    """How much of the agent's work takes a second here."""
    spins, digest, began = 200_000, b"", time.perf_counter()
    for _ in range(spins):
        digest = hashlib.sha256(digest).digest()
    return round(spins / (time.perf_counter() - began))


def _import(repository: Path, commits: Iterator[bytes]) -> None:
    """Add commits to the default branch of a bare repository."""
    command = [
        "git",
        "-C",
        str(repository),
        "-c",
        "core.compression=0",
        "fast-import",
        "--quiet",
        "--force",
        "--depth=0",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env={"PATH": os.environ["PATH"], "HOME": "/"})
    assert process.stdin
    for data in commits:
        process.stdin.write(data)
    process.stdin.close()
    if process.wait():
        raise RuntimeError("git fast-import failed")


def _commit(first: bool, files: dict[str, bytes]) -> Iterator[bytes]:
    yield b"commit refs/heads/main\ncommitter Bench <bench@example.org> 1700000000 +0000\ndata 6\nCommit\n"
    yield b"from refs/heads/main^0\n" if first else b""
    for path, data in files.items():
        yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"


def _many_files(count: int) -> Iterator[bytes]:
    names = (f"src/{number // FILES_A_FOLDER}/{number}.txt" for number in range(count))
    return _commit(True, {name: f"{name}\n".encode() * 20 for name in names})


def _long_history(commits: int) -> Iterator[bytes]:
    for number in range(commits):
        yield from _commit(number == 0, {f"data/{number % LARGE_FILES}.bin": os.urandom(2**20)})
