"""The workspace: a checkout on the conversation's branch, and the supervisor's git in it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from peerbot.conversation.documents import FileChange, now
from peerbot.errors import TurnFailed
from peerbot.files.removal import remove
from peerbot.logs import logger
from peerbot.worker import agents_git
from peerbot.worker.git import EMPTY_TREE, Git, GitFailed, supervisors_environment
from peerbot.worker.snapshot import Snapshots

log = logger(__name__)

_REMOVE_SECONDS = 120.0
_DCO_FILES = ("DCO", "DCO.txt", "DCO.md", ".github/dco.yml")


_NO_BASE = (
    "The repository has no branch `{base}`, from which this thread's work should begin. Make it again, or set another "
    "base branch (`/peerbot settings`) and begin a new thread."
)


class Workspace:
    """The checkout of one run, in `path`. `own` is the folder of the supervisor's own git."""

    def __init__(
        self,
        path: Path,
        *,
        own: Path,
        url: str,
        branch: str,
        default_branch: str,
        base: str = "",
        environment: Mapping[str, str],
        patience_seconds: float = 5.0,
    ) -> None:
        self.path = path
        self.url = url
        self.branch = branch
        self.base = base  # the branch that people set in place of the default branch; it is `default_branch` then
        self.default_branch = base or default_branch
        self.pushed: str | None = None  # the commit that GitHub's branch points to, as far as we know
        self.start: str | None = None  # the commit on which the clone put the branch
        self.last: str | None = None  # the branch's commit when the turn began
        self.fresh = False  # whether it is as the clone made it
        self.spoiled = False  # whether it must be cloned again before the next turn
        self.cloned: datetime | None = None  # when it was; None once a turn has told it
        self.known: dict[str, str] = {}  # refs that were there after the clone, and are no work of the agent's
        self.there: dict[str, str] = {}  # GitHub's branches and their commits, as far as we know
        places = {"GIT_DIR": str(path / ".git"), "GIT_WORK_TREE": str(path)}
        ours = supervisors_environment(environment, **places)
        self.git = Git(path, ours, patience_seconds=patience_seconds)
        self._cloning = Git(path, supervisors_environment(environment), patience_seconds=patience_seconds)
        self.snapshots = Snapshots(path, own, url=url, environment=environment, patience_seconds=patience_seconds)

    async def prepare(self) -> None:
        """Clone (without old files' contents) and check out the conversation's branch; make it if it is not there.

        Raises `TurnFailed` with git's words if that fails.
        """
        git = self.git
        try:
            await asyncio.to_thread(_empty, self.path)  # an earlier try may have left files
            await self._cloning.patiently("clone", "--quiet", "--filter=blob:none", "--no-checkout", self.url, ".")
            # GitHub's own word: somebody may have renamed it since the conversation began.
            told = await git("for-each-ref", "--format=%(symref:lstrip=3)", "refs/remotes/origin/HEAD")
            self.default_branch = self.base or told.strip() or self.default_branch
            told = await git("for-each-ref", "--format=%(objectname) %(refname:lstrip=3)", "refs/remotes/origin")
            self.there = {name: oid for oid, _, name in (line.partition(" ") for line in told.splitlines())}
            self.there.pop("HEAD", None)
            self.pushed = self.there.get(self.branch)
            await asyncio.to_thread(self.snapshots.lend)
            self.start = self.pushed or self.there.get(self.default_branch)
            if not self.start and self.base and self.there:
                raise TurnFailed(_NO_BASE.format(base=self.base))
            if self.start:
                await git.patiently("checkout", "--quiet", "--no-track", "-B", self.branch, self.start)
            else:  # an empty repository: the branch begins with the first commit
                await git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
            await self.snapshots.begin()
            seen = agents_git.look(self.path)
            self.known = dict(seen.refs) if seen else {}
            self.fresh, self.spoiled, self.cloned = True, False, now()
            log.debug("workspace_ready")
        except GitFailed as error:
            raise TurnFailed(f"The repository could not be checked out: {error}") from error

    async def head(self) -> str:
        """Return the head's commit, or the empty tree if there is no commit yet."""
        return await self.git.oid("HEAD") or EMPTY_TREE

    def asks_for_sign_off(self) -> bool:
        """Whether a file of the repository's says that each commit must be signed off (a DCO)."""
        return any((self.path / name).is_file() for name in _DCO_FILES)

    def known_commits(self) -> list[str]:
        """Name commits that GitHub has: those of all branches, as long as the agent's `.git` is there."""
        default = self.there.get(self.default_branch)
        few = [oid for oid in (self.pushed, default) if oid]
        return [*few, *self.there.values()] if (self.path / ".git" / "objects").is_dir() else few

    async def changes(self, since: str, until: str) -> list[FileChange]:
        """List the files that changed between the commits `since` and `until`. Raises `GitFailed`."""
        if until in (EMPTY_TREE, since):
            return []
        told = await self.snapshots.git("diff", "--numstat", "--no-renames", "--no-ext-diff", "-z", since, until)
        fields = told.encode(errors="surrogateescape").decode(errors="replace").split("\0")
        return [_change(line) for line in fields if line]


def _change(line: str) -> FileChange:
    added, removed, path = line.split("\t", 2)
    return FileChange(
        path=path,
        added=None if added == "-" else int(added),
        removed=None if removed == "-" else int(removed),
    )


def _empty(directory: Path) -> None:
    for child in directory.iterdir():
        remove(child, seconds=_REMOVE_SECONDS)
