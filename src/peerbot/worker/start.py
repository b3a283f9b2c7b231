"""Makes the workspace ready for a turn: with other people's commits, and with the agent's work that no branch has yet.

If the agent was simply on its branch, the supervisor brings other people's commits in before the turn. If it left an
operation in progress, or was elsewhere, the workspace stays as it left it, and their commits wait for the push.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from peerbot.errors import TurnFailed
from peerbot.logs import logger
from peerbot.worker import agents_git
from peerbot.worker.git import EMPTY_TREE, GitFailed
from peerbot.worker.restore import Restored, Saved, old_checkpoint
from peerbot.worker.submodules import Submodules
from peerbot.worker.upstream import Diverged, Upstream
from peerbot.worker.workspace import Workspace

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts about the workspace that the agent must know when a turn begins."""

    moved_from: str = ""  # the commit that the branch was on before somebody else pushed
    diverged: Diverged | None = None
    left_behind: str = ""  # unpushed commits (a range) that do not apply to the new branch
    lost: bool = False  # whether commits of an earlier turn are lost
    operation: str = ""  # the git operation that is in progress
    restored: Restored | None = None  # the saved state of another run
    no_submodules: Mapping[str, str] = field(default_factory=dict)  # those that are not checked out, and why


@dataclass(slots=True)
class Start:
    """Makes `workspace` ready. `old_refs`: where the release before kept this conversation's checkpoints."""

    workspace: Workspace
    upstream: Upstream
    submodules: Submodules
    old_refs: str

    async def ready(
        self, branch: str, bundle: bytes | None, *, base: str | None = None, since: int | None = None
    ) -> Standing:
        """Make the workspace ready for a turn on `branch`.

        `bundle` is the saved state of another run, if this run does not have it. `base`: GitHub's commit below it, for
        a bundle of the release before. `since`: if the turn goes on with one that was interrupted, the first turn of
        that work. Raises `TurnFailed` if git can't do that now.
        """
        try:
            standing = await self._ready(branch, bundle, base, since)
            moved = standing.restored.links if standing.restored else {}
            missing = await self.submodules.checked_out(moved)
        except GitFailed as error:
            raise TurnFailed(f"The earlier work could not be taken up: {error}") from error
        self.workspace.fresh = False
        return replace(standing, no_submodules=missing)

    async def _ready(self, branch: str, bundle: bytes | None, base: str | None, since: int | None) -> Standing:
        """Make everything but the submodules ready. Raises `GitFailed`."""
        saved, lost = await self._opened(bundle, base, since)
        theirs = self.workspace.pushed
        if saved:
            await saved.commits()
            self.workspace.pushed = saved.base(base)
        elif not self.workspace.fresh:
            theirs = await self._fetched()
        seen = await asyncio.to_thread(agents_git.look, self.workspace.path)
        plain = bool(seen and not seen.operation and seen.on == f"refs/heads/{self.workspace.branch}")
        if saved and saved.state and not saved.state.plain:
            plain = False
        if branch != self.workspace.branch:
            left_behind = await self._switch(branch, plain)
            restored = await saved.files() if saved else None
            return Standing(left_behind=left_behind, lost=lost, restored=restored)
        moved_from, diverged = await self._joined(theirs) if plain else ("", None)
        restored = await saved.files() if saved else None
        seen = await asyncio.to_thread(agents_git.look, self.workspace.path)
        operation = seen.operation if seen else ""
        return Standing(moved_from, diverged, lost=lost, operation=operation, restored=restored)

    async def _opened(self, bundle: bytes | None, base: str | None, since: int | None) -> tuple[Saved | None, bool]:
        """Take a saved state's commits; returns it, and whether there was one that is lost."""
        if not self.workspace.fresh:
            return None, False
        if bundle is None:
            return (await old_checkpoint(self.workspace, self.old_refs, since) if since else None), base is not None
        try:
            return await Saved.opened(self.workspace, bundle, base), False
        except GitFailed as error:
            log.warning("saved_state_not_taken", reason=str(error), detail=error.detail)
            if error.away or not error.may_pass:
                raise
            return None, True

    async def _fetched(self) -> str | None:
        """Look at GitHub's branch; if GitHub is away, the turn goes on with what the workspace has."""
        try:
            return await self.upstream.fetched()
        except GitFailed as error:
            log.warning("not_caught_up", reason=str(error), detail=error.detail)
            return self.workspace.pushed

    async def _joined(self, theirs: str | None) -> tuple[str, Diverged | None]:
        """Bring GitHub's branch in; returns the commit before that (empty: nothing new), and a conflict."""
        workspace = self.workspace
        before = workspace.pushed
        if theirs is None or theirs == before:
            return "", None
        try:
            head = await self._rest_committed()
            tip = await self.upstream.joined(head, theirs) if head else theirs
        except Diverged as diverged:
            return "", diverged
        workspace.pushed = theirs
        if tip != head:
            await workspace.git.patiently("reset", "--quiet", "--hard", tip)
        return before or "", None

    async def _rest_committed(self) -> str | None:
        """Commit what the turn before left uncommitted (it ended before it could); returns the branch's commit."""
        workspace = self.workspace
        head = await workspace.git.oid("HEAD")
        snapshot = await workspace.snapshots.take(head)
        git = workspace.snapshots.git
        if not head or snapshot.tree == (await git("rev-parse", f"{head}^{{tree}}")).strip():
            return head
        message = "Work in progress, left by the turn before"
        commit = (await git("commit-tree", snapshot.tree, "-p", head, "-m", message)).strip()
        await workspace.git("reset", "--quiet", "--mixed", commit)
        return commit

    async def _switch(self, branch: str, plain: bool) -> str:
        """Begin `branch` at the default branch, with our unpushed commits; returns those that conflict, as a range."""
        workspace, git = self.workspace, self.workspace.git
        head = await self._rest_committed() if plain else None
        base, start = workspace.pushed, workspace.there.get(workspace.default_branch)
        before = f"refs/heads/{workspace.branch}"
        workspace.branch, workspace.pushed, workspace.start = branch, None, start
        if not plain:
            return ""
        if start is None:  # the repository is empty
            await git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
            await git("rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")
            return ""
        unpushed = "" if base is None or head in (None, base, EMPTY_TREE) else f"{base}..{head}"
        if unpushed and head:
            try:
                start, unpushed = await self.upstream.replayed(base, head, start), ""
            except Diverged as error:
                log.warning("left_behind", commits=unpushed, detail=error.detail)
        if head and not unpushed:
            workspace.known[before] = head  # it is pushed, or on the new branch: nothing is left there
        await git.patiently("checkout", "--quiet", "--force", "--no-track", "-B", branch, start)
        return unpushed
