"""A person goes on with the agent's session in their own terminal, with the real Claude Code CLI."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import claude_agent_sdk
import pytest
from after import COMMIT, press, told
from system import System

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation

CLAUDE = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The directory in which a person works."""
    folder = tmp_path / "desk" / "checkout"
    folder.mkdir(parents=True)
    return folder


async def ran(desk: Path, *command: str, **environment: str) -> tuple[int, str, str]:
    known = {"PATH": os.environ["PATH"], "HOME": str(desk.parent)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=desk, env=known | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode or 0, out.decode(), err.decode()


async def pull(system: System, desk: Path, *arguments: str) -> tuple[int, str, str]:
    return await ran(
        desk, sys.executable, "-m", "peerbot", "session", "pull", *arguments,
        PEERBOT_STORE=system.environment["PEERBOT_STORE"],
    )  # fmt: skip


async def worked(system: System) -> tuple[Conversation, Turn]:
    conversation, identity = await system.say(COMMIT.format("one"))
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    return conversation, turn


async def test_the_real_cli_remembers_the_conversation(system: System, desk: Path) -> None:
    conversation, turn = await worked(system)
    assert turn.session
    code, out, err = await pull(system, desk, str(conversation))
    assert code == 0, err
    assert out.strip() == f"claude --resume {turn.session.id}"
    assert turn.branch
    assert turn.branch in err
    system.model.seen.clear()
    code, out, err = await ran(
        desk, str(CLAUDE), "--resume", turn.session.id, "-p", "What did you do?", "--output-format", "json",
        ANTHROPIC_BASE_URL=system.model.url, ANTHROPIC_AUTH_TOKEN=system.model.api_key,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", CLAUDE_CODE_MAX_RETRIES="1", IS_SANDBOX="1",
    )  # fmt: skip
    assert code == 0, out + err
    assert json.loads(out)["session_id"] == turn.session.id
    read = system.read_by_model()
    assert "git commit -qm one" in read
    assert "What did you do?" in read

    # What the person said there is newer than the journal's.
    [file] = (desk.parent / ".claude" / "projects").rglob(f"{turn.session.id}.jsonl")
    local = file.read_text()
    code, _, err = await pull(system, desk, str(conversation))
    assert code == 1
    assert "entries that the journal does not have" in err
    assert file.read_text() == local
    code, _, err = await pull(system, desk, str(conversation), "--force")
    assert code == 0, err
    assert "What did you do?" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


async def test_a_link_to_the_thread_will_do_and_a_later_turn_replaces_what_was_pulled(
    system: System, desk: Path
) -> None:
    conversation, turn = await worked(system)
    link = f"https://acme.slack.com/archives/{conversation.channel}/p{conversation.thread_ts.replace('.', '')}"
    assert (await pull(system, desk, link))[0] == 0
    await system.ask("run `echo later`", thread=conversation, mention=False)
    reply = f"{link[:-6]}999999?thread_ts={conversation.thread_ts}&cid={conversation.channel}"
    code, _, err = await pull(system, desk, reply)
    assert code == 0, err
    assert turn.session
    [file] = (desk.parent / ".claude" / "projects").rglob(f"{turn.session.id}.jsonl")
    assert "echo later" in file.read_text()


async def test_everything_that_can_be_wrong_is_said(system: System, desk: Path) -> None:
    conversation, _ = await system.say("")
    unknown = Conversation(conversation.team, conversation.channel, "1700000000.000001")
    for wanted, code, words in (
        (str(conversation), 1, "no session"),
        (str(unknown), 1, "no conversation"),
        ("https://acme.slack.com/archives/C123/p1700000000000001", 1, "no conversation"),
        ("https://acme.slack.com/team/C123", 2, "not the address"),
        ("thread", 2, "is no conversation"),
    ):
        await system.delivered()
        found = await pull(system, desk, wanted)
        assert found[0] == code, found
        assert words in found[2], found
    away = await pull(system, desk, str(conversation), "--store", "file:///nowhere/at/all")
    assert away[0] == 2
    assert "There is no journal" in away[2]
    assert not (desk.parent / ".claude").exists()


async def test_the_button_shows_the_commands_to_the_person_alone(system: System, desk: Path) -> None:
    bob = system.add_person("U0BOB", "Bob")
    conversation, turn = await worked(system)
    await press(system, conversation, 1, Act.TERMINAL, bob)
    await press(system, conversation, 1, Act.TERMINAL)
    [said] = await told(system, bob)
    assert (await told(system, system.slack.person)) == [said]
    assert turn.session
    assert f"claude --resume {turn.session.id}" in said
    assert f"git switch {turn.branch}" in said
    [command] = [line for line in said.splitlines() if line.startswith("peerbot session pull")]
    code, out, err = await pull(system, desk, command.removeprefix("peerbot session pull "))
    assert (code, out) == (0, f"claude --resume {turn.session.id}\n"), err
    [clone] = [line.partition(" && ")[0] for line in said.splitlines() if line.startswith("git clone")]
    assert clone.removeprefix("git clone ").startswith(system.github.url)
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 1
