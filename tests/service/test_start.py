"""The text for an operator if `peerbot dispatcher` can't start: all problems at once, in sentences, no secret."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from system import System

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s3cr3t-Value-of-a-credential"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The servers alone."""
    async with System(tmp_path_factory.mktemp("system")) as system:
        yield system


async def _started(environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and standard error of a dispatcher that does not come up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", "dispatcher", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, said.decode()


def _last_line(said: str) -> str:
    """Return the last line, which comes after the log; the log itself is JSON."""
    assert "Traceback" not in [line for line in said.splitlines() if not line.startswith("{")]
    return said.splitlines()[-1]


async def test_every_problem_of_the_settings_is_told_at_once(tmp_path: Path) -> None:
    code, said = await _started(
        {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "SLACK_BOT_TOKEN": SECRET,
            "CLAUDE_CODE_OAUTH_TOKEN": SECRET,
            "GITHUB_API_URL": "github.example",
            "PORT": "three thousand",
            "SESSION_TIMEOUT_MINUTES": "0",
            "SLACK_ALLOW_DIRECT_MESSAGES": "perhaps",
            "LOG_LEVEL": "loud",
            "PEERBOT_SANDBOX": "maybe",
            "PEERBOT_MODLE": "claude",
        }
    )

    assert code == 2
    assert said.splitlines() == [
        "peerbot: Correct these settings:",
        "  - PEERBOT_MODLE is not a setting",
        "  - SLACK_BOT_TOKEN: a bot token begins with xoxb-",
        "  - SLACK_APP_TOKEN is missing: Slack's app-level token for Socket Mode (`xapp-…`).",
        "  - SLACK_ALLOW_DIRECT_MESSAGES: it has to be true or false",
        "  - GITHUB_TOKEN is missing: A GitHub token that may create repositories, push and open pull requests.",
        "  - GITHUB_API_URL: an address begins with https:// (or http://)",
        "  - ANTHROPIC_API_KEY is missing: The key for Claude's API. It stays in the dispatcher.",
        "  - CLAUDE_CODE_OAUTH_TOKEN: PeerBot does not support subscription tokens yet: use ANTHROPIC_API_KEY instead",
        "  - PEERBOT_SANDBOX: it has to be 'on' or 'off'",
        "  - PORT: it has to be a whole number",
        "  - SESSION_TIMEOUT_MINUTES: it has to be greater than 0",
        "  - LOG_LEVEL: it has to be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ]


@pytest.mark.parametrize("url", ["postgres://journal", "file:journal", "gs://", "s3://"])
async def test_a_store_that_is_none_is_wrong_settings_too(system: System, url: str) -> None:
    code, said = await _started(system.environment | {"PEERBOT_STORE": url})

    assert code == 2
    assert re.match(r"peerbot: (The store|PeerBot does not know the store) ", _last_line(said))


@pytest.mark.parametrize(
    ("name", "token", "sentence"),
    [
        ("SLACK_BOT_TOKEN", f"xoxb-{SECRET}", "Slack does not accept the bot token. Check SLACK_BOT_TOKEN."),
        (
            "SLACK_APP_TOKEN",
            f"xapp-{SECRET}",
            "Slack does not accept the app token (invalid_auth). Check SLACK_APP_TOKEN",
        ),
    ],
)
async def test_a_token_that_slack_refuses_is_told_by_the_settings_name(
    system: System, name: str, token: str, sentence: str
) -> None:
    code, said = await _started(system.environment | {name: token})

    assert code == 1
    assert _last_line(said).startswith(f"peerbot: {sentence}")
    assert SECRET not in said


@pytest.mark.parametrize("name", ["PORT", "GATEWAY_PORT", "PEERBOT_METRICS_PORT"])
async def test_a_port_that_is_taken_is_told(system: System, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await _started(system.environment | {name: str(port)})

    assert code == 1
    assert _last_line(said) == f"peerbot: Port {port} is in use, or PeerBot may not use it. Set {name} to another one."
    assert "Unclosed" not in said


async def test_a_journal_that_cannot_be_written_is_told(system: System, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    code, said = await _started(system.environment | {"PEERBOT_STORE": (tmp_path / "file").as_uri()})

    assert code in (1, 2)
    assert str(tmp_path / "file") in _last_line(said)


async def test_a_slack_that_is_not_there_is_told(system: System) -> None:
    code, said = await _started(system.environment | {"SLACK_API_URL": "http://127.0.0.1:9/api/"})

    assert code == 1
    assert "Slack did not answer" in _last_line(said)
