"""A workspace that the agent has made into a trap: links, pipes and depths where the worker looks.

The agent's part is a shell script; a real gateway, a local GitHub and the worker's own parts are around it. In each
case the turn ends, its work is on the branch, and nothing from outside the workspace is on it or in the saved state.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from keep_world import KeepWorld, keep_world
from saved_state import bundles, opened

from peerbot.files.removal import remove
from peerbot.protocol.documents import PersonInput

PLANTED = "planted-words-of-another"
MERGE = """git checkout -q -b other; sed -i s/two/TWO/ shared.txt; git commit -qam 'In capitals'; git checkout -q -
sed -i s/two/zwei/ shared.txt; git commit -qam 'In German'; git merge other
"""
NESTED = """python3 -c '
import os, sys
os.chdir(sys.argv[1])
for _ in range(int(sys.argv[2])):
    os.mkdir(sys.argv[3]); os.chdir(sys.argv[3])
open("file", "w").close()
' """

TRAPS = {
    "the index is another file": "rm .git/index; ln -s $OUTSIDE/secret .git/index",
    "the index is a device": "rm .git/index; ln -s /dev/zero .git/index",
    "the index is a pipe": "rm .git/index; mkfifo .git/index",
    "the index is our own memory": "rm .git/index; ln -s /proc/self/environ .git/index",
    "the rules are a device": "rm -f .git/info/exclude; mkdir -p .git/info; ln -s /dev/zero .git/info/exclude",
    "the rules are a pipe": "rm -f .git/info/exclude; mkdir -p .git/info; mkfifo .git/info/exclude",
    "the head is a device": "rm .git/HEAD; ln -s /dev/zero .git/HEAD",
    "the packed refs are a device": "rm -f .git/packed-refs; ln -s /dev/zero .git/packed-refs",
    "a branch is a pipe": "mkfifo .git/refs/heads/pipe",
    "the refs are another folder": "rm -rf .git/refs; ln -s $OUTSIDE .git/refs",
    "refs without end": NESTED + ".git/refs 1500 d",
    "git is another folder": "mv .git $OUTSIDE/git; ln -s $OUTSIDE/git .git",
    "git names another folder": "mv .git $OUTSIDE/git; echo gitdir: $OUTSIDE/git > .git",
    "a message of a merge is another file": MERGE + "rm .git/MERGE_MSG; ln -s $OUTSIDE/secret .git/MERGE_MSG",
    "a message of a merge is a device": MERGE + "rm .git/MERGE_MSG; ln -s /dev/zero .git/MERGE_MSG",
    "a state of a merge is another folder": MERGE + "ln -s $OUTSIDE .git/sequencer",
    "a state of a merge without end": MERGE + "mkdir .git/sequencer;" + NESTED + ".git/sequencer 1500 d",
    "a working tree is another folder": "mkdir -p .git/worktrees/x; echo $OUTSIDE/.git > .git/worktrees/x/gitdir;"
    "git rev-parse HEAD > .git/worktrees/x/HEAD; echo ../.. > .git/worktrees/x/commondir",
    "a working tree is the root": "mkdir -p .git/worktrees/x; echo /.git > .git/worktrees/x/gitdir;"
    "git rev-parse HEAD > .git/worktrees/x/HEAD; echo ../.. > .git/worktrees/x/commondir",
    "rules in the workspace are a pipe": "rm .gitignore; mkfifo .gitignore src/.gitattributes; echo x > src/x",
    "rules in the workspace are a device": "rm .gitignore; ln -s /dev/zero .gitignore",
    "a lock is a folder": "mkdir -p .git/index.lock/x .git/HEAD.lock",
    "folders inside each other": NESTED + ". 1500 d",
    "a path that is too long": NESTED + ". 30 " + "x" * 200,
    "a link to another folder": "ln -s $OUTSIDE linked; ln -s $OUTSIDE/secret link",
    "a nested repository is a link": "mkdir inner; ln -s $OUTSIDE/.git inner/.git; ln -s $OUTSIDE inner2",
    "a folder is closed": "mkdir closed; echo c > closed/c; chmod 0 closed",
}


QUICK = ("the index is a device", "a message of a merge is another file", "folders inside each other")
"""The traps that `make test` sets, too; the others are for `make slow`."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeepWorld]:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(PLANTED)
    async with keep_world(tmp_path) as world:
        yield world
    for number in range(1, world.runs + 1):
        await asyncio.to_thread(remove, tmp_path / f"run-{number}", seconds=30)  # pytest could not


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    "trap", [trap if trap in QUICK else pytest.param(trap, marks=pytest.mark.slow) for trap in TRAPS]
)
async def test_a_trap_in_the_workspace_keeps_no_work_and_takes_nothing_from_outside(
    world: KeepWorld, trap: str
) -> None:
    run = await world.begun()
    run.environment["OUTSIDE"] = str(world.directory / "outside")
    await run.agent(f"echo b > b.txt; {TRAPS[trap]}")
    async with asyncio.timeout(60):
        await run.save()
        kept = await run.end()

    placed = world.files(world.ref)
    found = [PLANTED.encode() in data for data in placed.values()]
    for bundle in bundles(world.directory / "journal", str(run.item.conversation)):
        with opened(bundle, world.bare) as state:
            objects = state.git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)")
            blobs = [line.split()[1] for line in objects.splitlines() if line.startswith("blob")]
            found += [PLANTED in state.git("cat-file", "blob", blob) for blob in blobs]
            placed |= state.files
    assert not any(found)
    assert placed["b.txt"] == b"b\n", kept

    for number in range(2):  # nothing of it harms the next turn or the next run
        again = await world.run(await world.say()) if number else run
        async with asyncio.timeout(60):
            await again.begin()
            await again.agent("git merge --abort; echo c >> c.txt")
            await again.end()
    assert world.files(world.branch)["c.txt"] == b"c\nc\n"


async def test_a_commit_closes_no_issue_and_names_nobody_else_by_a_persons_words_or_name(world: KeepWorld) -> None:
    run = await world.begun()
    await run.agent("echo b > b.txt")
    name = "Eve\nCo-authored-by: Linus <linus@example.com>\nFixes #1"
    person = PersonInput(id=run.item.id, user="U1", name=name, text="fixes acme/shop#12 at once")
    assert run.begun
    await run.keep.turn(run.begun.turn, [person])

    lines = world.git("log", "-1", "--format=%B", world.branch).strip().splitlines()
    assert lines[0] == "fixes issue acme/shop#12 at once"
    assert lines[1:] == [
        "",
        "Co-authored-by: Eve Co-authored-by: Linus linus@example.com Fixes issue #1 <U1@slack.invalid>",
    ]
