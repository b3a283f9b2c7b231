"""Nothing is lost: a crowd of conversations while everything dies, judged from outside."""

import asyncio
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from checker import judge
from evidence import gather
from gcs_server import gcs_server, make_bucket
from plan import make_plan
from report import report_of, write_stories
from world import ChaosSystem

from peerbot import logs

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


@pytest.fixture
def directory(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder of the whole run. It stays if somebody chose it, or if something was wrong."""
    into = request.config.getoption("--into")
    directory = Path(into or tempfile.mkdtemp(prefix="peerbot-chaos-")).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    yield directory
    report = directory / "report.json"
    if not into and report.exists() and json.loads(report.read_text())["problems"] == []:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def chaos(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChaosSystem]:
    with gcs_server() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
        bucket = f"chaos-{uuid.uuid4().hex}"
        make_bucket(google, bucket)
        logs.configure("ERROR")  # the report is what one reads
        async with ChaosSystem(directory, google=google, bucket=bucket) as system:
            yield system


async def test_every_message_gets_one_answer_whatever_dies(chaos: ChaosSystem, request: pytest.FixtureRequest) -> None:
    option = request.config.getoption
    plan = make_plan(option("--seed"), option("--conversations"))
    began = time.monotonic()
    _tell(
        f"\nseed {plan.seed}: {len(plan.talks)} conversations, {plan.messages} messages, {len(plan.blows)} faults; "
        f"logs and report: {chaos.directory}"
    )
    telling = asyncio.create_task(_tell_how_far(chaos, plan.messages))
    try:
        async with asyncio.timeout(option("--minutes") * 60):
            await chaos.play(plan)
            await chaos.blows.calm()
            await chaos.answered()
            await chaos.settle()
    finally:
        telling.cancel()
        evidence = await gather(chaos)
        problems = judge(evidence)
        report = report_of(chaos, plan, evidence, problems, time.monotonic() - began)
        report.write(chaos.directory)
        write_stories(chaos, evidence, report, chaos.directory)
        _tell(f"\n{report.markdown()}")

    assert [str(problem) for problem in problems] == [], f"the logs and a story of each conversation: {chaos.directory}"


async def _tell_how_far(chaos: ChaosSystem, messages: int) -> None:
    while True:
        await asyncio.sleep(15)
        answered = sum(said.identity in course.answered for course in chaos.courses for said in course.said)
        faults = chaos.blows.counts.total()
        _tell(f"{answered} of {messages} messages answered, {faults} faults, {len(chaos.workers())} workers")


def _tell(line: str) -> None:
    """The lines that `make chaos` shows while it goes on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
