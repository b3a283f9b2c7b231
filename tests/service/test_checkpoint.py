"""Checkpoints through a real gateway: the agent's own git is left alone, and the next run finds what was saved."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from keep_world import KeepWorld, keep_world
from saved_state import bundles
from system import eventually

from peerbot.conversation.notes import Left
from peerbot.worker.saved import LARGEST_FILE_BYTES

WORK = """echo 'in a commit' > committed; git add committed; git commit -qm "The agent's own"
echo first > staged; echo after > kept.txt; echo untracked > new; echo i > noise.log; echo f > forced.log
git add staged; git add --force forced.log; echo 'then changed' > staged; rm gone.txt
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeepWorld]:
    async with keep_world(tmp_path) as world:
        yield world


def saved(world: KeepWorld) -> list[str]:
    """The checkpoints in the journal, as turn, run and part."""
    found = bundles(world.directory / "journal", str(world.items[0].conversation))
    return ["/".join(file.with_suffix("").parts[-3:]) for file in found]


async def test_a_checkpoint_leaves_the_agents_index_and_refs_byte_for_byte(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent(WORK)
    git = run.path / ".git"
    before = (git / "index").read_bytes(), await run.agent("git for-each-ref; git status --porcelain=v2 --ignored")
    await run.save()

    assert (
        (git / "index").read_bytes(),
        await run.agent("git for-each-ref; git status --porcelain=v2 --ignored"),
    ) == before
    assert saved(world) == ["1/1/1"]
    assert world.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_a_checkpoint_that_is_cut_short_is_in_no_other_ones_way(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent("mkdir many; for i in $(seq 5000); do echo $i > many/$i; done")
    lock = Path(run.environment["HOME"]) / ".peerbot/git/index.lock"
    saving = asyncio.create_task(run.save())
    await eventually(lambda: lock.exists() or saving.done())
    saving.cancel()
    await asyncio.wait([saving])
    assert saving.cancelled()
    assert not lock.exists()

    lock.touch()  # a git that was killed outright leaves it
    await run.save()
    assert saved(world) == ["1/1/1"]


async def test_what_was_saved_is_uncommitted_work_in_the_next_run(world: KeepWorld) -> None:
    first = await world.begun()
    await first.agent(WORK)
    head = await first.agent("git rev-parse HEAD")
    await first.save()
    second = await world.run(world.items[0])
    standing = await second.begin()

    assert standing.restored
    assert not standing.restored.left
    assert await second.agent("git rev-parse HEAD; git branch --show-current") == f"{head}{world.branch}\n"
    assert await second.agent("cat committed staged kept.txt new forced.log; ls noise.log gone.txt 2>/dev/null") == (
        "in a commit\nthen changed\nafter\nuntracked\nf\n"
    )
    assert await second.agent("git diff --cached --name-only") == "forced.log\n"  # git would pass over it
    status = (await second.agent("git status --porcelain")).splitlines()
    assert set(status) == {" M kept.txt", " D gone.txt", "A  forced.log", "?? new", "?? staged"}


async def test_the_newest_checkpoint_of_the_turn_is_taken_and_the_older_ones_go(world: KeepWorld) -> None:
    first = await world.begun()
    for text in ("one", "two"):
        await first.agent(f"echo {text} > new")
        await first.save()
    assert saved(world) == ["1/1/2"]
    second = await world.run(world.items[0])
    await second.begin()
    await second.agent("cat new > old; echo three > new")
    await second.save()
    third = await world.run(world.items[0])
    await third.begin()

    assert await third.agent("cat old new") == "two\nthree\n"
    await third.end()
    await eventually(lambda: not saved(world))


async def test_a_file_over_ten_megabytes_is_left_out_and_named(world: KeepWorld) -> None:
    first = await world.begun()
    large = f"truncate -s {LARGEST_FILE_BYTES + 1}"
    await first.agent(f"echo small > new; {large} large; {large} 'large and staged'; git add 'large and staged'")
    await first.save()
    second = await world.run(world.items[0])
    standing = await second.begin()

    assert standing.restored
    assert standing.restored.left == {"large": Left.TOO_LARGE, "large and staged": Left.TOO_LARGE}
    assert await second.agent("ls large* new kept.txt 2>/dev/null") == "kept.txt\nnew\n"


async def test_nothing_is_saved_where_nothing_changed(world: KeepWorld) -> None:
    run = await world.begun()
    await run.save()
    assert saved(world) == []
    await run.agent("echo one > new")
    await run.save()
    await run.save()
    assert saved(world) == ["1/1/1"]
    await run.agent("touch new; echo ignored > x.log")
    await run.save()
    assert saved(world) == ["1/1/1"]
    await run.agent("git commit --allow-empty -qm Empty")
    await run.save()
    assert saved(world) == ["1/1/2"]


async def test_what_the_branch_got_meanwhile_is_kept(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent("echo a > a.txt")
    await run.end()
    await run.begin()
    await run.agent("echo mine > new")
    await run.save()
    world.person("echo theirs > theirs; git add .; git commit -qm Theirs")
    again = await world.run(run.item)
    await again.begin()

    assert await again.agent("cat new theirs; git status --porcelain") == "mine\ntheirs\n?? new\n"


async def test_work_that_no_longer_applies_to_the_branch_is_named_by_its_commit(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent("echo a > a.txt")
    await run.end()
    await run.begin()
    await run.agent("echo mine > a.txt")
    await run.save()
    world.person("echo theirs > a.txt; git commit -qam Theirs")
    again = await world.run(run.item)
    restored = (await again.begin()).restored

    assert restored
    assert await again.agent("cat a.txt; git status --porcelain") == "theirs\n"
    assert await again.agent(f"git show {restored.conflict}:a.txt") == "mine\n"


async def test_the_first_work_in_an_empty_repository_comes_back(world: KeepWorld) -> None:
    world.git("update-ref", "-d", "refs/heads/main")
    first = await world.begun()
    await first.agent("echo first > new")
    await first.save()
    second = await world.run(world.items[0])
    await second.begin()

    assert await second.agent("cat new; git status --porcelain") == "first\n?? new\n"


async def test_a_cancellation_gets_through_when_git_has_just_ended(world: KeepWorld) -> None:
    """The system has forgotten git's process, and asyncio has not heard of it yet: there is nothing left to kill.

    An error there hid the cancellation, and a turn waited for ever for its checkpoints to stop.
    """
    run = await world.begun()
    before = set(psutil.Process().children())
    running = asyncio.create_task(run.workspace.git("-c", "alias.pause=!sleep 0.3", "pause"))
    await eventually(lambda: any(child.children() for child in set(psutil.Process().children()) - before))
    [git_process] = set(psutil.Process().children()) - before
    interval = sys.getswitchinterval()
    sys.setswitchinterval(30)  # the thread that waits for git gets no further than the system
    try:
        deadline = time.monotonic() + 5  # a Python whose loop itself waits for processes (3.12) forgets none before
        while is_there(git_process.pid) and time.monotonic() < deadline:
            pass
        running.cancel()
    finally:
        sys.setswitchinterval(interval)
    with pytest.raises(asyncio.CancelledError):
        await running


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
async def test_git_goes_into_a_workspace_that_belongs_to_somebody_else(world: KeepWorld) -> None:
    """As a pod's volume does, which belongs to root and is only lent to the worker's group."""
    run = await world.run(await world.say())
    os.chown(run.path, 12345, 12345)
    await run.begin()
    await run.agent("echo a > a.txt")
    await run.end()
    assert world.files(world.branch)["a.txt"] == b"a\n"


async def test_the_author_is_peerbot_but_not_in_repositories_that_a_projects_tests_make(world: KeepWorld) -> None:
    """`GIT_AUTHOR_NAME` would win over the configuration of every repository."""
    run = await world.begun()
    told = await run.agent(
        "git commit -q --allow-empty -m Ours; git log -1 --format='%an %cn'\n"
        "mkdir ../tests; cd ../tests; git init -q; git config user.name Test; git config user.email t@example.com\n"
        "git commit -q --allow-empty -m Theirs; git log -1 --format='%an %ae'"
    )
    assert told == "PeerBot PeerBot\nTest t@example.com\n"
