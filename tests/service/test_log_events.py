"""The log events that operators rely on name their conversation, run and turn, as `docs/log-events.md` says."""

import json
import re
from pathlib import Path

from system import System

ROOT = Path(__file__).parents[2]
SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
COMMON = {"dispatcher_started", "slack_connected", "input_recorded", "run_placed", "run_started", "turn_begun"} | {
    "turn_written", "answer_posted", "pull_request"
}  # fmt: skip


def promised() -> dict[str, set[str]]:
    """Each event of the page, with the fields that each of its lines has."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", (ROOT / "docs/log-events.md").read_text(), re.M)
    return {event: set(re.findall(r"`(\w+)`", about)) for event, about in rows}


async def test_each_line_names_what_it_is_about(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        turn = await system.ask(SCRIPT)
        assert turn.pull_request
        await system.end(system.dispatchers[0])
        lines = [json.loads(line) for line in system.log_file.read_text().splitlines() if line.startswith("{")]

    page = promised()
    ours = [line for line in lines if line["event"] in page and not line["logger"].startswith("peerbot.worker")]
    assert {line["event"] for line in ours} >= COMMON
    for line in ours:
        assert page[line["event"]] <= line.keys(), line
