"""The table of what is kept, through the user's door: a message in Slack, the real Claude Code CLI, the real worker.

Each row, and each pair of rows that can meet, meets three ends: its turn is done, its worker is killed, its time is
over. They work side by side in one system, each in a conversation of its own (`make states`: they need the machine for
themselves). `make states` plays every third pair, and `KEEP_PAIRS=all make states` all of them.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import psutil
import pytest
from keep_checker import captured, lost, unfit
from keep_world import SEED, kinds, shell
from saved_state import SavedState, bundles, opened
from system import System, eventually
from test_keep import MEET, ROWS

from peerbot.conversation.documents import Turn
from peerbot.conversation.notes import Left, LeftOut, Note, TimeUp

pytestmark = [pytest.mark.states, pytest.mark.timeout(900)]

CLOSED = (
    "echo s > secret.txt; chmod 000 secret.txt; mkdir closed; echo c > closed/c.txt; chmod 000 closed; echo b > b.txt"
)
PAIRS = {" and ".join(pair): (ROWS[pair[0]][0] + "\n" + ROWS[pair[1]][0], None) for pair in combinations(MEET, 2)}
ALL_ROWS: dict[str, tuple[str, list[Note] | None]] = {
    **ROWS,
    **PAIRS,
    # Root could read them; in its sandbox the agent is no root.
    "a file and a folder that can't be read": (
        CLOSED,
        [LeftOut(paths={"secret.txt": Left.UNREADABLE, "closed": Left.UNREADABLE}, kept=False)],
    ),
}
"""Scripts, and the notes that people read after them; None for a pair, whose notes depend on one another."""
SINGLE = [name for name in ALL_ROWS if name not in PAIRS]
PLAYED = list(PAIRS)[:: 1 if os.environ.get("KEEP_PAIRS") == "all" else 3]
EACH = pytest.mark.parametrize("names", [SINGLE, PLAYED], ids=["rows", "pairs"])
SIDE_BY_SIDE = 4
SECONDS = 120.0
PAUSE = """
mkdir -p build; touch build/ready
while [ ! -e build/go ]; do sleep 0.05; done
"""
FAST = {"PEERBOT_CHECKPOINT_SECONDS": "0.3", "WORKER_IDLE_SECONDS": "0", "WORKER_MAX_CONCURRENT": str(SIDE_BY_SIDE)}


@pytest.fixture
def settings() -> dict[str, str]:
    return FAST


@pytest.fixture
async def system(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[System]:
    async with System(tmp_path, settings) as system:
        await system.start()
        first = await system.ask("hello")  # makes the person's repository
        bare = system.github.repository_path(first.repository or "")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
        as_ada = "git config user.name Ada; git config user.email ada@example.com"
        seed = f"set -e; git clone -q {bare} seed; cd seed; {as_ada}\n{SEED}\ngit push -q origin main; echo pushed"
        assert shell(tmp_path, seed, environment).endswith("pushed\n")
        yield system


class Row:
    """One row at work in a system."""

    def __init__(self, system: System, name: str) -> None:
        self.system = system
        self.name = name
        self.script, self.notes = ALL_ROWS[name]

    async def begin(self) -> None:
        """Have the agent do it, and pause; returns when it pauses."""
        guarded = f"if [ -e probe.txt ]; then echo again; exit 0; fi\n{self.script}\n{PAUSE}"
        self.conversation, self.identity = await self.system.say(f"run ```\n{guarded}\n```")
        await eventually((self.workspace / "build" / "ready").exists, SECONDS)
        self.before = await asyncio.to_thread(captured, self.workspace, self.bare)

    @property
    def workspace(self) -> Path:
        return self.system.directory / "data" / "runs" / self.conversation.job_name(1) / "workspace"

    @property
    def bare(self) -> Path:
        [repository] = (self.system.directory / "github").glob("*/*/user-*.git")
        return repository

    def go(self) -> None:
        (self.workspace / "build" / "go").touch()

    async def saved_probe(self) -> None:
        """Change one more file, and wait until a checkpoint has it."""
        (self.workspace / "probe.txt").write_text("probe\n")

        def is_saved() -> bool:
            for bundle in self._bundles():
                with suppress(FileNotFoundError, subprocess.CalledProcessError), opened(bundle, self.bare) as state:
                    if "probe.txt" in state.files:
                        return True
            return False

        await eventually(is_saved, SECONDS)

    def kill(self) -> None:
        """Kill the worker itself, and nothing around it."""
        started = next(
            line for line in self.system.logged("process_started") if line["conversation"] == str(self.conversation)
        )
        for process in psutil.Process(started["pid"]).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[1:] == ["-I", "-m", "peerbot.worker"]:
                    process.kill()

    async def answered(self) -> Turn:
        return await self.system.answer(self.conversation, self.identity, SECONDS)

    def wrong(self, turn: Turn) -> list[str]:
        """What is lost, or where it may not be."""
        branch = self.conversation.branch
        listed = subprocess.run(
            ["git", "-C", str(self.bare), "branch", "--list", branch], check=True, capture_output=True, text=True
        ).stdout
        ref = branch if listed.strip() else "main"
        repository = SavedState(self.bare, {})
        files, base = repository.tree(ref), repository.tree("main")
        with ExitStack() as stack:
            found = self._bundles()
            saved = stack.enter_context(opened(found[-1], self.bare)) if found and turn.kept else None
            told = lost(self.before, files, base, github=self.bare, ref=ref, saved=saved, notes=turn.notes)
        return [f"{self.name}: {each}" for each in told + unfit(self.bare, ref, files, turn.notes)]

    def _bundles(self) -> list[Path]:
        return bundles(self.system.directory / "journal", str(self.conversation))


async def played(system: System, names: Iterable[str], ending: Callable[[Row], Coroutine[Any, Any, Turn]]) -> list[str]:
    """Play rows with one ending, some side by side; returns what went wrong."""
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(name: str) -> list[str]:
        async with places:
            row = Row(system, name)
            try:
                await row.begin()
                return row.wrong(await ending(row))
            except (AssertionError, TimeoutError) as error:  # the other rows go on
                return [f"{name}: {error!r}"]

    return [each for told in await asyncio.gather(*map(one, names)) for each in told]


@EACH
async def test_a_turn_that_is_done_loses_nothing(system: System, names: list[str]) -> None:
    async def done(row: Row) -> Turn:
        row.go()
        turn = await row.answered()
        if row.notes is not None:
            assert [kind for kind in kinds(turn.notes) if kind != "no_difference"] == kinds(row.notes)
        return turn

    assert await played(system, names, done) == []


@EACH
async def test_a_worker_that_is_killed_loses_nothing(system: System, names: list[str]) -> None:
    async def killed(row: Row) -> Turn:
        await row.saved_probe()
        row.kill()
        turn = await row.answered()
        assert turn.run == 2
        return turn

    assert await played(system, names, killed) == []


@EACH
@pytest.mark.parametrize("settings", [{**FAST, "SESSION_TIMEOUT_MINUTES": "0.25"}])
async def test_a_turn_whose_time_is_over_loses_nothing(system: System, names: list[str]) -> None:
    async def over(row: Row) -> Turn:
        turn = await row.answered()
        assert isinstance(turn.notes[0], TimeUp)
        return turn

    assert await played(system, names, over) == []
