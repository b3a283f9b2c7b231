"""What the agent made is on the branch, or it is saved and named: the table in docs/reliability.md, against real git.

The agent's part is a shell script; a real gateway, a local GitHub and the worker's own parts are around it. The checker
(`keep_checker.py`) looks from outside for anything that was in the workspace and is gone.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest
from faulty_proxy import Fault, faulty_proxy
from keep_checker import Captured, captured, lost, unfit
from keep_world import REPOSITORY, SEED, KeepWorld, Run, keep_world, kinds
from saved_state import bundles, opened

from peerbot.conversation.notes import (
    Elsewhere,
    Left,
    LeftOut,
    Moved,
    Nested,
    Note,
    Place,
    Replaced,
    Rewritten,
    Stashes,
    Stopped,
)
from peerbot.errors import Unavailable
from peerbot.worker.keep import Kept

CONFLICT = """git checkout -q -b other; sed -i s/two/TWO/ shared.txt; git commit -qam 'In capitals'; git checkout -q -
sed -i s/two/zwei/ shared.txt; git commit -qam 'In German'
"""
COMMITS = 'for i in 1 2 3 4; do echo $i > number.txt; git add number.txt; git commit -qm "Number $i"; done\n'
COMMIT = "echo a > a.txt; git add a.txt; git commit -qm 'Add a'\n"
FILE = "echo b > b.txt\n"
NESTED = (
    "mkdir inner; cd inner; git init -q; echo i > i.txt; git add i.txt; git commit -qm Inner; echo j > j.txt; cd ..\n"
)
WORKTREE = (
    "git worktree add -q .claude/worktrees/helper -b helper\n"
    "(cd .claude/worktrees/helper; echo h > h.txt; git add h.txt; git commit -qm 'Of a helper'; echo d > dirty.txt)\n"
)
LFS = "echo '*.bin filter=lfs diff=lfs merge=lfs -text' > .gitattributes; head -c 2000 /dev/zero > data.bin\n"
HOOKS = """mkdir -p .git/hooks; for hook in pre-commit commit-msg pre-push post-commit reference-transaction
do printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/$hook; chmod +x .git/hooks/$hook; done
"""

ROWS: dict[str, tuple[str, list[Note]]] = {
    "commits and files": (COMMIT + FILE + "rm gone.txt; echo more >> kept.txt", []),
    "nothing": ("ls", []),
    "a pipe and a file that is one now": (
        "mkfifo pipe; rm kept.txt; mkfifo kept.txt\n" + FILE,
        [LeftOut(paths={"kept.txt": Left.REFUSED_BY_GIT, "pipe": Left.REFUSED_BY_GIT}, kept=False)],
    ),
    "an encoding that fails": (
        "echo '*.u16 working-tree-encoding=UTF-16' > .gitattributes; printf abc > x.u16\n" + COMMIT,
        [LeftOut(paths={"x.u16": Left.REFUSED_BY_GIT}, kept=False)],
    ),
    "names": (
        "echo a > 'a b'; echo b > $'tab\\there'; echo c > $'line\\nend'; echo d > '\"q'; mkdir ./-d; echo e > ./-d/e",
        [],
    ),
    "a merge": (
        CONFLICT + "git merge other; " + FILE,
        [
            Stopped(operation="merge", files=("shared.txt",), kept=True),
            Elsewhere(places=(Place(name="other", commits=1),), kept=True),
        ],
    ),
    "a rebase": (
        CONFLICT + "git rebase other",
        [
            Stopped(operation="rebase", files=("shared.txt",), kept=True),
            Elsewhere(places=(Place(name="other", commits=1),), kept=True),
        ],
    ),
    "a cherry-pick": (
        CONFLICT + "git cherry-pick other",
        [
            Stopped(operation="cherry-pick", files=("shared.txt",), kept=True),
            Elsewhere(places=(Place(name="other", commits=1),), kept=True),
        ],
    ),
    "a revert": (
        "sed -i s/two/2/ shared.txt; git commit -qam Two\n"
        "sed -i s/2/II/ shared.txt; git commit -qam Roman; git revert --no-edit HEAD~1",
        [Stopped(operation="revert", files=("shared.txt",), kept=True)],
    ),
    "an am": (
        CONFLICT + "git format-patch -q -1 other; git am -3 0001-*",
        [
            Stopped(operation="am", files=("shared.txt",), kept=True),
            Elsewhere(places=(Place(name="other", commits=1),), kept=True),
        ],
    ),
    "a bisect": (
        COMMITS + "git bisect start; git bisect bad; git bisect good HEAD~3",
        [Stopped(operation="bisect", kept=True)],
    ),
    "a stash that conflicts": (
        "sed -i s/two/zwei/ shared.txt; git stash -q\n"
        "sed -i s/two/TWO/ shared.txt; git commit -qam Two; git stash pop\n" + FILE,
        [Stashes(count=1, kept=True), LeftOut(paths={"shared.txt": Left.CONFLICT}, kept=True)],
    ),
    "another branch on top": ("git checkout -q -b feature\n" + COMMIT + FILE, [Moved(place="feature")]),
    "a detached head on top": ("git checkout -q --detach\n" + COMMIT + FILE, [Moved(place="")]),
    "a renamed branch": ("git branch -m mine\n" + COMMIT + FILE, [Moved(place="mine")]),
    "another branch from before": (
        COMMITS + "git checkout -q -b feature main\n" + COMMIT + FILE,
        [Elsewhere(places=(Place(name="feature", commits=1),), files=True, kept=True)],
    ),
    "an older commit": (COMMITS + "git checkout -q HEAD~2", []),
    "an older commit with files": (
        COMMITS + "git checkout -q HEAD~2\n" + FILE,
        [Elsewhere(places=(), files=True, kept=True)],
    ),
    "a tag": (
        "git checkout -q --detach\n" + COMMIT + "git tag v1; git checkout -q -\n" + FILE,
        [Elsewhere(places=(Place(name="v1", commits=1),), kept=True)],
    ),
    "an orphan": (
        "git checkout -q --orphan fresh; git commit -qm Fresh\n" + FILE,
        [Elsewhere(places=(Place(name="fresh", commits=1),), files=True, kept=True)],
    ),
    "a worktree": (WORKTREE + FILE, [Elsewhere(places=(Place(name="helper", commits=1),), kept=True)]),
    "a worktree that was merged": (WORKTREE + "git merge -q helper", []),
    "a nested repository": (NESTED + FILE, [Nested(paths=("inner",), kept=True)]),
    "a nested repository that was committed": (
        NESTED + "git add .; git commit -qm All",
        [Nested(paths=("inner",), kept=True)],
    ),
    "a nested repository without a commit": (
        "git init -q inner; echo i > inner/i.txt\n" + FILE,
        [Nested(paths=("inner",), kept=True)],
    ),
    "stashes": (
        "echo x >> kept.txt; git stash -q; echo y >> kept.txt; git stash -q\n" + FILE,
        [Stashes(count=2, kept=True)],
    ),
    "ignored files": ("echo l > x.log; mkdir build; echo b > build/b; git add -f build/b\n" + FILE, []),
    "untracked files off": ("git config status.showUntrackedFiles no\n" + FILE, []),
    "no git": (COMMIT + "rm -rf .git\n" + FILE, [Replaced(files=True)]),
    "another git": (
        "rm -rf .git; git init -q -b trunk; git add -A; git commit -qm Again\n" + FILE,
        [Replaced(files=True), Elsewhere(places=(Place(name="trunk", commits=1),), kept=True)],
    ),
    "another git of the same name": (
        "B=$(git branch --show-current); rm -rf .git; git init -q -b $B; git add -A; git commit -qm Again\n" + FILE,
        [Replaced(files=True), Elsewhere(places=(Place(name="replaced-history", commits=1),), kept=True)],
    ),
    "LFS": (LFS + FILE, [LeftOut(paths={"data.bin": Left.LFS}, kept=True)]),
    "hooks": (HOOKS + FILE, []),
    "a key that is not there": ("git config commit.gpgsign true; git config user.signingkey nobody\n" + FILE, []),
    "a bare repository": ("git config core.bare true\n" + FILE, []),
    "locks": ("touch .git/index.lock .git/HEAD.lock\n" + FILE, []),
    "a broken configuration": ("echo '[[[' >> .git/config\n" + FILE, []),
    "a sparse checkout": ("git sparse-checkout set docs; echo a > docs/a.md", []),
    "assumed unchanged": ("git update-index --assume-unchanged kept.txt; echo more >> kept.txt", []),
    "a branch on the branch's name": (
        "git checkout -q --detach; git branch -D $(git branch --format='%(refname:short)' | grep peerbot)\n" + COMMIT,
        [Moved(place="")],
    ),
    "a file that became a folder": (
        "rm kept.txt; mkdir kept.txt; echo a > kept.txt/a; git rm -rq docs; echo f > docs",
        [],
    ),
    "links and modes": ("ln -s kept.txt link; ln -s /etc/hostname out; chmod +x kept.txt", []),
}


MEET = (
    "a merge",
    "a worktree",
    "a nested repository",
    "stashes",
    "another branch on top",
    "another branch from before",
    "a detached head on top",
    "LFS",
    "hooks",
    "a sparse checkout",
    "no git",
    "a pipe and a file that is one now",  # last: a shell that writes to the pipe would wait for a reader
)
"""Rows that can meet in one turn; each pair is played, one after the other."""
REBASED = "git fetch -q origin && git rebase -q origin/main\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeepWorld]:
    async with keep_world(tmp_path) as world:
        yield world


async def seen(world: KeepWorld, run: Run) -> tuple[Captured, dict[str, bytes]]:
    """The workspace before the turn ends, and the files that the branch had."""
    return await asyncio.to_thread(captured, run.path, world.bare), world.files(world.ref)


async def checked(world: KeepWorld, run: Run, *wrote: str) -> Kept:
    """End the turn, and look from outside whether anything was lost."""
    before, base = await seen(world, run)
    kept = await run.end(*wrote)
    assert_nothing_lost(world, before, base, kept)
    return kept


def assert_nothing_lost(world: KeepWorld, before: Captured, base: dict[str, bytes], kept: Kept) -> None:
    branch = world.files(world.ref)
    with ExitStack() as stack:
        saved = None
        if kept.part is not None:
            found = bundles(world.directory / "journal", str(world.items[0].conversation))
            saved = stack.enter_context(opened(found[-1], world.bare))
        assert lost(before, branch, base, github=world.bare, ref=world.ref, saved=saved, notes=kept.notes) == []
    assert unfit(world.bare, world.ref, branch, kept.notes) == []


@pytest.mark.parametrize("row", ROWS)
async def test_what_the_agent_made_is_on_the_branch_or_saved_and_named(world: KeepWorld, row: str) -> None:
    script, notes = ROWS[row]
    run = await world.begun()
    await run.agent(script)
    kept = await checked(world, run)

    assert kinds(kept.notes) == kinds(notes)
    assert kept.notes == notes


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(combinations(MEET, 2)), ids=" and ".join)
async def test_two_rows_that_meet_in_one_turn_lose_nothing(world: KeepWorld, pair: tuple[str, str]) -> None:
    run = await world.begun()
    for row in pair:
        await run.agent(ROWS[row][0])
    await checked(world, run)


async def killed(world: KeepWorld, rows: Sequence[str]) -> None:
    """Play rows, save a checkpoint, and end the turn in another run; looks whether anything was lost."""
    run = await world.begun()
    for row in rows:
        await run.agent(ROWS[row][0])
    before, base = await seen(world, run)
    await run.save()
    again = await world.run(world.items[0])
    await again.begin()
    kept = await again.end()

    assert_nothing_lost(world, before, base, kept)


@pytest.mark.parametrize("row", ROWS)
async def test_a_worker_that_is_killed_loses_nothing_that_a_checkpoint_has(world: KeepWorld, row: str) -> None:
    """The next run finds it, and without any more work by the agent the same gets on the branch, or is saved."""
    await killed(world, [row])


@pytest.mark.slow
@pytest.mark.parametrize("pair", list(combinations(MEET, 2)), ids=" and ".join)
async def test_two_rows_that_meet_lose_nothing_if_their_worker_is_killed(
    world: KeepWorld, pair: tuple[str, str]
) -> None:
    await killed(world, pair)


async def test_what_a_snapshot_found_in_the_agents_git_outlives_it(world: KeepWorld) -> None:
    """The state is too large to be saved, so nothing is copied; then the agent removes the only git that had it."""
    run = await world.begun()
    for n in range(8):
        (run.path / f"large-{n}.bin").write_bytes(os.urandom(9 * 1024 * 1024))
    await run.agent(
        "echo a > a.txt; mkdir deep; echo d > deep/d.txt; git rm -q gone.txt; git add --all; git commit -qm All"
    )
    await run.save()
    await run.agent("rm -rf .git")
    kept = await checked(world, run)

    assert kept.notes == [Replaced(files=True)]
    assert world.files(world.branch)["deep/d.txt"] == b"d\n"


async def test_a_lost_answer_to_a_checkpoint_does_not_stop_the_checkpoints_after_it(world: KeepWorld) -> None:
    """The gateway has kept it, and its worker does not know: the next state is another one."""
    run = await world.begun()
    async with faulty_proxy(world.server.url) as proxy:
        run.gateway.url = run.gateway.url.replace(world.server.url, proxy.url)
        proxy.plan = lambda method, _: Fault.LOSE_ANSWER if method == "PUT" else None
        await run.agent("echo one > file.txt")
        with pytest.raises(Unavailable):
            await run.save()
        proxy.plan = lambda *_: None
        await run.agent("echo two > file.txt")
        await run.save()

    [bundle] = bundles(world.directory / "journal", str(run.item.conversation))
    with opened(bundle, world.bare) as state:
        assert state.files["file.txt"] == b"two\n"


async def test_the_rewritten_branch_is_pushed_and_the_rewriting_told(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMITS)
    await checked(world, run)
    world.person("echo main > main.txt; git add .; git commit -qm 'On main'", "main")
    await run.begin()
    await run.agent(REBASED + "git commit -q --amend -m 'The last number'\n" + FILE)
    kept = await checked(world, run)

    assert kept.notes == [Rewritten(commits=4)]
    assert world.subjects() == ["Add what was asked for", "The last number", "Number 3", "Number 2", "Number 1"]
    assert "main.txt" in world.files(world.branch)


async def test_a_reset_of_pushed_commits_is_pushed(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMITS)
    await checked(world, run)
    await run.begin()
    await run.agent("git reset -q --hard HEAD~2")
    kept = await run.end()

    assert kept.notes == [Rewritten(commits=2)]
    assert world.subjects() == ["Number 2", "Number 1"]


async def test_commits_of_people_are_never_dropped_by_a_rewriting(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMITS)
    await checked(world, run)
    world.person('echo g > grace.txt; git add .; git commit -qm "Grace\'s"')
    await run.begin()
    assert "Grace's" in await run.agent("git log --format=%s")
    await run.agent("git reset -q --hard HEAD~3; echo mine > mine.txt; git add .; git commit -qm Mine")
    await run.end()

    assert {"grace.txt", "mine.txt"} <= world.files(world.branch).keys()
    assert {"Grace's", "Mine"} <= set(world.subjects())


async def test_a_rebase_that_takes_peoples_commits_along_drops_none(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMIT)
    await checked(world, run)
    world.person('echo g > grace.txt; git add .; git commit -qm "Grace\'s"')
    world.person("echo main > main.txt; git add .; git commit -qm 'On main'", "main")
    await run.begin()
    await run.agent(REBASED)
    kept = await run.end()

    assert kinds(kept.notes) == ["rewritten"]
    assert world.subjects() == ["Grace's", "Add a"]


async def test_a_push_by_somebody_else_meanwhile_is_merged(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMIT)
    await checked(world, run)
    await run.begin()
    await run.agent(FILE)
    world.person('echo g > grace.txt; git add .; git commit -qm "Grace\'s"')
    await run.end()

    assert {"a.txt", "b.txt", "grace.txt"} <= world.files(world.branch).keys()
    await run.begin()
    assert await run.agent("git status --porcelain; ls grace.txt") == "grace.txt\n"


async def test_a_push_by_somebody_else_that_conflicts_is_brought_together_by_the_agent(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMIT)
    await checked(world, run)
    await run.begin()
    await run.agent("echo mine > a.txt")
    world.person('echo theirs > a.txt; git commit -qam "Grace\'s"')
    kept = await run.end()
    assert kinds(kept.notes) == ["not_pushed"]
    assert kept.part == 1
    assert world.files(world.branch)["a.txt"] == b"theirs\n"

    again = await world.run(await world.say())
    standing = await again.begin()
    assert standing.diverged
    assert standing.diverged.files == ["a.txt"]
    await again.agent(f"{standing.diverged.command}; echo both > a.txt; git commit -qam Both")
    kept = await again.end()

    assert kept.notes == []
    assert world.files(world.branch)["a.txt"] == b"both\n"
    assert {"Grace's", "Both"} <= set(world.subjects())


@pytest.mark.parametrize("how", ["merge", "rebase", "cherry-pick"])
async def test_another_run_finishes_what_stopped_at_a_conflict(world: KeepWorld, how: str) -> None:
    run = await world.begun()
    await run.agent(CONFLICT + f"git {how} other")
    assert kinds((await checked(world, run)).notes) == ["stopped", "elsewhere"]

    again = await world.run(await world.say())
    standing = await again.begin()
    assert standing.operation == how
    assert "UU shared.txt" in await again.agent("git status --porcelain")
    said = await again.agent(
        "printf 'one\\nboth\\nthree\\n' > shared.txt; git add shared.txt\n"
        f"GIT_EDITOR=true git {how} --continue && git status"
    )
    assert "working tree clean" in said
    kept = await again.end()

    assert world.files(world.branch)["shared.txt"] == b"one\nboth\nthree\n"
    assert [kind for kind in kinds(kept.notes) if kind not in ("rewritten",)] == []
    assert "In capitals" in world.subjects() or how == "cherry-pick"


async def test_a_worktrees_commits_are_merged_by_another_run(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(WORKTREE)
    await checked(world, run)

    again = await world.run(await world.say())
    await again.begin()
    assert await again.agent("cat .claude/worktrees/helper/dirty.txt") == "d\n"
    await again.agent("git merge -q helper")
    await checked(world, again)
    assert world.files(world.branch)["h.txt"] == b"h\n"
    assert not any(path.startswith(".claude") for path in world.files(world.branch))


async def test_ignored_files_that_the_agent_wrote_with_its_tools_are_named(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent("echo l > notes.log; echo m > other.log\n" + FILE)
    kept = await checked(world, run, str(run.path / "notes.log"), str(run.path / "b.txt"))

    assert kept.notes == [LeftOut(paths={"notes.log": Left.IGNORED}, kept=False)]
    assert kept.part is None


async def test_what_the_checkout_itself_leaves_changed_is_no_work_of_the_agents(tmp_path: Path) -> None:
    """Line endings that `.gitattributes` would change, of files that were committed before it."""
    seed = (
        "printf 'a\\r\\nb\\r\\n' > old.txt; git add .; git commit -qm Old\n"
        "echo 'old.txt text' > .gitattributes; git add .gitattributes; git commit -qm Attributes"
    )
    async with keep_world(tmp_path, seed) as world:
        run = await world.begun()
        assert "old.txt" in await run.agent("touch old.txt; git status --porcelain")
        await run.agent(FILE)
        await checked(world, run)
        assert world.files(world.branch)["old.txt"] == b"a\r\nb\r\n"
        assert world.git("diff", "--name-only", "main", world.branch) == "b.txt"

        await run.begin()
        await run.agent("printf 'a\\r\\nc\\r\\n' > old.txt")
        await run.end()
        assert world.files(world.branch)["old.txt"] == b"a\nc\n"


async def test_a_repository_that_is_empty_gets_its_first_commit(tmp_path: Path) -> None:
    async with keep_world(tmp_path) as world:
        for ref in world.git("for-each-ref", "--format=%(refname)").split():
            world.git("update-ref", "-d", ref)
        run = await world.begun()
        await run.agent(FILE)
        await run.end()
        assert world.files(world.branch) == {"b.txt": b"b\n"}


async def test_a_file_that_is_too_large_for_github_costs_that_file_alone(world: KeepWorld) -> None:
    """Committed by the agent: its commits are on the branch without the file. Uncommitted: it stays out, too."""
    world.github.rules.largest_file_bytes = 100_000
    run = await world.begun()
    await run.agent(COMMIT + "head -c 200000 /dev/zero > big.bin; git add .; git commit -qm 'Big'; echo c > c.txt")
    await run.agent("git add .; git commit -qm 'Add c'; head -c 300000 /dev/zero > bigger.bin")
    kept = await checked(world, run)

    assert kept.notes == [LeftOut(paths={"big.bin": Left.TOO_LARGE, "bigger.bin": Left.TOO_LARGE}, kept=True)]
    assert world.subjects()[1:] == ["Add c", "Big", "Add a"]
    assert {"a.txt", "c.txt"} <= world.files(world.branch).keys()
    again = await world.run(await world.say())
    await again.begin()
    assert await again.agent("stat -c %s big.bin bigger.bin") == "200000\n300000\n"


async def test_a_secret_that_push_protection_finds_costs_its_file_alone(world: KeepWorld) -> None:
    world.github.rules.push_protection = True
    run = await world.begun()
    secret = f"ghp_{'a1B2' * 9}"
    await run.agent(COMMIT + f"echo 'token = {secret}' > config.py; git add .; git commit -qm Config; echo c > c.txt")
    kept = await checked(world, run)

    assert kept.notes == [LeftOut(paths={"config.py": Left.SECRET}, kept=True)]
    assert {"a.txt", "c.txt"} <= world.files(world.branch).keys()
    assert secret not in world.git("log", "-p", "--all")


async def test_a_secret_that_a_later_commit_took_back_costs_only_the_commit_that_had_it(world: KeepWorld) -> None:
    world.github.rules.push_protection = True
    run = await world.begun()
    secret = f"ghp_{'a1B2' * 9}"
    await run.agent(f"echo 'token = {secret}' > config.py; git add .; git commit -qm Config")
    await run.agent("echo 'token = None' > config.py; git commit -qam 'Without the token'\n" + FILE)
    kept = await run.end()

    assert kept.notes == []
    assert world.files(world.branch)["config.py"] == b"token = None\n"
    assert secret not in world.git("log", "-p", "--all")


async def test_files_that_belong_to_lfs_stay_out_however_they_came(world: KeepWorld) -> None:
    """Saved by a checkpoint before the rule was there, or committed by the agent: no raw file is on the branch."""
    run = await world.begun()
    await run.agent(
        "head -c 3000 /dev/zero > early.bin; printf 'version https://git-lfs.github.com/spec/v1\\n' > pointer.bin"
    )
    await run.save()
    await run.agent(LFS + "git add .gitattributes data.bin; git commit -qm Data\n" + FILE)
    await run.save()
    kept = await checked(world, run)

    assert kept.notes == [LeftOut(paths={"data.bin": Left.LFS, "early.bin": Left.LFS}, kept=True)]
    assert {".gitattributes", "b.txt", "pointer.bin"} <= world.files(world.branch).keys()
    assert "data.bin" not in world.git("log", "--name-only", world.branch)
    again = await world.run(await world.say())
    await again.begin()
    assert await again.agent("stat -c %s data.bin early.bin") == "2000\n3000\n"


async def test_changes_that_cancel_each_other_get_no_pull_request(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(COMMIT + "git rm -q a.txt; git commit -qm 'Take a back'")
    kept = await run.end()

    assert kept.no_difference
    assert run.finished
    assert run.finished.pull_request is None
    turn = await world.server.journal.turn(run.item.conversation, 1)
    assert turn
    assert kinds(turn.notes) == ["no_difference"]

    await run.begin()
    await run.agent(FILE)
    assert not (await run.end()).no_difference
    assert run.finished.pull_request


@pytest.mark.parametrize("asks", ["a file", "a setting"])
async def test_a_repository_that_asks_for_sign_off_gets_it(tmp_path: Path, asks: str) -> None:
    seed = SEED + ("echo Sign > DCO; git add DCO; git commit -qm DCO" if asks == "a file" else "")
    async with keep_world(tmp_path, seed) as world:
        if asks == "a setting":
            await world.github.require_sign_off(REPOSITORY)
        run = await world.begun()
        await run.agent(FILE)
        await run.end()
        assert "Signed-off-by: PeerBot <peerbot@users.noreply.github.com>" in world.git(
            "log", "-1", "--format=%B", world.branch
        )


@pytest.fixture
async def with_submodule(tmp_path: Path) -> AsyncIterator[KeepWorld]:
    """A world whose repository has a submodule `lib`, from a server that has one more commit than it uses."""
    library = tmp_path / "library.git"
    seed = (
        f"git init -q --bare -b main {library}; git init -q -b main ../library; cd ../library\n"
        "git config user.name Lib; git config user.email lib@example.com\n"
        f"echo 1 > lib.txt; git add .; git commit -qm One; git push -q {library} main; cd -\n"
        f"git -c protocol.file.allow=always submodule add -q file://{library} lib; git commit -qm Lib\n"
        f"cd ../library; echo 2 > lib.txt; git commit -qam Two; git push -q {library} main; cd -"
    )
    async with keep_world(tmp_path, SEED + seed) as world:
        yield world


INIT = "git -c protocol.file.allow=always submodule update -q --init\n"
IN_LIB = "cd lib; git config user.name A; git config user.email a@example.com\n"


async def test_commits_inside_a_submodule_are_named_and_nothing_points_to_them(with_submodule: KeepWorld) -> None:
    world = with_submodule
    run = await world.begun()
    await run.agent(f"{INIT}({IN_LIB} echo 3 > lib.txt; git commit -qam Three)\n{FILE}")
    kept = await run.end()
    assert kept.notes == [LeftOut(paths={"lib": Left.SUBMODULE}, kept=False)]
    assert world.git("rev-parse", f"{world.branch}:lib") == world.git("rev-parse", "main:lib")
    assert "b.txt" in world.files(world.branch)

    await run.begin()
    await run.agent("git add lib; git commit -qm 'Use it'")
    assert kinds((await run.end()).notes) == ["left_out"]
    assert world.git("rev-parse", f"{world.branch}:lib") == world.git("rev-parse", "main:lib")


async def test_a_submodule_that_is_only_dirty_is_no_change_and_no_alarm(with_submodule: KeepWorld) -> None:
    run = await with_submodule.begun()
    await run.agent(f"{INIT}echo dirty > lib/lib.txt; echo new > lib/new.txt")
    kept = await run.end()

    assert kept.notes == []
    assert kept.commit is None


async def test_a_submodule_may_move_to_a_commit_that_its_server_has(with_submodule: KeepWorld) -> None:
    world = with_submodule
    run = await world.begun()
    await run.agent(f"{INIT}(cd lib; git checkout -q origin/main)")
    kept = await run.end()

    assert kept.notes == []
    assert world.git("rev-parse", f"{world.branch}:lib") != world.git("rev-parse", "main:lib")
