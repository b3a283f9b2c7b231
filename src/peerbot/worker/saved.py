"""Packs everything that is in the workspace and not on the branch, so that another run can lay it out (decision 0022).

A *saved state* is one git bundle. It holds the commits of all branches, tags, stashes and working trees that the
repository on GitHub does not have, the files as they are (`refs/saved/files`), and the state of an operation in
progress (`refs/saved/state`: `state.json`, the operation's files, the index, and the files of nested repositories).
A checkpoint is such a state, and so is the rest of a turn that could not get on the branch.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from peerbot.conversation.notes import Left
from peerbot.files.opening import read
from peerbot.logs import logger
from peerbot.worker import agents_git
from peerbot.worker.agents_git import AgentsGit
from peerbot.worker.git import EMPTY_TREE, GitFailed
from peerbot.worker.snapshot import ALONE, Entry, Snapshot, Snapshots

log = logger(__name__)

LARGEST_FILE_BYTES = 10 * 1024 * 1024
LARGEST_BUNDLE_BYTES = 44 * 1024 * 1024
LARGEST_NESTED_BYTES = 32 * 1024 * 1024
STATE_REF, FILES_REF, BRANCH_REF = "refs/saved/state", "refs/saved/files", "refs/saved/branch"
_STATE = "state.json"


class SavedWorktree(BaseModel):
    """A working tree of the agent's: `commit` holds its files, on top of `head`."""

    path: str
    branch: str
    head: str
    commit: str


class State(BaseModel):
    """`state.json`. `refs`, `on`, `head`, `stashes`, `operation`: as in `AgentsGit`.

    `branch`: the conversation's branch then, and `base` GitHub's commit of it. `unmerged`: the conflicts, as `git
    ls-files --unmerged -z` says them. `nested`: folders with a git of their own, whose files are in `nested/{i}`.
    `left`: paths that are not saved, and why.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_version: int = Field(default=1, alias="schema")
    turn: int
    branch: str
    base: str | None
    on: str
    head: str | None
    refs: dict[str, str] = Field(default_factory=dict)
    stashes: tuple[str, ...] = ()
    operation: str = ""
    unmerged: str = ""
    worktrees: tuple[SavedWorktree, ...] = ()
    nested: tuple[str, ...] = ()
    left: dict[str, Left] = Field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the agent was on its branch, with no operation in progress."""
        return not self.operation and self.on == f"refs/heads/{self.branch}"


@dataclass(frozen=True, slots=True)
class Packed:
    """A saved state as a bundle. `data` is None if it is too large to keep."""

    data: bytes | None
    state: State


