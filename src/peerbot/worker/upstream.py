"""Brings the conversation's branch and GitHub's together, and pushes it.

People work on the branch too. Their commits are merged. If they rewrote the branch, our commits go on top of theirs. If
the two conflict, the agent resolves that. If the agent rewrote the branch, it is pushed as it is, but for commits of
people's that it would drop. All of that happens in the supervisor's own git, so the workspace's state does not matter.
"""

import re
from dataclasses import dataclass, field

from peerbot.conversation.keys import AUTHOR
from peerbot.conversation.notes import Left
from peerbot.logs import logger
from peerbot.worker.git import EMPTY_TREE, GitFailed
from peerbot.worker.snapshot import Entry
from peerbot.worker.workspace import Workspace

log = logger(__name__)

SIGN_OFF = f"Signed-off-by: {AUTHOR[0]} <{AUTHOR[1]}>"
_PUSHES = 10
_MOVED = ("fetch first", "non-fast-forward", "cannot lock ref", "incorrect old value", "stale info")
_TOO_LARGE = re.compile(r"^remote: (?:error: )?File (.+?) is [\d.]+ [KMG]B; this exceeds", re.MULTILINE)
_SECRET = re.compile(r"^remote:\s+path: (.+?):\d+\s*$", re.MULTILINE)


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


@dataclass(slots=True)
class Pushed:
    """The result of a push. `commit`: the branch's head; None if there was nothing to push.

    `ours`: the same before anybody else's commits came in. `rewritten`: commits pushed before that are no longer on the
    branch. `refused`: paths that GitHub does not take, and that were taken out of our commits.
    """

    commit: str | None
    ours: str | None = None
    rewritten: int = 0
    refused: dict[str, Left] = field(default_factory=dict)


