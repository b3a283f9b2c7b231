"""The base of every test: no setting of the person who runs it, and no task left behind."""

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import islice

import pytest
from hypothesis import HealthCheck, settings

from peerbot import logs

_OURS = ("PEERBOT_", "SLACK_", "GITHUB_", "ANTHROPIC_", "CLAUDE_", "GCS_", "WORKER_", "GATEWAY_", "SESSION_", "AWS_")

for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]


# The time that it takes to draw examples shows how busy the machine is, and says nothing about the code.
settings.register_profile("ours", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("ours")

LONG_SECONDS = 300.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a chaos run: `make chaos ARGS="--conversations 50 --seed 7"`."""
    chaos = parser.getgroup("chaos", "the chaos run")
    chaos.addoption("--conversations", type=int, default=500, help="how many conversations are held")
    chaos.addoption("--seed", type=int, default=1, help="the same seed makes the same plan of messages and faults")
    chaos.addoption("--minutes", type=float, default=20, help="how long it may take, all told")
    chaos.addoption("--into", default="", help="a directory for logs and reports; else a temporary one")


@pytest.hookimpl(trylast=True)  # when `-m` has left tests out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of xdist's workers its share of the long tests first. One that begins last would keep CI waiting.

    A test is long if its own limit is. `--dist worksteal` cuts the list into as many equal parts as there are workers.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long = sorted((item for item in items if _limit(item) >= LONG_SECONDS), key=_limit, reverse=True)
    others = iter([item for item in items if _limit(item) < LONG_SECONDS])
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        mine = long[worker::workers]
        size = (len(items) - len(dealt)) // (workers - worker)
        dealt += [*mine, *islice(others, max(0, size - len(mine)))]
    items[:] = [*dealt, *others]


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker and marker.args else 0.0


@pytest.fixture(autouse=True)
def logs_are_ours() -> None:
    """Structured logs into what pytest captures."""
    logs.configure("DEBUG")


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Check that everything a test starts has ended when the test ends."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()]
    if left:
        await asyncio.wait(left, timeout=5.0)  # a request to a server that is gone may be between two tries
    left = [task for task in left if not task.done()]
    assert not left, f"tasks are left: {left}"
