"""An earlier release's journal is read: its conversations go on here."""

import asyncio
import json
import shutil
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


async def say(world: Path, conversation: str | None, words: str) -> dict[str, Any]:
    """Write a message with `peerbot try`, in a new thread for None; returns the document that it prints."""
    thread = ("--thread", conversation) if conversation else ()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "try", words, "--in", str(world), *thread, "--json"),
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


async def test_a_new_thread_goes_on_in_the_repository_that_was_used_before(world: Path) -> None:
    """It has no mark, and the journal has only its name; a conversation that began there shows that it is in use."""
    after = await say(world, None, "run ```\necho new > new.txt\n```")

    assert "There is a repository" not in after["answer"]
    assert committed(world, after["branch"], "new.txt") == "new\n"
    [settled] = (world / "journal" / "repositories").rglob("1.json")
    assert json.loads(settled.read_text())["id"]


async def test_a_name_that_was_claimed_before_and_never_used_proves_nothing(world: Path) -> None:
    """Release 0.1.0 claimed a name before it looked whether GitHub has a repository of that name."""
    shutil.rmtree(world / "journal" / "conversations")
    shutil.rmtree(world / "journal" / "pending")

    after = await say(world, None, "run ```\necho new > new.txt\n```")

    assert "There is a repository `peerbot-community/user-ada-lovelace` already" in after["answer"]