@dataclass(slots=True)
class Upstream:
    """GitHub's side of `workspace`."""

    workspace: Workspace
    sign_off: bool = False  # whether the repository wants each commit signed off

    async def push(self, wanted: str | None) -> Pushed:
        """Push commit `wanted` to the branch; bring in somebody else's commits on it first.

        Raises `GitFailed` with git's words.
        """
        workspace, git = self.workspace, self.workspace.snapshots.git
        if wanted is None or wanted == workspace.pushed:
            return Pushed(wanted, wanted)
        if workspace.pushed is None and not await self._ahead(wanted):
            return Pushed(None, wanted)
        tip, done = wanted, Pushed(None, wanted)
        named: set[str] = set()
        ref = f"refs/heads/{workspace.branch}"
        for left in reversed(range(_PUSHES)):
            tip, done.rewritten = await self._with_peoples(tip)
            lease = [f"--force-with-lease={ref}:{workspace.pushed}"] if done.rewritten else []
            try:
                await git.patiently("push", "--quiet", "--no-verify", *lease, workspace.url, f"{tip}:{ref}")
                break
            except GitFailed as error:
                refused = refused_paths(error.output)
                if left and refused.keys() - done.refused.keys():
                    # At first they go from the commits below the newest: what was refused may be gone from that one.
                    again = {path: why for path, why in refused.items() if path in named}
                    log.warning("paths_refused", paths=len(refused), again=len(again))
                    named |= refused.keys()
                    done.refused |= again
                    joined, tip = tip != done.ours, await self.without(tip, set(refused), newest=set(again))
                    done.ours = await self.without(done.ours or tip, set(refused), newest=set(again)) if joined else tip
                    continue
                if not left or not any(mark in error.detail for mark in _MOVED):
                    raise
            log.info("branch_moved_meanwhile")
            tip = await self.joined(tip, await self.fetched())
        done.commit = workspace.pushed = workspace.there[workspace.branch] = tip
        return done

    async def fetched(self) -> str | None:
        """Fetch GitHub's branch and the default branch if they moved; its commit, or None without one."""
        workspace, git = self.workspace, self.workspace.snapshots.git
        base = f"refs/heads/{workspace.base}" if workspace.base else "HEAD"
        told = await git("ls-remote", "--symref", workspace.url, base, f"refs/heads/{workspace.branch}")
        oids: dict[str, str] = {}
        for oid, ref in (line.split("\t") for line in told.splitlines()):
            if oid.startswith("ref: refs/heads/"):
                workspace.default_branch = oid.removeprefix("ref: refs/heads/")
            else:
                oids[ref] = oid
        theirs, default = oids.get(f"refs/heads/{workspace.branch}"), oids.get(base)
        wanted = {workspace.branch: theirs, workspace.default_branch: default}
        missing = [oid for name, oid in wanted.items() if oid and workspace.there.get(name) != oid]
        if missing:
            await git("fetch", "--quiet", "--no-tags", "--filter=blob:none", workspace.url, *missing)
        for name, commit in wanted.items():  # a repository that was made again is empty: it has no default branch
            workspace.there.pop(name, None)
            if commit:
                workspace.there[name] = commit
        return theirs

    async def joined(self, tip: str, theirs: str | None) -> str:
        """Bring GitHub's commit `theirs` of the branch into ours; returns our new commit. Raises `Diverged`."""
        workspace, git = self.workspace, self.workspace.snapshots.git
        base = workspace.pushed
        if theirs is None or theirs == base:
            workspace.pushed = theirs
            return tip
        if tip == base or await git.is_ancestor(tip, theirs):
            tip = theirs
        elif base is None or await git.is_ancestor(base, theirs):
            tip = await self.merged(tip, theirs)
        else:  # they rewrote it: commits that are gone there stay gone
            tip = await self.replayed(base, tip, theirs)
        workspace.pushed = theirs
        return tip

    async def merged(self, ours: str, theirs: str) -> str:
        """Merge two commits; returns the merge. Raises `Diverged`."""
        if await self.workspace.snapshots.git.is_ancestor(theirs, ours):
            return ours
        tree = await self._merge_tree(ours, theirs, f"git merge {theirs}")
        message = f"Merge the branch on GitHub into {self.workspace.branch}"
        return await self._commit(tree, [ours, theirs], message)

    async def replayed(self, base: str | None, tip: str, onto: str) -> str:
        """Make the commits between `base` and `tip` again on top of `onto`; merges are left out. Raises `Diverged`."""
        git = self.workspace.snapshots.git
        span = f"{base}..{tip}" if base else tip
        for commit in (await git("rev-list", "--reverse", "--topo-order", "--no-merges", span)).split():
            parent, there = await git.oid(f"{commit}^"), await self._tree(onto)
            # A merge of two children of its parent is a cherry-pick. (git 2.40 can be told the merge base.)
            stand_in = await self._commit(there, [parent] if parent else [], "stand-in")
            tree = await self._merge_tree(stand_in, commit, f"git rebase --onto {onto} {base or '--root'}")
            if tree != there:
                onto = await self._again(commit, tree, [onto])
        return onto

    async def without(self, tip: str, paths: set[str], *, newest: set[str]) -> str:
        """Make our commits that are not on GitHub again without changes to `paths`; returns the new `tip`.

        The newest commit keeps its changes but for those to the paths in `newest`.
        """
        git, snapshots = self.workspace.snapshots.git, self.workspace.snapshots
        known = list(self.workspace.there.values())
        made: dict[str, str] = {}
        listed = await git(
            "rev-list", "--reverse", "--topo-order", "--parents", tip, *(["--not", *known] if known else [])
        )
        for line in listed.splitlines():
            commit, *parents = line.split(" ")
            kept = [made.get(parent, parent) for parent in parents]
            goes = newest if commit == tip else paths
            before = await snapshots.entries(await self._tree(kept[0]), goes) if kept and goes else {}
            after = await snapshots.entries(await self._tree(commit), goes) if goes else {}
            changes: dict[str, Entry | None] = {p: before.get(p) for p in goes if before.get(p) != after.get(p)}
            if changes or kept != parents:
                tree = await snapshots.edited(await self._tree(commit), changes)
                made[commit] = await self._again(commit, tree, kept)
        return made.get(tip, tip)

    async def _with_peoples(self, tip: str) -> tuple[str, int]:
        """Look whether `tip` drops commits that are on GitHub's branch; bring those of people back.

        Returns the commit to push, and the number of commits dropped. Raises `Diverged`.
        """
        workspace, git = self.workspace, self.workspace.snapshots.git
        pushed = workspace.pushed
        if pushed is None or await git.is_ancestor(pushed, tip):
            return tip, 0
        told = await git("log", "--no-merges", "--cherry-pick", "--right-only", "--format=%ce", f"{tip}...{pushed}")
        if set(told.split()) - {AUTHOR[1]}:
            log.info("peoples_commits_brought_back")
            return await self.merged(tip, pushed), 0
        return tip, int(await git("rev-list", "--count", f"{tip}..{pushed}"))

    async def _ahead(self, tip: str) -> bool:
        """Whether there is a commit that the default branch does not have."""
        default = self.workspace.there.get(self.workspace.default_branch)
        span = [tip, f"^{default}"] if default else [tip]
        return bool((await self.workspace.snapshots.git("rev-list", "--max-count=1", *span)).strip())

    async def _merge_tree(self, ours: str, theirs: str, command: str) -> str:
        git = self.workspace.snapshots.git
        try:
            told = await git("merge-tree", "--write-tree", "-z", "--allow-unrelated-histories", ours, theirs)
        except GitFailed as error:
            if not error.printed:
                raise
            # The tree, then the paths in conflict, each with mode, oid and stage; then messages after an empty field.
            fields = error.printed.split("\0")[1:]
            files = [each.partition("\t")[2] for each in fields[: fields.index("")]]
            raise Diverged(command, list(dict.fromkeys(files))) from error
        return told.split("\0")[0].strip()

    async def _tree(self, commit: str) -> str:
        return (await self.workspace.snapshots.git("rev-parse", f"{commit}^{{tree}}")).strip() if commit else EMPTY_TREE

    async def _commit(self, tree: str, parents: list[str], message: str) -> str:
        options = [word for parent in parents for word in ("-p", parent)]
        signed = ["-m", SIGN_OFF] if self.sign_off else []
        return (await self.workspace.snapshots.git("commit-tree", tree, *options, "-m", message, *signed)).strip()

    async def changes_nothing(self, commit: str) -> bool:
        """Whether the branch whose head is `commit` changes no file since it left the default branch."""
        default = self.workspace.there.get(self.workspace.default_branch)
        if default is None:
            return False
        try:
            base = (await self.workspace.snapshots.git("merge-base", default, commit)).strip()
        except GitFailed:  # they have no commit in common
            return False
        return base != commit and await self._tree(base) == await self._tree(commit)

    async def _again(self, commit: str, tree: str, parents: list[str]) -> str:
        """Commit `tree` with the author and the message of `commit`."""
        git = self.workspace.snapshots.git
        name, email, date, message = (await git("log", "-1", "--format=%an%n%ae%n%ad%n%B", "--date=raw", commit)).split(
            "\n", 3
        )
        author = {"GIT_AUTHOR_NAME": name or "unknown", "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": date}
        options = [word for parent in parents for word in ("-p", parent)]
        data = message.encode(errors="surrogateescape")
        return (await git("commit-tree", tree, *options, "-F", "-", data=data, more=author)).strip()


def refused_paths(said: str) -> dict[str, Left]:
    """Find the paths that GitHub refused in git's output, and why: too large, or a secret in them."""
    return dict.fromkeys(_TOO_LARGE.findall(said), Left.TOO_LARGE) | dict.fromkeys(_SECRET.findall(said), Left.SECRET)
