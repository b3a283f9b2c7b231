"""How long it takes after a death until the agent works again, and how much work is lost: real workers, real SIGKILL.

A worker's death: one of several workers is killed in the middle of its turn, and another run goes on with its
conversation. A dispatcher's death: of two dispatchers, the one with the runs is killed, its workers end with it, and
the other goes on. The time ends with the first model request of the new run, as its gateway sees it. The agent writes
the time into a file all the while. The newest time that the next run finds there, compared with the moment of the
death, is the lost work.
"""

import asyncio
import json
import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from system import System, eventually

from bench.figures import Section, Table, logged, now, percentile, seconds
from peerbot.conversation.keys import Conversation

WORK_SECONDS = 100  # less than the time that Claude Code gives a command (120 s)
WRITE_SECONDS = 0.1  # between two times that the agent writes: no smaller loss of work is seen
CHECKPOINT_SECONDS = 3.0  # the default
FILE = "times.txt"
DEADLINE_SECONDS = 60.0

WORK = f"""run ```
python3 - <<'END'
import pathlib, time
file, end = pathlib.Path('{FILE}'), time.time() + {WORK_SECONDS}
goes_on = file.exists()
if goes_on:
    print('went on from', file.read_text().split()[-1])
while time.time() < end and not (goes_on and ENDS):
    with file.open('a') as times:
        print(time.time(), file=times)
    time.sleep({WRITE_SECONDS})
END
```"""
STEPS = {
    "process_ended": "its dispatcher has seen the death",
    "run_died": "the run is closed, with the reason",
    "process_started": "the next worker's process is started",
    "worker_up": "the worker's Python is up (sandbox, imports)",
    "run_started": "start call answered",
    "turn_begun": "turn begun",
    "workspace_ready": "repository cloned, branch checked out",
    "saved_state_found": "checkpoint fetched, its commits are there",
    "agent_imported": "SDK imported (beside the clone)",
    "agent_started": "Claude Code CLI is up",
    "model_request": "first model request of the new run",
}


@dataclass
class _Deaths:
    """The cost of one kind of death."""

    back: list[float] = field(default_factory=list)  # seconds until the first model request of the next run
    begun: list[float] = field(default_factory=list)  # for comparison: from a mention to the first run's request
    lost: list[float] = field(default_factory=list)  # seconds of work that the next run did not find
    steps: dict[str, list[float]] = field(default_factory=dict)

    def add(self, steps: dict[str, float]) -> None:
        self.back.append(steps["model_request"])
        for name, at in steps.items():
            self.steps.setdefault(name, []).append(at)


async def measure(directory: Path, *, quick: bool) -> Section:
    workers, dispatchers, count = _Deaths(), _Deaths(), 2 if quick else 8
    for batch in range(1 if quick else 2):
        await _kill_workers(directory / f"workers-{batch}", workers, count)
        await _kill_dispatchers(directory / f"dispatchers-{batch}", dispatchers, count)
    return Section(
        "After a death",
        tables=[
            Table(
                "Seconds from SIGKILL to the first model request of the next run, and seconds of work lost:",
                ["what", "median", "p95", "longest", "target", "samples"],
                [
                    _row("a worker dies → its agent works again", workers.back, "< 5 s"),
                    _row("… until the next worker's process is started", workers.steps["process_started"], ""),
                    _row("one of two dispatchers dies → its conversations go on", dispatchers.back, "< 10 s"),
                    _row("… until the next worker's process is started", dispatchers.steps["process_started"], ""),
                    _row("beside it: a mention → first model request", workers.begun + dispatchers.begun, ""),
                    _row(f"work lost, a checkpoint every {CHECKPOINT_SECONDS:g} s", workers.lost, "≤ 5 s"),
                ],
            ),
            _where("a worker's death", workers),
            _where("a dispatcher's death", dispatchers),
        ],
    )


def _row(what: str, values: list[float], target: str) -> list[str]:
    return [
        what,
        *(seconds(v) for v in (median(values), percentile(values, 95), max(values))),
        target,
        str(len(values)),
    ]


def _where(what: str, deaths: _Deaths) -> Table:
    found = {name: median(deaths.steps[name]) for name in STEPS if name in deaths.steps}
    rows, before = [], 0.0
    for name, at in sorted(found.items(), key=lambda item: item[1]):
        rows.append([STEPS[name], f"{at:.3f}", f"{at - before:.3f}"])
        before = at
    return Table(
        f"Where the time goes after {what} (medians, seconds after it):", ["step", "at", "after that before"], rows
    )