class Packer:
    """Packs the state of a workspace. `there` are the commits that GitHub has."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._git = snapshots.git

    async def state(
        self,
        turn: int,
        seen: AgentsGit | None,
        snapshot: Snapshot,
        *,
        branch: str,
        base: str | None,
        known: Mapping[str, str],
    ) -> State:
        """Describe the workspace; refs as in `known` are left out. Raises `GitFailed`."""
        if seen is None:
            return State(
                turn=turn,
                branch=branch,
                base=base,
                on=f"refs/heads/{branch}",
                head=base,
                nested=snapshot.nested,
                left=dict(snapshot.left),
            )
        inside = {str(tree.path) for tree in seen.worktrees}
        return State(
            turn=turn,
            branch=branch,
            base=base,
            on=seen.on,
            head=seen.head,
            refs={ref: oid for ref, oid in seen.refs.items() if known.get(ref) != oid},
            stashes=seen.stashes,
            operation=seen.operation,
            unmerged=await self._unmerged() if snapshot.unfit else "",
            worktrees=tuple([await self._worktree(tree) for tree in seen.worktrees]),
            nested=tuple(p for p in snapshot.nested if str(self._snapshots.workspace / p) not in inside),
            left=dict(snapshot.left),
        )

    async def packed(
        self, state: State, seen: AgentsGit | None, snapshot: Snapshot, *, there: Iterable[str], tip: str | None = None
    ) -> Packed:
        """Pack `state`; `tip` is the commit for the branch if it is not pushed. Raises `GitFailed` and `OSError`."""
        files = await self._commit(snapshot.tree, state.head, f"Checkpoint of turn {state.turn}")
        refs = {f"refs/saved/{ref}": oid for ref, oid in state.refs.items()}
        refs |= {f"refs/saved/stash/{i}": oid for i, oid in enumerate(state.stashes)}
        refs |= {f"refs/saved/worktree/{i}": each.commit for i, each in enumerate(state.worktrees)}
        operation = seen.state_files() if seen and seen.operation else {}
        for i, oid in enumerate(sorted(agents_git.commits_named(operation))):
            if await self._git.knows(oid):
                refs[f"refs/saved/operation/{i}"] = oid
        refs |= {FILES_REF: files, STATE_REF: await self._state_commit(state, operation, bool(seen and seen.operation))}
        if branch := tip or state.refs.get(f"refs/heads/{state.branch}") or state.head:
            refs[BRANCH_REF] = branch
        await self._set(refs)
        return Packed(await self._bundle(list(there)), state)

    async def _bundle(self, there: list[str]) -> bytes | None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "state.bundle"
            known = await self._known(there)
            await self._git("bundle", "create", "--quiet", str(file), "--all", *(["--not", *known] if known else []))
            if file.lstat().st_size > LARGEST_BUNDLE_BYTES:
                log.warning("bundle_too_large", bytes=file.lstat().st_size)
                return None
            # What was packed stays here, too, if the agent removes its `.git`.
            await self._git("bundle", "unbundle", str(file))
            return await asyncio.to_thread(read, Path(directory), file.name, most_bytes=LARGEST_BUNDLE_BYTES)

    async def _known(self, commits: Iterable[str]) -> list[str]:
        """Leave out the commits that are not here."""
        asked = "".join(f"{oid}\n" for oid in dict.fromkeys(commits))
        told = await self._git("cat-file", "--batch-check=%(objectname) %(objecttype)", data=asked.encode())
        return [line.removesuffix(" commit") for line in told.splitlines() if line.endswith(" commit")]

    async def _set(self, refs: Mapping[str, str]) -> None:
        """Make `refs` the only refs of our own git."""
        old = (await self._git("for-each-ref", "--format=%(refname)")).split()
        lines = [f"delete {ref}\n" for ref in old if ref not in refs] + [
            f"update {ref} {oid}\n" for ref, oid in refs.items()
        ]
        await self._git("update-ref", "--stdin", data="".join(lines).encode())
        await self._git("symbolic-ref", "HEAD", BRANCH_REF)

    async def _commit(self, tree: str, parent: str | None, message: str) -> str:
        return (await self._git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", message)).strip()

    async def _state_commit(self, state: State, operation: Mapping[str, bytes], index: bool) -> str:
        """Commit `state.json`, the operation's files, its index, and the files of nested repositories."""
        entries: dict[str, Entry | None] = {_STATE: await self._blob(state.model_dump_json().encode())}
        for path, data in operation.items():
            entries[f"git/{path}"] = await self._blob(data)
        tree = await self._snapshots.edited(EMPTY_TREE, entries)
        folders = {f"nested/{i}": await self._nested(path) for i, path in enumerate(state.nested)}
        if index and (staged := await self._index()):
            folders["index"] = staged
        for prefix, folder in folders.items():
            if folder:
                there = await self._snapshots.entries(folder)
                tree = await self._snapshots.edited(tree, {f"{prefix}/{path}": entry for path, entry in there.items()})
        return await self._commit(tree, None, f"The state of turn {state.turn}")

    async def _blob(self, data: bytes) -> Entry:
        return Entry(
            "100644", (await self._git("hash-object", "-w", "--stdin", "--no-filters", data=data, more=ALONE)).strip()
        )

    async def _unmerged(self) -> str:
        """Read the conflicts in the agent's index."""
        return await self._with_agents_index("ls-files", "--unmerged", "-z")

    async def _index(self) -> str | None:
        """Write the agent's index as a tree, without conflicts; None if git can't."""
        try:
            conflicts = await self._with_agents_index("ls-files", "--unmerged", "-z")
            paths = {line.partition("\t")[2] for line in filter(None, conflicts.split("\0"))}
            gone = "".join(f"0 {'0' * 40}\t{path}\0" for path in paths)
            with tempfile.TemporaryDirectory() as directory:
                index = Path(directory) / "index"
                self._snapshots.copy_index(index)
                await self._git("update-index", "-z", "--index-info", data=os.fsencode(gone), index=index)
                return (await self._git("write-tree", "--missing-ok", index=index)).strip()
        except (GitFailed, OSError) as error:
            log.warning("index_not_saved", reason=str(error))
            return None

    async def _with_agents_index(self, *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as directory:
            index = Path(directory) / "index"
            self._snapshots.copy_index(index)
            return await self._git(*arguments, index=index)

    async def _worktree(self, tree: agents_git.Worktree) -> SavedWorktree:
        """Commit the files of another working tree on top of its head, if they differ from it."""
        commit = tree.head
        try:
            files = await self._folder(tree.path, tree.head)
            if files and files != (await self._git("rev-parse", f"{tree.head}^{{tree}}")).strip():
                commit = await self._commit(files, tree.head, "Files of a working tree")
        except GitFailed as error:
            log.warning("worktree_not_saved", reason=str(error), detail=error.detail)
        try:
            path = str(tree.path.resolve().relative_to(self._snapshots.workspace.resolve()))
        except ValueError:
            path = str(tree.path)
        return SavedWorktree(path=path, branch=tree.branch, head=tree.head, commit=commit)

    async def _nested(self, path: str) -> str | None:
        """Write the files of a nested repository as a tree; None if they are too many to save."""
        try:
            return await self._folder(self._snapshots.workspace / path, None)
        except GitFailed as error:
            log.warning("nested_not_saved", reason=str(error), detail=error.detail)
            return None

    async def _folder(self, folder: Path, head: str | None) -> str | None:
        """Write the files of `folder` as a tree, as they differ from `head`; None if they are larger than 32 MiB."""
        with tempfile.TemporaryDirectory() as directory:
            index, own = Path(directory) / "index", {"GIT_WORK_TREE": str(folder)}
            await self._git("read-tree", head or EMPTY_TREE, index=index, more=own)
            listed = await self._git("ls-files", "-z", "-m", "-o", "--exclude-standard", index=index, more=own)
            paths = [path for path in dict.fromkeys(listed.split("\0")) if path and not path.endswith("/")]
            sizes = await asyncio.to_thread(_sizes, folder, paths)
            takes = [path for path, size in sizes.items() if size <= LARGEST_FILE_BYTES]
            if sum(sizes[path] for path in takes) > LARGEST_NESTED_BYTES:
                return None
            names = os.fsencode("".join(f"{path}\0" for path in takes))
            own |= ALONE
            await self._git("update-index", "-z", "--add", "--remove", "--stdin", data=names, index=index, more=own)
            return (await self._git("write-tree", "--missing-ok", index=index, more=own)).strip()


def _sizes(folder: Path, paths: Iterable[str]) -> dict[str, int]:
    sizes = {}
    for path in paths:
        try:
            sizes[path] = (folder / path).lstat().st_size
        except OSError:
            sizes[path] = 0  # it is gone
    return sizes
