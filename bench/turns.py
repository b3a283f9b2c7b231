"""A turn from its mention on, and a follow-up to a waiting run, beside the bare CLI: same prompt, same model."""

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import claude_agent_sdk
from system import System, eventually

from bench.figures import Clock, Figure, Section, Table, logged, milliseconds, now, seconds
from bench.trial import try_once
from peerbot.conversation.keys import Conversation
from peerbot.local.model import DemoModel
from peerbot.worker.agent import TOOLS

PROMPT = "Create a simple Python script that prints the first ten primes, and run it"
FOLLOW_UP = "what is in this repository?"
CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"

ANSWERED = "demo_model_answers"  # the model server has a request: the same point for us and for the bare CLI
STEPS = {
    "input_recorded": "input recorded",
    "reserved": "run reserved",
    "process_started": "worker's process started",
    "worker_up": "worker's Python is up (sandbox, imports)",
    "run_started": "start call answered",
    "turn_begun": "inputs fetched, turn begun",
    "workspace_ready": "repository cloned, branch checked out",
    "agent_imported": "SDK imported (beside the clone)",
    "agent_started": "Claude Code CLI is up",
    "model_request": "first request is at the gateway",
    ANSWERED: "first request is at the model",
}


@dataclass
class _Round:
    bare_first: float
    bare_total: float
    first: float
    answer: float
    follow_up: float
    steps: dict[str, float]


async def measure(directory: Path, *, quick: bool) -> Section:
    rounds = 2 if quick else 10
    clock = Clock.start()
    async with System(directory, {"WORKER_IDLE_SECONDS": "2"}) as system:
        await system.start()
        await system.ask(PROMPT)  # makes the person's repository, and warms the files up
        found = [await _round(system, clock, directory / f"bare-{number}") for number in range(rounds)]
    tried = [await try_once(PROMPT) for _ in range(1 if quick else 5)]
    return _section(found, tried)


async def _round(system: System, clock: Clock, folder: Path) -> _Round:
    bare_first, bare_total = await _bare(system.model, clock, folder)
    said = now()
    conversation, identity = await system.say(PROMPT)
    first = await clock.first(ANSWERED, said)
    await system.answer(conversation, identity)
    answer = now() - said
    worker_log = system.directory / "data" / "runs" / conversation.job_name(1) / "worker.log"
    await eventually(lambda: "turn_finished" in worker_log.read_text())
    steps = await _steps(system, conversation, worker_log, said) | {ANSWERED: first}

    asked = now()
    _, identity = await system.say(FOLLOW_UP, thread=conversation, mention=False)
    follow_up = await clock.first(ANSWERED, asked)
    await system.answer(conversation, identity)
    if (records := await system.journal.runs(conversation)) and len(records) != 1:
        raise RuntimeError("the follow-up was not served by the run that waited")
    await eventually(lambda: "process_ended" in logged(system.log_file, str(conversation), said), 20)
    return _Round(
        bare_first=bare_first,
        bare_total=bare_total,
        first=first - said,
        answer=answer,
        follow_up=follow_up - asked,
        steps={name: at - said for name, at in steps.items()},
    )


async def _steps(system: System, conversation: Conversation, worker_log: Path, said: float) -> dict[str, float]:
    """Find when each part was done, in the logs of the dispatcher and the worker, and in the journal."""
    record = await system.journal.run(conversation, 1)
    if record is None:
        raise RuntimeError("there is no run")
    dispatcher = logged(system.log_file, str(conversation), said)
    return {**logged(worker_log, str(conversation), said), **dispatcher, "reserved": record.run.reserved_at.timestamp()}


def _make_repository(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# A repository\n")
    us = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *us, *command], cwd=folder, check=True)


async def _bare(model: DemoModel, clock: Clock, folder: Path) -> tuple[float, float]:
    """Run the CLI alone; returns the seconds from its start to the model's first request, and to its end."""
    _make_repository(folder)
    home = folder.with_suffix(".home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_AUTH_TOKEN": model.api_key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ENABLE_TASKS": "0",
        "IS_SANDBOX": "1",
    }
    arguments = ["--permission-mode", "bypassPermissions", "--setting-sources", "", "--tools", ",".join(TOOLS)]
    began = now()
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        CLI, "-p", PROMPT, *arguments, cwd=folder, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    total = time.monotonic() - started
    if process.returncode or not (folder / "primes.py").exists():
        raise RuntimeError(f"the bare CLI did not do the work: {output.decode(errors='replace')[-1000:]}")
    return await clock.first(ANSWERED, began) - began, total


def _section(rounds: list[_Round], tried: list[float]) -> Section:
    bare_first, bare_total = median(r.bare_first for r in rounds), median(r.bare_total for r in rounds)
    first, answer = median(r.first for r in rounds), median(r.answer for r in rounds)
    follow_up = median(r.follow_up for r in rounds)
    count = len(rounds)
    bare = "bare CLI: start → first model request"
    added = median(r.first - r.bare_first for r in rounds)
    total = median(tried)
    caption = "Where the time goes, from a mention to the model's first request (seconds after the mention):"
    return Section(
        "A turn, beside the bare CLI",
        figures=[
            Figure(
                "mention → first model request", seconds(first), bare, seconds(bare_first),
                f"+{seconds(added)} (×{first / bare_first:.1f})", "≤ +1.5 s", count,
            ),
            Figure(
                "follow-up to a waiting run → model request", milliseconds(follow_up), bare, seconds(bare_first),
                f"×{follow_up / bare_first:.2f}", "< 100 ms", count,
            ),
            Figure(
                "mention → answer in the thread, with branch and pull request", seconds(answer),
                "bare CLI: start → end", seconds(bare_total),
                f"+{seconds(median(r.answer - r.bare_total for r in rounds))} (×{answer / bare_total:.1f})", "", count,
            ),
            Figure(
                "`peerbot try`, from start to end", seconds(total), "bare CLI: start → end", seconds(bare_total),
                f"+{seconds(total - bare_total)} (×{total / bare_total:.1f})", "", len(tried),
            ),
        ],
        tables=[Table(caption, ["step", "at", "after the step before"], _parts(rounds))],
    )  # fmt: skip


def _parts(rounds: list[_Round]) -> list[list[str]]:
    at = {name: median(r.steps[name] for r in rounds) for name in STEPS}
    rows, before = [], 0.0
    for name, moment in sorted(at.items(), key=lambda item: item[1]):
        rows.append([STEPS[name], f"{moment:.3f}", f"{moment - before:.3f}"])
        before = moment
    return rows