async def _kill_workers(directory: Path, deaths: _Deaths, count: int) -> None:
    """Kill `count` workers, one after the other, each at another moment between two checkpoints."""
    settings = {"PEERBOT_CHECKPOINT_SECONDS": f"{CHECKPOINT_SECONDS:g}", "WORKER_IDLE_SECONDS": "0"}
    async with System(directory, settings) as system:
        await system.start()
        await system.ask("hello")  # makes the person's repository
        at_work = [await _at_work(system, WORK.replace("ENDS", "True"), deaths) for _ in range(count)]
        for number, (conversation, identity, since) in enumerate(at_work):
            moment = since + CHECKPOINT_SECONDS * (1.1 + number / count)  # the first checkpoint is there
            await asyncio.sleep(max(0.0, moment - now()))
            worker, died_at = _worker_pid(system, conversation, 1), now()
            if worker is None:
                continue  # this machine was so slow that the work was done before
            os.kill(worker, signal.SIGKILL)
            deaths.add(await _steps(system, conversation, 2, died_at))
            turn = await system.answer(conversation, identity)
            found = re.search(r"went on from ([\d.]+)", turn.text)
            if not found:
                raise RuntimeError(f"the next run found no work: {turn.text}")
            deaths.lost.append(died_at - float(found[1]))


async def _kill_dispatchers(directory: Path, deaths: _Deaths, count: int) -> None:
    """Kill the dispatcher that has the runs, again and again, until `count` conversations went on elsewhere.

    Each of them loses its dispatcher once: the next time the next run would wait a little (decision 0021).
    """
    async with System(directory, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        await system.start()
        await system.ask("hello")
        work = WORK.replace("ENDS", "True")
        at_work: dict[Conversation, str] = {}
        since = 0.0
        wanted = len(deaths.back) + count
        while len(deaths.back) < wanted:
            while len(at_work) < 2:
                conversation, identity, since = await _at_work(system, work, deaths)
                at_work[conversation] = identity
            await asyncio.sleep(max(0.0, since + 1.5 * CHECKPOINT_SECONDS - now()))  # the first checkpoint is there
            owners = {conversation: _owner(system, conversation, 1) for conversation in at_work}
            victim = next(iter(owners.values()))
            died_at = now()
            os.kill(victim, signal.SIGKILL)
            hit = [conversation for conversation, owner in owners.items() if owner == victim]
            for conversation in hit:
                deaths.add(await _steps(system, conversation, 2, died_at))
            for conversation in hit:
                await system.answer(conversation, at_work.pop(conversation))
            await system.start()


async def _at_work(system: System, work: str, deaths: _Deaths) -> tuple[Conversation, str, float]:
    """Begin a conversation, and wait until its agent is at work; returns it, its input, and that moment."""
    said_at = now()
    conversation, identity = await system.say(work)
    await eventually(lambda: _times(system, conversation, 1).stat().st_size > 0, DEADLINE_SECONDS)
    since = now()
    deaths.begun.append(logged(system.log_file, str(conversation), said_at)["model_request"] - said_at)
    return conversation, identity, since


def _folder(system: System, conversation: Conversation, run: int) -> Path:
    return Path(system.directory) / "data" / "runs" / conversation.job_name(run)


def _times(system: System, conversation: Conversation, run: int) -> Path:
    return _folder(system, conversation, run) / "workspace" / FILE


def _owner(system: System, conversation: Conversation, run: int) -> int:
    """Find the dispatcher that holds a run."""
    note: dict[str, Any] = json.loads((_folder(system, conversation, run) / "run.json").read_text())
    return int(note["dispatcher"])


def _worker_pid(system: System, conversation: Conversation, run: int) -> int | None:
    """Find the worker itself, below its guard and its sandbox; None if it has ended."""
    started = [
        e for e in system.logged("process_started") if e["conversation"] == str(conversation) and e["run"] == run
    ]
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(started[0]["pid"]).children(recursive=True):
            line = process.cmdline()
            if "peerbot.worker" in line and "python" in Path(line[0]).name:
                return int(process.pid)
    return None


async def _steps(system: System, conversation: Conversation, run: int, died_at: float) -> dict[str, float]:
    """Wait until the next run has asked the model; returns when each step was taken, in seconds after the death."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            seen = logged(system.log_file, str(conversation), died_at)
            if "model_request" in seen:
                break
            await asyncio.sleep(0.2)  # seldom: reading the log takes CPU from the measured processes
    worker = logged(_folder(system, conversation, run) / "worker.log", str(conversation), died_at)
    return {name: at - died_at for name, at in {**worker, **seen}.items()}
