"""Brings the workspace's branch and GitHub's together before a turn, and pushes after it; bundles what can't be pushed.

People work on the branch too. Their commits are merged. If they rewrote the branch, our commits go on top of theirs. If
the two conflict, the agent resolves that. If GitHub is away, the turn still gets its workspace.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from peerbot.conversation.documents import KeptWork
from peerbot.errors import TurnFailed
from peerbot.logs import logger
from peerbot.worker.workspace import EMPTY_TREE, GitFailed, Workspace

log = logger(__name__)

LARGEST_BUNDLE_BYTES = 64 * 1024 * 1024
_PUSHES = 3
_MOVED = ("fetch first", "non-fast-forward", "cannot lock ref", "incorrect old value")


class Diverged(GitFailed):
    """Somebody pushed commits that conflict with ours. The git command `command` begins to bring both together."""

    def __init__(self, command: str, files: list[str]) -> None:
        self.command = command
        self.files = files
        where = f" ({', '.join(files[:5])})" if files else ""
        super().__init__(f"somebody else pushed to the branch, and that conflicts with what I changed{where}", command)

    @property
    def may_pass(self) -> bool:
        """Say no: somebody has to resolve the conflict."""
        return False


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts about the workspace that the agent must know when a turn begins."""

    moved_from: str = ""  # the commit that the branch was on before somebody else pushed
    diverged: Diverged | None = None
    left_behind: str = ""  # unpushed commits (a range) that do not apply to the new branch
    lost: bool = False  # whether commits of an earlier turn are lost


