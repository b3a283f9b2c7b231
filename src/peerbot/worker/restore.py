"""Lays a saved state out in a fresh workspace (decision 0022): first the commits, then the files.

Between the two the supervisor brings in other people's commits, if the agent was simply on its branch. If an operation
was in progress, or the agent was elsewhere, the workspace becomes as it was, and other people's commits wait.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from peerbot.conversation.notes import Left
from peerbot.files.opening import write
from peerbot.logs import logger
from peerbot.worker.git import EMPTY_TREE, Git, GitFailed
from peerbot.worker.saved import FILES_REF, STATE_REF, State
from peerbot.worker.snapshot import LINK
from peerbot.worker.workspace import Workspace

log = logger(__name__)

_SAVED = "refs/saved/"
_OLD = "HEAD"  # of a bundle of the release before: commits alone
_OLD_SUBJECT = re.compile(r"Checkpoint of turn (\d+)")
_OLD_LEFT = "Left out: "


@dataclass(frozen=True, slots=True)
class Restored:
    """The changes taken over.

    `conflict`: the commit that holds them, if they no longer apply to the branch. `links`: the submodules that the
    agent had moved, and the commits that they were on.
    """

    left: Mapping[str, Left] = field(default_factory=dict)  # files that could not be saved, and why
    conflict: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


class Saved:
    """A saved state whose commits are in `workspace` now. `state` is None for a bundle of the release before."""

    def __init__(self, workspace: Workspace, state: State | None, files: str | None) -> None:
        self._workspace = workspace
        self._git = workspace.git
        self.state = state
        self._files = files

    @classmethod
    async def opened(cls, workspace: Workspace, bundle: bytes, base: str | None) -> "Saved":
        """Take the commits of `bundle` into the workspace. Raises `GitFailed`, also if a commit below them is gone."""
        git = workspace.git
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "state.bundle"
            await asyncio.to_thread(file.write_bytes, bundle)
            heads, needed = _header(bundle)
            for oid in dict.fromkeys([*([base] if base else []), *needed]):
                if not await git.knows(oid):  # its branch is gone, or was rewritten
                    await git("fetch", "--quiet", "--no-tags", workspace.url, oid)
            if STATE_REF not in heads:
                await git("fetch", "--quiet", "--no-tags", str(file), _OLD)
                return cls(workspace, None, None)
            await git("fetch", "--quiet", "--no-tags", str(file), f"+{_SAVED}*:{_SAVED}*")
        state = State.model_validate_json(await git("cat-file", "blob", f"{STATE_REF}:state.json"))
        log.info("saved_state_found", turn=state.turn, operation=state.operation, left=len(state.left))
        return cls(workspace, state, await git.oid(FILES_REF))

    def base(self, kept: str | None) -> str | None:
        """Return GitHub's commit of the branch when the state was saved; `kept` if the state does not say."""
        return self.state.base if self.state else kept

    async def commits(self) -> None:
        """Put the agent's refs back, and the conversation's branch on the commit where it was. Raises `GitFailed`."""
        state = self.state
        if state is None:
            await self._git.patiently("reset", "--quiet", "--hard", "FETCH_HEAD")
            return
        current = f"refs/heads/{state.branch}"
        others = {ref: oid for ref, oid in state.refs.items() if ref != current}
        await self._refs(f"update {ref} {oid}" for ref, oid in others.items())
        for oid in reversed(state.stashes):
            message = (await self._git("log", "-1", "--format=%s", oid)).strip()
            await self._git("stash", "store", "--message", message, oid)
        where = state.refs.get(current) or (state.head if state.plain else None)
        if where and state.plain:
            await self._git.patiently("reset", "--quiet", "--hard", where)
        elif where:
            await self._git.patiently("checkout", "--quiet", "--no-track", "-B", self._workspace.branch, where)

    async def files(self) -> Restored:
        """Lay the files out as uncommitted changes, and the operation in progress with them. Raises `GitFailed`."""
        state = self.state
        if state is None or self._files is None:
            return Restored()
        conflict = ""
        if state.plain:
            if await self._laid(self._files, state.head):
                await conflicting_again(self._git, state.unmerged)
            else:
                conflict = self._files
        else:
            await self._exactly(state, self._files)
        if not conflict:
            await self._stage_hidden(self._files, state.head)
        for tree in state.worktrees:
            with suppress(GitFailed):
                await self._worktree(tree.path, tree.branch, tree.head, tree.commit)
        for i, path in enumerate(state.nested):
            await self._nested(f"{STATE_REF}:nested/{i}", path)
        if not conflict:
            await self._forget()
        return Restored(state.left, conflict, await self._links(self._files, state.head))

    async def _laid(self, commit: str, parent: str | None) -> bool:
        """Add the changes between `parent` and `commit`; False if they conflict with what is on the branch now."""
        git, head = self._git, await self._workspace.head()
        if parent and parent != head:
            try:
                await git("cherry-pick", "--no-commit", commit)
            except GitFailed:
                await git("reset", "--quiet", "--hard", head)
                return False
            await git("reset", "--quiet")
            return True
        await git.patiently("read-tree", "--reset", "-u", commit)
        await git(*(("reset", "--quiet") if parent else ("read-tree", "--empty")))
        return True

    async def _exactly(self, state: State, files: str) -> None:
        """Make HEAD, files, index and the operation in progress as they were."""
        git = self._git
        directory = self._workspace.path / ".git"
        await git.patiently("checkout", "--quiet", "--detach", state.head or "HEAD")
        await git.patiently("read-tree", "--reset", "-u", files)
        if state.on:
            await git("symbolic-ref", "HEAD", state.on)
        index = f"{STATE_REF}:index"
        await git("read-tree", "--reset", index if await self._has(index) else state.head or EMPTY_TREE)
        await conflicting_again(git, state.unmerged)
        with suppress(GitFailed):
            await git("update-index", "--quiet", "--refresh")
        names = await git("ls-tree", "-r", "-z", "--name-only", f"{STATE_REF}:") if state.operation else ""
        for name in (each.removeprefix("git/") for each in names.split("\0") if each.startswith("git/")):
            data = await git("cat-file", "blob", f"{STATE_REF}:git/{name}")
            place = directory / name
            if ".." in place.parts:
                continue  # git makes no such name: the agent forged the state
            place.parent.mkdir(parents=True, exist_ok=True)
            write(place, data.encode(errors="surrogateescape"))

    async def _stage_hidden(self, commit: str, parent: str | None) -> None:
        """Stage the files that a rule hides (`.gitignore`): the agent had staged them, or git would pass over them."""
        hidden = await self._git("ls-files", "-z", "--others", "--ignored", "--exclude-standard")
        saved = await self._git("diff-tree", "-r", "-z", "--name-only", "--no-renames", parent or EMPTY_TREE, commit)
        if paths := set(filter(None, hidden.split("\0"))) & set(saved.split("\0")):
            names = "".join(f"{path}\0" for path in sorted(paths)).encode(errors="surrogateescape")
            await self._git("update-index", "-z", "--add", "--stdin", data=names)

    async def _links(self, commit: str, parent: str | None) -> dict[str, str]:
        """Find the submodules that are on another commit in `commit` than in `parent`."""
        told = (await self._git("diff-tree", "-r", "-z", "--no-renames", parent or EMPTY_TREE, commit)).split("\0")
        changed = ((path, words.split(" ")) for words, path in zip(told[0::2], told[1::2], strict=False))
        return {path: words[3] for path, words in changed if words[1] == LINK}

    async def _worktree(self, path: str, branch: str, head: str, commit: str) -> None:
        where = [branch] if branch else ["--detach", head]
        await self._git("worktree", "add", "--quiet", "--force", path, *where)
        if commit != head:
            own = {"GIT_WORK_TREE": str(self._workspace.path / path)}
            with tempfile.TemporaryDirectory() as directory:
                index = Path(directory) / "index"
                await self._git("read-tree", "--reset", "-u", commit, index=index, more=own)

    async def _nested(self, tree: str, path: str) -> None:
        """Write the files of a nested repository, and make a repository of them, so that it stays one."""
        if not await self._has(tree):
            return
        place = self._workspace.path / path
        if ".." in place.parts or not place.is_relative_to(self._workspace.path):
            return  # not of our making: the agent forged the state
        place.mkdir(parents=True, exist_ok=True)
        own = {"GIT_DIR": str(place / ".git"), "GIT_WORK_TREE": str(place)}
        with tempfile.TemporaryDirectory() as directory:
            index = Path(directory) / "index"
            await self._git("read-tree", tree, index=index)
            await self._git("checkout-index", "--all", "--force", index=index, more={"GIT_WORK_TREE": str(place)})
        await self._git("init", "--quiet", more={"GIT_DIR": own["GIT_DIR"]})
        await self._git("add", "--all", more=own)
        await self._git("commit", "--quiet", "--allow-empty", "-m", "The files as PeerBot saved them", more=own)

    async def _has(self, object_name: str) -> bool:
        try:
            await self._git("cat-file", "-e", object_name)
        except GitFailed:
            return False
        return True

    async def _forget(self) -> None:
        """Remove our refs: what they hold is laid out."""
        refs = await self._git("for-each-ref", "--format=delete %(refname)", _SAVED)
        await self._refs(refs.splitlines())

    async def _refs(self, commands: Iterable[str]) -> None:
        """Change refs, all or none; `commands` as `git update-ref --stdin` takes them, one each."""
        if lines := "".join(f"{command}\n" for command in commands):
            await self._git("update-ref", "--stdin", data=lines.encode())


