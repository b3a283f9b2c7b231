"""Whatever an agent does with git and its files, nothing of it is lost: random sequences, then an end.

`make slow` plays the same sequences each time. To look for new ones:
`KEEP_EXAMPLES=300 make slow ARGS="-k keep_random --hypothesis-seed=$RANDOM"`.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keep_checker import captured
from keep_world import KeepWorld, Run, keep_world
from test_keep import assert_nothing_lost

from peerbot.worker.keep import Kept

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATHS = st.sampled_from(["shared.txt", "kept.txt", "new.txt", "docs/page.md", "deep/er/new.txt", "docs", "a b.txt"])
REVISIONS = st.sampled_from(["HEAD", "HEAD~1", "main", "origin/main", "one", "two", "-"])
BRANCHES = st.sampled_from(["one", "two"])
WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta"])

WRITE = st.builds("mkdir -p \"$(dirname '{0}')\"; echo {1} > '{0}'".format, PATHS, WORDS)
STEPS: st.SearchStrategy[str] = st.one_of(
    WRITE,
    WRITE,
    st.builds("echo {1} >> '{0}'".format, PATHS, WORDS),
    st.builds("sed -i s/two/{0}/ shared.txt".format, WORDS),
    st.builds("rm -rf '{0}'".format, PATHS),
    st.builds("git mv '{0}' moved.txt".format, PATHS),
    st.builds("git add --all; git commit -qm '{0}'".format, WORDS),
    st.builds("git commit -qam '{0} of all'".format, WORDS),
    st.builds("git add '{0}'".format, PATHS),
    st.builds("git add -f x.log; echo {0} > x.log".format, WORDS),
    st.builds("git commit -q --amend -m '{0} again'".format, WORDS),
    st.builds("git checkout -q -b {0} {1}".format, BRANCHES, REVISIONS),
    st.builds("git checkout -q {0}".format, REVISIONS),
    st.builds("git checkout -q --detach {0}".format, REVISIONS),
    st.builds("git branch -f {0} {1}".format, BRANCHES, REVISIONS),
    st.builds("git merge -q {0} -m 'Merge it'".format, REVISIONS),
    st.builds("git rebase -q {0}".format, REVISIONS),
    st.builds("git cherry-pick {0}".format, REVISIONS),
    st.builds("git revert --no-edit {0}".format, REVISIONS),
    st.builds("git reset -q --{0} HEAD~1".format, st.sampled_from(["soft", "mixed", "hard"])),
    st.builds("git stash {0}".format, st.sampled_from(["-q", "-q -u", "pop", "apply"])),
    st.builds("git tag -f {0}".format, st.sampled_from(["v1", "v2"])),
    st.sampled_from(
        [
            "git rebase --abort",
            "git merge --abort",
            "git cherry-pick --abort",
            "git checkout -q --orphan fresh",
            "git worktree add -q .claude/worktrees/w -b helper",
            "(cd .claude/worktrees/w && echo w > w.txt && git add w.txt && git commit -qm 'In a worktree')",
            "git init -q inner; echo i > inner/i.txt; (cd inner; git add .; git commit -qm Inner)",
            "git rm -rq --cached docs",
            "rm -rf .git",
            "rm -rf .git; git init -q; git add --all; git commit -qm 'Made again'",
            "touch .git/index.lock",
            "git config core.bare true",
            "git update-index --assume-unchanged kept.txt",
            "git sparse-checkout set src",
            "mkfifo pipe",
            "ln -s /nowhere broken; ln -s kept.txt link",
            "chmod +x kept.txt",
            "echo '*.txt' >> .gitignore",
            "git bisect start; git bisect bad; git bisect good main",
        ]
    ),
)
SEQUENCES = st.lists(STEPS, min_size=1, max_size=12)

FOUND = [
    ["echo alpha > x.log", "rm -rf .git"],
    ["echo '*.txt' >> .gitignore; echo alpha > kept.txt", "rm -rf .git"],
    ["mkfifo pipe"],
    ["git reset -q --soft HEAD~1", "git stash -q", "git commit -q --amend -m 'alpha again'"],
    ["git stash -q", "rm -rf .git; git init -q; git add --all; git commit -qm Again; echo x > x.txt; git stash -q -u"],
    ["git revert --no-edit HEAD", "git worktree add -q .claude/worktrees/w -b helper"],
]

Ending = Callable[[KeepWorld, Run], Coroutine[Any, Any, Kept]]


class Worlds:
    """One world for all examples, on one event loop; each example is a conversation of its own in it."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._directory = directory
        self.world = self._runner.run(self._stack.enter_async_context(keep_world(directory)))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def play(self, steps: list[str], ending: Ending) -> None:
        self._runner.run(self._played(steps, ending))

    async def _played(self, steps: list[str], ending: Ending) -> None:
        world = self.world
        world.items.clear()
        world.runs, world.homes = 0, Path(tempfile.mkdtemp(dir=self._directory))
        run = await world.begun()
        await run.agent("\n".join(steps))
        before = await asyncio.to_thread(captured, run.path, world.bare)
        base = world.files("main")
        kept = await ending(world, run)
        assert_nothing_lost(world, before, base, kept)


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with tempfile.TemporaryDirectory() as directory:
        worlds = Worlds(Path(directory))
        try:
            yield worlds
        finally:
            worlds.close()


async def done(_world: KeepWorld, run: Run) -> Kept:
    """The turn ends."""
    return await run.end()


async def killed(world: KeepWorld, run: Run) -> Kept:
    """The worker is killed after a checkpoint, and the next run's turn ends without more work."""
    await run.save()
    again = await world.run(run.item)
    await again.begin()
    return await again.end()


def play(worlds: Worlds, ending: Ending, *phases: Phase) -> None:
    """Play random sequences, each with this ending; raises as soon as something is lost."""
    checking = settings(
        max_examples=int(os.environ.get("KEEP_EXAMPLES", "30")),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=phases or (Phase.explicit, Phase.generate, Phase.shrink),
    )
    checking(given(steps=SEQUENCES)(lambda steps: worlds.play(steps, ending)))()


@pytest.mark.parametrize("ending", [done, killed])
@pytest.mark.parametrize("steps", FOUND, ids=" && ".join)
def test_what_random_sequences_found(worlds: Worlds, steps: list[str], ending: Ending) -> None:
    worlds.play(steps, ending)


def test_nothing_is_lost_at_the_end_of_a_turn(worlds: Worlds) -> None:
    play(worlds, done)


def test_nothing_is_lost_when_a_worker_is_killed(worlds: Worlds) -> None:
    play(worlds, killed)


OLD_WAYS = {
    "pushes HEAD": "git add --all; git commit -qm Rest; git push -q {url} HEAD:refs/heads/{branch}",
    "adds all or nothing": "git add --all && git commit -qm Rest && git push -q {url} HEAD:refs/heads/{branch}",
}


@pytest.mark.parametrize("way", OLD_WAYS)
def test_the_checker_finds_what_the_old_ways_lose(worlds: Worlds, way: str) -> None:
    async def ending(world: KeepWorld, run: Run) -> Kept:
        await run.agent(OLD_WAYS[way].format(url=run.workspace.url, branch=world.branch))
        return Kept(None, [])

    with pytest.raises(AssertionError):
        play(worlds, ending, Phase.generate)
