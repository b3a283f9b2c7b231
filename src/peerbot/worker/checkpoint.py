"""Checkpoints: uncommitted changes of the agent, saved where the next run finds them (decision 0004).

A checkpoint is a commit on top of the workspace's head that holds its files as they are. It is made beside the agent:
with an index of its own, so that the agent's stays as it is, byte for byte, and on a ref of its own
(`refs/peerbot/{conversation}/{run}`), so that neither branch nor pull request shows it. Its message says for which turn
it is, and which files were too large for it. The gateway deletes the refs when the turn is written.
"""

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from peerbot.errors import TurnFailed
from peerbot.logs import logger
from peerbot.worker.workspace import EMPTY_TREE, GitFailed, Workspace

log = logger(__name__)

LARGEST_FILE_BYTES = 10 * 1024 * 1024
_SUBJECT = "Checkpoint of turn {turn}"
_SUBJECT_READ = re.compile(_SUBJECT.format(turn=r"(\d+)"))
_LEFT_OUT = "Left out: "


@dataclass(frozen=True, slots=True)
class Restored:
    """The changes taken over from a run that ended in the middle of the turn."""

    left_out: list[str]  # files that were too large for the checkpoint
    conflict: str = ""  # the commit that holds the changes, if they conflict with the branch


class Checkpoints:
    """Saves the workspace's state to `ref` of `url`, for one run."""

    def __init__(self, workspace: Workspace, *, url: str, ref: str, every_seconds: float) -> None:
        self._workspace = workspace
        self._url = url
        self._ref = ref
        self._every_seconds = every_seconds
        self._saved: tuple[str, str] | None = None  # tree and head of the newest

    async def keep_saving(self, turn: int) -> None:
        """Save changes made since this call, again and again, until cancelled; failures are only logged."""
        head = await self._workspace.head()
        self._saved = (await self._tree_of(head), head)
        took = 0.0
        while True:
            # A checkpoint counts when it has arrived: with the time that it takes, a death costs one interval at most.
            await asyncio.sleep(max(self._every_seconds / 2, self._every_seconds - 2 * took))
            began = time.monotonic()
            try:
                await self.save(turn)
            except (GitFailed, OSError) as error:
                detail = error.detail if isinstance(error, GitFailed) else ""
                log.warning("checkpoint_failed", reason=str(error), detail=detail)
            took = time.monotonic() - began

    async def save(self, turn: int) -> None:
        """Save the workspace's state if it has changed since the last save. Raises `GitFailed` and `OSError`."""
        head = await self._workspace.head()
        tree, left_out = await self._written(head)
        if (tree, head) == self._saved:
            return
        lines = [_SUBJECT.format(turn=turn), "", *(_LEFT_OUT + path for path in left_out)]
        parent = [] if head == EMPTY_TREE else ["-p", head]
        commit = (await self._workspace.git("commit-tree", tree, *parent, "-m", "\n".join(lines))).strip()
        await self._workspace.git("push", "--quiet", "--no-verify", self._url, f"+{commit}:{self._ref}")
        self._saved = (tree, head)
        log.info("checkpoint_saved", commit=commit, left_out=len(left_out))

    async def restore(self, since: int) -> Restored | None:
        """Put the newest checkpoint of turn `since` or later into a fresh workspace, as uncommitted changes.

        Returns None if there is none. Raises `TurnFailed` if git fails.
        """
        try:
            found = await self._newest(since)
            if found is None:
                return None
            commit, parent, left_out = found
            log.info("checkpoint_found", commit=commit, left_out=len(left_out))
            return Restored(left_out, "" if await self._lay(commit, parent) else commit)
        except GitFailed as error:
            raise TurnFailed(f"The work of the run before could not be taken over: {error}") from error

    async def _written(self, head: str) -> tuple[str, list[str]]:
        """Write the workspace's files as a tree; returns it, and the files that were left out."""
        git = self._workspace.git
        with tempfile.TemporaryDirectory() as directory:
            index = Path(directory) / "index"
            with contextlib.suppress(FileNotFoundError):  # the copy spares git from reading every file again
                await asyncio.to_thread(shutil.copyfile, self._workspace.path / ".git" / "index", index)
            # A file that the agent has staged counts as it is now on the disk, even if it is ignored.
            listed = await git("diff", "--cached", "--name-only", "--no-renames", "-z", index=index)
            await git("read-tree", *(("--empty",) if head == EMPTY_TREE else ("--reset", head)), index=index)
            listed += await git("ls-files", "-z", "--modified", "--others", "--exclude-standard", index=index)
            changed = dict.fromkeys(filter(None, listed.split("\0")))
            takes, left_out = await asyncio.to_thread(_sorted_by_size, self._workspace.path, list(changed))
            if takes:
                names = b"".join(os.fsencode(path) + b"\0" for path in takes)
                await git("update-index", "-z", "--add", "--remove", "--replace", "--stdin", data=names, index=index)
            return (await git("write-tree", index=index)).strip(), left_out

    async def _newest(self, since: int) -> tuple[str, str, list[str]] | None:
        """Fetch the checkpoints; return the newest from turn `since` on: commit, parent, and files left out."""
        git, folder = self._workspace.git, self._ref.rpartition("/")[0]
        await self._workspace.patiently("fetch", "--quiet", "--no-tags", self._url, f"+{folder}/*:{folder}/*")
        refs = (await git("for-each-ref", "--format=%(refname)", folder)).split()
        for ref in sorted(refs, key=lambda ref: int(ref.rpartition("/")[2]), reverse=True):
            commit, parent, *message = (await git("log", "-1", "--format=%H%n%P%n%B", ref)).rstrip().split("\n")
            if message and (found := _SUBJECT_READ.fullmatch(message[0])) and int(found[1]) >= since:
                return commit, parent, [line[len(_LEFT_OUT) :] for line in message if line.startswith(_LEFT_OUT)]
        return None

    async def _lay(self, commit: str, parent: str) -> bool:
        """Make the workspace look like the checkpoint; False if the branch has moved on and conflicts with it."""
        git, head = self._workspace.git, await self._workspace.head()
        if parent and parent != head:
            if await self._workspace.is_ancestor(parent, head):
                # That run or somebody else pushed after the checkpoint was made: add only its own changes.
                try:
                    await git("cherry-pick", "--no-commit", commit)
                except GitFailed:
                    await git("reset", "--quiet", "--hard", head)
                    return False
                await git("reset", "--quiet")
                return True
            # commits of that run that were not pushed
            await self._workspace.patiently("reset", "--quiet", "--hard", parent)
        await self._workspace.patiently("read-tree", "--reset", "-u", commit)
        await git(*(("reset", "--quiet") if parent else ("read-tree", "--empty")))
        return True

    async def _tree_of(self, head: str) -> str:
        return (
            EMPTY_TREE if head == EMPTY_TREE else (await self._workspace.git("rev-parse", f"{head}^{{tree}}")).strip()
        )


def _sorted_by_size(workspace: Path, paths: list[str]) -> tuple[list[str], list[str]]:
    """Split `paths` into those that a checkpoint takes (deletions too), and those that are too large for it."""
    takes: list[str] = []
    left_out: list[str] = []
    for path in paths:
        if path.endswith("/"):
            continue  # a repository inside this one
        try:
            large = (workspace / path).lstat().st_size > LARGEST_FILE_BYTES
        except OSError:
            large = False  # it is gone
        (left_out if large else takes).append(path)
    return takes, left_out