def _header(bundle: bytes) -> tuple[set[str], list[str]]:
    """Read a bundle's refs, and the commits that it builds on (gitformat-bundle(5))."""
    refs, needed = set(), []
    for line in bundle[: bundle.find(b"\n\n")].decode(errors="replace").splitlines()[1:]:
        words = line.split(" ", 2)
        if line.startswith("-"):
            needed.append(words[0][1:])
        elif not line.startswith("@") and len(words) > 1:
            refs.add(words[1])
    return refs, needed


async def conflicting_again(git: Git, unmerged: str) -> None:
    """Put conflicts back into git's index; `unmerged` as `git ls-files --unmerged -z` says them. Raises `GitFailed`."""
    lines = [line for line in unmerged.split("\0") if line]
    if lines:
        gone = [f"0 {'0' * 40}\t{path}" for path in dict.fromkeys(line.partition("\t")[2] for line in lines)]
        data = "".join(f"{line}\0" for line in [*gone, *lines]).encode(errors="surrogateescape")
        await git("update-index", "-z", "--index-info", data=data)


async def old_checkpoint(workspace: Workspace, folder: str, since: int) -> Saved | None:
    """Find the newest checkpoint of turn `since` or later that a worker of the release before pushed to `folder`.

    It is a commit on top of the agent's head. Raises `GitFailed`.
    """
    git = workspace.git
    await git.patiently("fetch", "--quiet", "--no-tags", workspace.url, f"+{folder}/*:{folder}/*")
    refs = (await git("for-each-ref", "--format=%(refname)", folder)).split()
    for ref in sorted(refs, key=lambda ref: int(ref.rpartition("/")[2]), reverse=True):
        commit, parent, *message = (await git("log", "-1", "--format=%H%n%P%n%B", ref)).rstrip().split("\n")
        if message and (found := _OLD_SUBJECT.fullmatch(message[0])) and int(found[1]) >= since:
            left = {line[len(_OLD_LEFT) :]: Left.TOO_LARGE for line in message if line.startswith(_OLD_LEFT)}
            state = State(
                turn=int(found[1]),
                branch=workspace.branch,
                base=workspace.pushed,
                on=f"refs/heads/{workspace.branch}",
                head=parent or None,
                left=left,
            )
            log.info("old_checkpoint_found", commit=commit)
            return Saved(workspace, state, commit)
    return None
