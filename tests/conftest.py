"""What every test stands on: no setting of the person who runs it, and no task left behind."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from peerbot import logs

_OURS = ("PEERBOT_", "SLACK_", "GITHUB_", "ANTHROPIC_", "CLAUDE_", "GCS_", "WORKER_", "GATEWAY_", "SESSION_", "AWS_")

for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]


# How fast examples are drawn says how busy the machine is, and nothing of what they are drawn for.
settings.register_profile("ours", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a chaos run: `make chaos ARGS="--conversations 50 --seed 7"`."""
    chaos = parser.getgroup("chaos", "the chaos run")
    chaos.addoption("--conversations", type=int, default=500, help="how many conversations are held")
    chaos.addoption("--seed", type=int, default=1, help="the same seed makes the same plan of messages and faults")
    chaos.addoption("--minutes", type=float, default=20, help="how long it may take, all told")
    chaos.addoption("--into", default="", help="a directory for logs and reports; else a temporary one")


@pytest.fixture(autouse=True)
def logs_are_ours() -> None:
    """Structured logs into what pytest captures."""
    logs.configure("DEBUG")


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Whatever a test starts has ended when it ends."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()]
    if left:
        await asyncio.wait(left, timeout=1.0)
    left = [task for task in left if not task.done()]
    assert not left, f"tasks are left: {left}"