@dataclass(slots=True)
class Upstream:
    """GitHub's side of `workspace`."""

    workspace: Workspace

    async def follow(self, branch: str, kept: KeptWork | None, bundle: bytes | None) -> Standing:
        """Make the workspace ready for a turn on `branch`: with others' pushed commits, and with ours not pushed yet.

        `bundle` holds the `kept` commits if this run lacks them. Raises `TurnFailed` if git can't take them now.
        """
        workspace, lost = self.workspace, False
        theirs = workspace.pushed
        if workspace.fresh:
            if kept:
                lost = not (bundle and await self._take(bundle, kept.base))
            workspace.fresh = False
        else:
            try:
                await workspace.commit_rest("Work in progress, left by the turn before", [])
                theirs = await self._fetched()
            except GitFailed as error:
                log.warning("not_caught_up", reason=str(error), detail=error.detail)
        if branch != workspace.branch:
            return Standing(left_behind=await self._switch(branch), lost=lost)
        before = workspace.pushed or ""
        try:
            moved = await self._join(theirs)
        except Diverged as diverged:
            return Standing(diverged=diverged, lost=lost)
        return Standing(moved_from=before if moved else "", lost=lost)

    async def push(self) -> str | None:
        """Push the branch; returns its head, or None if there was nothing new.

        Brings in somebody else's commits on the branch first. Raises `GitFailed` with git's words.
        """
        workspace = self.workspace
        head = await workspace.head()
        if head in (EMPTY_TREE, workspace.pushed) or (workspace.pushed is None and not await self._ahead()):
            return workspace.pushed if head == workspace.pushed else None
        for left in reversed(range(_PUSHES)):
            try:
                where = f"HEAD:refs/heads/{workspace.branch}"
                await workspace.patiently("push", "--quiet", "--no-verify", workspace.url, where)
                break
            except GitFailed as error:
                if not left or not any(mark in error.detail for mark in _MOVED):
                    raise
            log.info("branch_moved_meanwhile")
            await self._join(await self._fetched())
        workspace.pushed = await workspace.head()
        return workspace.pushed

    async def bundle(self) -> bytes | None:
        """Pack commits that are not on GitHub, for another run; None if they are too large. Raises `GitFailed`."""
        workspace, default = self.workspace, f"refs/remotes/origin/{self.workspace.default_branch}"
        there = [ref for ref in (default, workspace.pushed) if ref and await workspace.knows(ref)]
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "work.bundle"
            await workspace.git("bundle", "create", "--quiet", str(file), "HEAD", *(["--not", *there] if there else []))
            if file.stat().st_size > LARGEST_BUNDLE_BYTES:
                log.warning("bundle_too_large", bytes=file.stat().st_size)
                return None
            return file.read_bytes()

    async def _take(self, bundle: bytes, base: str | None) -> bool:
        """Put the workspace on the commits of an earlier turn; False if git can't take them."""
        git = self.workspace.git
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "work.bundle"
            file.write_bytes(bundle)
            try:
                if base and not await self.workspace.knows(base):  # its branch is gone, or was rewritten
                    await git("fetch", "--quiet", "--no-tags", self.workspace.url, base)
                await git("fetch", "--quiet", "--no-tags", str(file), "HEAD")
                await git("reset", "--quiet", "--hard", "FETCH_HEAD")
            except GitFailed as error:
                log.warning("kept_work_not_taken", reason=str(error), detail=error.detail)
                if error.away or not error.may_pass:
                    raise TurnFailed(f"An earlier turn's unpushed commits could not be taken up: {error}") from error
                return False
        self.workspace.pushed = base
        log.info("kept_work_taken")
        return True

    async def _fetched(self) -> str | None:
        """Fetch GitHub's branch and the default branch if they moved; its commit, or None without one."""
        workspace = self.workspace
        told = await workspace.git("ls-remote", "--symref", workspace.url, "HEAD", f"refs/heads/{workspace.branch}")
        oids: dict[str, str] = {}
        for oid, ref in (line.split("\t") for line in told.splitlines()):
            if oid.startswith("ref: refs/heads/"):
                workspace.default_branch = oid.removeprefix("ref: refs/heads/")
            else:
                oids[ref] = oid
        theirs, default = oids.get(f"refs/heads/{workspace.branch}"), f"refs/remotes/origin/{workspace.default_branch}"
        wanted = [workspace.branch] if theirs not in (None, workspace.pushed) else []
        if "HEAD" not in oids:  # the repository was made again, and is empty
            await workspace.git("update-ref", "-d", default)
        elif oids["HEAD"] != await workspace.oid(default):
            wanted.append(workspace.default_branch)
        if wanted:
            specs = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in wanted]
            await workspace.git("fetch", "--quiet", "--no-tags", workspace.url, *specs)
        return theirs

    async def _switch(self, branch: str) -> str:
        """Begin `branch` at the default branch, with our unpushed commits; returns those that conflict, as a range."""
        workspace, git = self.workspace, self.workspace.git
        default, head, base = (
            f"refs/remotes/origin/{workspace.default_branch}",
            await workspace.head(),
            workspace.pushed,
        )
        workspace.branch, workspace.pushed = branch, None
        start = await workspace.oid(default)
        if start is None:  # the repository is empty
            await git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            await git("rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")
            return ""
        unpushed = "" if base is None or head in (base, EMPTY_TREE) else f"{base}..{head}"
        if unpushed:
            try:
                await git("rebase", "--quiet", "--onto", start, base or "", head)
                start, unpushed = "HEAD", ""
            except GitFailed as error:
                log.warning("left_behind", commits=unpushed, detail=error.detail)
                await git("rebase", "--abort")
        await workspace.patiently("checkout", "--quiet", "--no-track", "-B", branch, start)
        return unpushed

    async def _join(self, theirs: str | None) -> bool:
        """Bring GitHub's branch into ours; True if there was something new. Raises `Diverged`."""
        workspace = self.workspace
        base, head = workspace.pushed, await workspace.head()
        if theirs is None or theirs == base:
            return False
        if head in (base, EMPTY_TREE):
            await workspace.patiently("reset", "--quiet", "--hard", theirs)
        elif base is None or await workspace.is_ancestor(base, theirs):
            await self._try("merge", "--no-edit", theirs)
        else:  # rewritten: commits that are gone there stay gone
            await self._try("rebase", "--onto", theirs, base)
        workspace.pushed = theirs
        return True

    async def _try(self, *command: str) -> None:
        """Merge or rebase; a conflict leaves the workspace as it was. Raises `Diverged`."""
        git = self.workspace.git
        try:
            await git(command[0], "--quiet", *command[1:])
        except GitFailed as error:
            files = (await git("diff", "--name-only", "--diff-filter=U")).splitlines()
            await git(command[0], "--abort")
            said = " ".join(("git", *(word for word in command if word != "--no-edit")))
            raise Diverged(said, files) from error

    async def _ahead(self) -> bool:
        """Whether there is a commit that the default branch does not have."""
        start = f"refs/remotes/origin/{self.workspace.default_branch}"
        if not await self.workspace.knows(start):
            return True
        return bool((await self.workspace.git("rev-list", "--max-count=1", "HEAD", f"^{start}")).strip())
