"""Journals that an earlier release wrote are read: its conversations go on here."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORLD = Path(__file__).parent / "data" / "world-0.1.0.tar.gz"
ANSWERED = "T0LOCAL0001/C0GENERAL01/1795979997.436001"
INTERRUPTED = "T0LOCAL0001/C0GENERAL01/1795980023.178765"
SECONDS = 150.0


@pytest.fixture
def world(tmp_path: Path) -> Path:
    subprocess.run(["tar", "-xzf", str(WORLD), "-C", str(tmp_path)], check=True)
    return tmp_path / "world"


async def say(world: Path, conversation: str, words: str) -> dict[str, Any]:
    """Write a message with `peerbot try`; returns the document that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "try", words, "--in", str(world), "--thread", conversation, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed, told = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, told.decode()
    document: dict[str, Any] = json.loads(printed)
    return document


def turn(world: Path, conversation: str, k: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (world / "journal" / "conversations" / conversation / "turns" / f"{k}.json").read_text()
    )
    return document


def committed(world: Path, branch: str, file: str) -> str:
    repository = world / "github" / "repositories" / "peerbot-community" / "user-ada-lovelace.git"
    shown = ["git", "-C", str(repository), "show", f"{branch}:{file}"]
    return subprocess.run(shown, capture_output=True, check=True, text=True).stdout


async def test_an_answered_conversation_goes_on_with_its_session_and_its_branch(world: Path) -> None:
    before = turn(world, ANSWERED, 1)
    assert "notes" not in before, "the data is of a release without notes"

    after = await say(world, ANSWERED, "what did you change?")

    assert after["status"] == "done"
    assert "Earlier in this thread you asked: “Create a simple Python script" in after["answer"]
    assert (after["session"], after["branch"]) == (before["session"]["id"], before["branch"])
    assert after["pull_request"]["number"] == before["pull_request"]["number"] == 1
    assert len(after["runs"]) == 2


async def test_an_interrupted_conversation_goes_on_from_its_checkpoint(world: Path) -> None:
    """The dispatcher that starts here finds the marker and the open run of one that was killed."""
    after = await say(world, INTERRUPTED, "go on")

    assert committed(world, after["branch"], "half.txt") == "the first half"
    closed = json.loads((world / "journal" / "conversations" / INTERRUPTED / "runs" / "1.closed").read_text())
    assert closed["reason"] == "gone"
    assert "Earlier in this thread you asked: “run ```" in after["answer"]
    assert not list((world / "journal" / "pending").rglob("*-message"))
