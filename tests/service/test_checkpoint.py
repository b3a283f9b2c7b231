"""Checkpoints in real repositories: the agent's own git is left alone, and what was saved comes back as it was."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from system import eventually

from peerbot.worker.checkpoint import LARGEST_FILE_BYTES, Checkpoints, Restored
from peerbot.worker.workspace import Workspace, git_environment

BRANCH = "peerbot/x"


@dataclass
class Run:
    """One run's workspace, and the place for its checkpoints."""

    workspace: Workspace
    checkpoints: Checkpoints

    def git(self, *arguments: str) -> str:
        return git(self.workspace.path, *arguments)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.workspace.path / name).write_text(text)

    def read(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in self.workspace.path.iterdir() if file.is_file()}


def git(directory: Path, *arguments: str) -> str:
    base = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    environment = git_environment("http://127.0.0.1", "none", base, directory)
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.rstrip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a first commit on its default branch."""
    origin, seed = tmp_path / "origin.git", tmp_path / "seed"
    for directory in (origin, seed):
        directory.mkdir()
    git(origin, "init", "--quiet", "--bare", "--initial-branch", "main")
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(seed, "clone", "--quiet", str(origin), ".")
    git(seed, "checkout", "--quiet", "-B", "main")
    (seed / "kept").write_text("as it was\n")
    (seed / "changed").write_text("before\n")
    (seed / "gone").write_text("to be deleted\n")
    (seed / ".gitignore").write_text("*.log\n")
    git(seed, "add", "--all")
    git(seed, "commit", "--quiet", "-m", "First")
    git(seed, "push", "--quiet", "origin", "main")
    return origin


async def started(origin: Path, directory: Path, run: int) -> Run:
    """A fresh run with its checkout."""
    made = made_run(origin, directory, run)
    await made.workspace.prepare()
    return made


def made_run(origin: Path, directory: Path, run: int) -> Run:
    directory.mkdir()
    base = {"PATH": os.environ["PATH"], "HOME": str(origin.parent)}
    workspace = Workspace(
        directory,
        url=origin.as_uri(),
        branch=BRANCH,
        default_branch="main",
        environment=git_environment("http://127.0.0.1", "none", base, directory),
    )
    ref = f"refs/peerbot/abc/{run}"
    return Run(workspace, Checkpoints(workspace, url=origin.as_uri(), ref=ref, every_seconds=30))


async def work(run: Run) -> None:
    """What an agent may leave behind: committed, staged, changed, deleted and new files."""
    run.write(committed="in a commit\n")
    run.git("add", "committed")
    run.git("commit", "--quiet", "-m", "The agent's own")
    run.write(staged="first\n", changed="after\n", new="untracked\n", **{"noise.log": "ignored\n", "forced.log": "f\n"})
    run.git("add", "staged")
    run.git("add", "--force", "forced.log")
    run.write(staged="then changed\n")
    (run.workspace.path / "gone").unlink()


async def test_a_checkpoint_leaves_the_agents_index_and_refs_byte_for_byte(origin: Path, tmp_path: Path) -> None:
    run = await started(origin, tmp_path / "one", 1)
    await work(run)
    index, refs = (run.workspace.path / ".git/index").read_bytes(), run.git("for-each-ref")
    await run.checkpoints.save(1)

    assert (run.workspace.path / ".git/index").read_bytes() == index
    assert run.git("for-each-ref") == refs
    assert git(origin, "for-each-ref", "--format=%(refname)", "refs/peerbot") == "refs/peerbot/abc/1"


async def test_what_was_saved_is_uncommitted_work_in_the_next_run(origin: Path, tmp_path: Path) -> None:
    first = await started(origin, tmp_path / "one", 1)
    await work(first)
    await first.checkpoints.save(1)
    second = await started(origin, tmp_path / "two", 2)

    assert await second.checkpoints.restore(1) == Restored([])
    assert second.read() == {name: text for name, text in first.read().items() if name != "noise.log"}
    assert second.git("log", "--format=%s", "-1") == "The agent's own"
    assert second.git("rev-parse", "HEAD") == first.git("rev-parse", "HEAD")
    assert second.git("rev-parse", "--abbrev-ref", "HEAD") == BRANCH
    assert second.git("diff", "--cached", "--name-only") == ""
    assert set(second.git("status", "--porcelain").splitlines()) == {" M changed", " D gone", "?? new", "?? staged"}


async def test_the_newest_checkpoint_of_the_turn_is_taken(origin: Path, tmp_path: Path) -> None:
    for number, turn in ((9, 2), (10, 2), (11, 1)):
        run = await started(origin, tmp_path / f"run-{number}", number)
        run.write(new=f"of run {number}")
        await run.checkpoints.save(turn)
    last = await started(origin, tmp_path / "last", 12)

    assert await last.checkpoints.restore(2)
    assert last.read()["new"] == "of run 10"
    assert await last.checkpoints.restore(3) is None


async def test_a_file_over_ten_megabytes_is_left_out_and_named(origin: Path, tmp_path: Path) -> None:
    first = await started(origin, tmp_path / "one", 1)
    first.write(new="small")
    for name in ("large", "large and staged"):
        with (first.workspace.path / name).open("wb") as file:
            file.truncate(LARGEST_FILE_BYTES + 1)
    first.git("add", "large and staged")
    await first.checkpoints.save(1)
    second = await started(origin, tmp_path / "two", 2)
    restored = await second.checkpoints.restore(1)

    assert restored
    assert sorted(restored.left_out) == ["large", "large and staged"]
    assert {"new", "kept"} <= set(second.read())
    assert not {"large", "large and staged"} & set(second.read())


async def test_nothing_is_pushed_where_nothing_changed(origin: Path, tmp_path: Path) -> None:
    run = await started(origin, tmp_path / "one", 1)
    run.write(new="one")
    await run.checkpoints.save(1)
    saved = git(origin, "rev-parse", "refs/peerbot/abc/1")
    await run.checkpoints.save(1)
    assert git(origin, "rev-parse", "refs/peerbot/abc/1") == saved

    run.write(new="two")
    await run.checkpoints.save(1)
    assert git(origin, "show", "refs/peerbot/abc/1:new") == "two"


async def test_what_the_branch_got_meanwhile_is_kept(origin: Path, tmp_path: Path) -> None:
    first = await started(origin, tmp_path / "one", 1)
    first.write(new="mine\n")
    await first.checkpoints.save(1)
    other = await started(origin, tmp_path / "other", 7)
    other.write(theirs="theirs\n", kept="changed by them\n")
    await other.workspace.commit_rest("Theirs", [])
    other.git("push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
    second = await started(origin, tmp_path / "two", 2)

    assert await second.checkpoints.restore(1) == Restored([])
    assert (second.read()["new"], second.read()["theirs"]) == ("mine\n", "theirs\n")
    assert second.git("status", "--porcelain") == "?? new"


async def test_work_that_does_not_fit_the_branch_any_more_is_named_by_its_commit(origin: Path, tmp_path: Path) -> None:
    first = await started(origin, tmp_path / "one", 1)
    first.write(changed="mine\n")
    await first.checkpoints.save(1)
    other = await started(origin, tmp_path / "other", 7)
    other.write(changed="theirs\n")
    await other.workspace.commit_rest("Theirs", [])
    other.git("push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
    second = await started(origin, tmp_path / "two", 2)
    restored = await second.checkpoints.restore(1)

    assert restored
    assert second.read()["changed"] == "theirs\n"
    assert second.git("status", "--porcelain") == ""
    assert second.git("show", f"{restored.conflict}:changed") == "mine"


async def test_the_first_work_in_an_empty_repository_comes_back(tmp_path: Path) -> None:
    origin = tmp_path / "empty.git"
    origin.mkdir()
    git(origin, "init", "--quiet", "--bare", "--initial-branch", "main")
    first = await started(origin, tmp_path / "one", 1)
    first.write(new="first")
    await first.checkpoints.save(1)
    second = await started(origin, tmp_path / "two", 2)

    assert await second.checkpoints.restore(1)
    assert second.read() == {"new": "first"}
    assert second.git("status", "--porcelain") == "?? new"


async def test_whoever_is_cancelled_when_git_has_just_ended_is_cancelled(origin: Path, tmp_path: Path) -> None:
    """The system has forgotten git's process, and asyncio has not heard of it yet: there is nothing to kill any more.

    What went wrong there hid the cancellation, and a turn waited for ever for its checkpoints to stop.
    """
    run = await started(origin, tmp_path / "one", 1)
    running = asyncio.create_task(run.workspace.git("-c", "alias.pause=!sleep 0.3", "pause"))
    await eventually(lambda: psutil.Process().children(recursive=True)[1:])  # git, and what it waits for
    [git_process] = psutil.Process().children()
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
async def test_git_goes_into_a_workspace_that_belongs_to_somebody_else(origin: Path, tmp_path: Path) -> None:
    """As a pod's volume does, which belongs to root and is only lent to the worker's group."""
    run = made_run(origin, tmp_path / "run", 1)
    os.chown(run.workspace.path, 12345, 12345)
    await run.workspace.prepare()
    assert (await run.workspace.git("status", "--porcelain")) == ""
