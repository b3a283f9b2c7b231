"""Takes snapshots of the workspace's files with a git folder of the supervisor's own (decision 0022).

The folder lies beside the workspace. It has an index, a configuration and no hooks of its own, and borrows the objects
of the agent's `.git` as long as they are there. So nothing that the agent does to `.git` can keep a snapshot from being
taken, and no snapshot changes `.git`. A path that git can't take costs that path alone.
"""

import asyncio
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from peerbot.conversation.notes import Left
from peerbot.files import opening
from peerbot.files.opening import Kind
from peerbot.files.removal import remove
from peerbot.logs import logger
from peerbot.worker import agents_git
from peerbot.worker.git import EMPTY_TREE, Git, GitFailed, supervisors_environment

log = logger(__name__)

LARGEST_FILE_BYTES = 100 * 1024 * 1024
"""The largest file that GitHub takes."""

_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tlogAllRefUpdates = false
[extensions]
\tpartialClone = origin
[remote "origin"]
\turl = {url}
\tpromisor = true
\tpartialclonefilter = blob:none
"""
_LFS_POINTER = "version https://git-lfs"
_LARGEST_POINTER_BYTES = 1024
_FILES = ("100644", "100755")
_GONE = "0" * 40
_LENT = "GIT_ALTERNATE_OBJECT_DIRECTORIES"
ALONE = {_LENT: ""}
"""For git that writes objects: it does not write what it could borrow, and the agent may remove what it lends."""
LINK = "160000"
"""The mode of a submodule's entry in a tree."""
_MOST_ARGUMENTS = 500
_LARGEST_INDEX_BYTES = 1024 * 1024 * 1024
_REMOVE_SECONDS = 120.0
_LONG_SECONDS = 10.0
_GITS_FILES = (".gitignore", ".gitattributes")


@dataclass(frozen=True, slots=True)
class Entry:
    """A path's entry in a tree; mode and oid as git writes them."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The workspace's files at one moment.

    `tree` holds all that git can take. `left` names the paths that it does not hold, or holds as they were before.
    `unfit` names the paths that it holds and that may not get on a branch. `nested`: folders with a git of their own.
    """

    tree: str
    left: Mapping[str, Left] = field(default_factory=dict)
    unfit: Mapping[str, Left] = field(default_factory=dict)
    nested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Staged:
    """The facts in the agent's own index: all its paths, those that it keeps off the disk, and those in conflict."""

    paths: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    conflicts: frozenset[str] = frozenset()


class Snapshots:
    """Takes snapshots of `workspace`, in the git folder `place`; `url` is the repository's on the gateway."""

    def __init__(
        self, workspace: Path, place: Path, *, url: str, environment: Mapping[str, str], patience_seconds: float
    ) -> None:
        self.workspace = workspace
        self._place = place
        self._url = url
        objects = {_LENT: str(workspace / ".git" / "objects")}
        own = {"GIT_DIR": str(place), "GIT_WORK_TREE": str(workspace)}
        ours = supervisors_environment(environment, **own, **objects)
        self.git = Git(place, ours, patience_seconds=patience_seconds)
        self._before: dict[str, Entry] = {}  # paths that the checkout itself left changed, and how
        self._read: tuple[tuple[int, int], _Staged] | None = None  # the agent's index when it was read last
        self._compared: tuple[_Staged, str | None] | None = None  # what the last look for hidden files compared
        self._tree: str | None = None  # of our index, if it is as it was written last
        self._taking = asyncio.Lock()

    async def begin(self) -> None:
        """Begin in a fresh checkout. What differs from its commit now is not the agent's work. Raises `GitFailed`."""
        await asyncio.to_thread(self._make)
        seen = agents_git.look(self.workspace)
        head = seen.head if seen else None
        await self.take(head)
        self._before = await self._differing(head)
        if self._before:
            log.info("changed_by_the_checkout", files=len(self._before))

    async def take(self, head: str | None, *, largest_bytes: int = LARGEST_FILE_BYTES) -> Snapshot:
        """Take a snapshot of files up to `largest_bytes` each, to compare with commit `head`. Raises `GitFailed`.

        One is taken at a time. So a lock that is there is of a git that was killed, in a checkpoint that was cut short.
        """
        async with self._taking:
            (self._place / "index.lock").unlink(missing_ok=True)
            return await self._take(head, largest_bytes)

    async def _take(self, head: str | None, largest_bytes: int) -> Snapshot:
        await asyncio.to_thread(self._make_if_gone)
        staged = await self._staged()
        asked = ("ls-files", "-z", "--modified", "--others", "--exclude-standard")
        listed = (await self._freed(*asked)).split("\0")
        changed = dict.fromkeys(filter(None, [*listed, *await self._hidden(staged, head)]))
        nested = tuple(path.rstrip("/") for path in changed if path.endswith("/"))
        files, left = await asyncio.to_thread(
            self._sorted, [p for p in changed if not p.endswith("/")], staged, largest_bytes
        )
        left |= await self._moved_submodules(files)
        if takes := [path for path in files if path not in left]:
            self._tree = None
            left |= await self._add(takes)
        unfit = dict.fromkeys(staged.conflicts, Left.CONFLICT)
        self._tree = self._tree or (await self.git("write-tree", "--missing-ok", more=ALONE)).strip()
        return Snapshot(await self._without_checkouts(self._tree, head), left, unfit, nested)

    async def special(self) -> dict[str, Left]:
        """Find what git passes over in silence: pipes, sockets and closed folders; ignored ones are left out."""
        found = await asyncio.to_thread(_special_files, self.workspace)
        ignored = await self.ignored(found)
        return {path: why for path, why in found.items() if path not in ignored}

    async def ignored(self, paths: Iterable[str]) -> set[str]:
        """Find those of `paths` that a rule hides (`.gitignore`)."""
        names = "".join(f"{path}\0" for path in paths)
        try:
            told = await self._freed("check-ignore", "-z", "--stdin", data=os.fsencode(names)) if names else ""
        except GitFailed:
            return set()  # none of them
        return set(filter(None, told.split("\0")))

    async def raw_lfs(self, commit: str, paths: Iterable[str]) -> set[str]:
        """Find those of `paths` that belong to Git LFS and are no pointer to it in `commit`. Raises `GitFailed`."""
        names = "".join(f"{path}\0" for path in paths)
        told = (await self.git("check-attr", "-z", "--stdin", "filter", data=os.fsencode(names))).split("\0")
        of_lfs = [path for path, value in zip(told[0::3], told[2::3], strict=False) if value == "lfs"]
        there = await self.entries(f"{commit}^{{tree}}", of_lfs) if of_lfs else {}
        return {path for path, entry in there.items() if not await self._is_pointer(entry)}

    async def _is_pointer(self, entry: Entry) -> bool:
        if entry.mode not in _FILES:
            return True  # a link is stored as it is
        size = int(await self.git("cat-file", "-s", entry.oid))
        return size < _LARGEST_POINTER_BYTES and (await self.git("cat-file", "blob", entry.oid)).startswith(
            _LFS_POINTER
        )

    async def edited(self, tree: str, changes: Mapping[str, Entry | None]) -> str:
        """Write `tree` with other entries for some paths; None removes a path. Returns the new tree."""
        if not changes:
            return tree
        with tempfile.TemporaryDirectory() as directory:
            index = Path(directory) / "index"
            await self.git("read-tree", tree, index=index)
            entries = (
                f"{entry.mode} {entry.oid}\t{path}\0" if entry else f"0 {_GONE}\t{path}\0"
                for path, entry in changes.items()
            )
            await self.git("update-index", "-z", "--index-info", data=os.fsencode("".join(entries)), index=index)
            return (await self.git("write-tree", "--missing-ok", index=index, more=ALONE)).strip()

    async def entries(self, tree: str, paths: Iterable[str] = ()) -> dict[str, Entry]:
        """Read the entries of `tree` at `paths` (without paths: all). Folders are opened, and missing paths absent."""
        wanted = set(paths)
        if tree == EMPTY_TREE:
            return {}
        if not wanted or len(wanted) > _MOST_ARGUMENTS:
            told = await self.git("ls-tree", "-r", "-z", tree)
        else:
            told = await self.git("--literal-pathspecs", "ls-tree", "-r", "-z", tree, "--", *sorted(wanted))
        found = {}
        for line in filter(None, told.split("\0")):
            words, _, path = line.partition("\t")
            mode, _, oid = words.split(" ")
            if not wanted or path in wanted:
                found[path] = Entry(mode, oid)
        return found

    def copy_index(self, target: Path) -> None:
        """Copy the agent's index to `target`. Raises `OSError` if there is none that is a regular file."""
        self._copied("index", target)

    async def fit(self, snapshot: Snapshot, onto: str | None) -> str:
        """Write the snapshot's tree for a commit on `onto`: paths that may not get on a branch stay as in that."""
        if not snapshot.unfit:
            return snapshot.tree
        there = await self.entries(onto, snapshot.unfit) if onto else {}
        return await self.edited(snapshot.tree, {path: there.get(path) for path in snapshot.unfit})

    def lend(self) -> None:
        """Let the agent's git borrow our objects, so that it has the commits that we make."""
        remove(self._place, seconds=_REMOVE_SECONDS)
        (self._place / "objects").mkdir(parents=True)
        alternates = self.workspace / ".git" / "objects" / "info" / "alternates"
        opening.write(alternates, os.fsencode(f"{self._place / 'objects'}\n"))

    # The steps

    async def _freed(self, *arguments: str, data: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        """Run git. If it takes long, free it from pipes in the workspace that it would read from for ever."""
        running = asyncio.create_task(self.git(*arguments, data=data, more=more))
        try:
            done, _ = await asyncio.wait([running], timeout=_LONG_SECONDS)
            if done or not await asyncio.to_thread(_remove_pipes, self.workspace):
                return await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
        log.warning("git_freed")
        (self._place / "index.lock").unlink(missing_ok=True)
        return await self.git(*arguments, data=data, more=more)

    def _make(self) -> None:
        self._read = self._compared = self._tree = None
        for name in ("objects/info", "objects/pack", "refs/heads", "info"):
            (self._place / name).mkdir(parents=True, exist_ok=True)
        opening.write(self._place / "config", _CONFIG.format(url=self._url).encode())
        opening.write(self._place / "HEAD", b"ref: refs/heads/none\n")
        with suppress(OSError):  # the copy spares git from reading every file again
            self._copied("index", self._place / "index")

    def _copied(self, name: str, target: Path) -> tuple[int, int]:
        """Copy a file of the agent's `.git`; returns its time and size. Raises `OSError` if it is no regular file."""
        with opening.opened(self.workspace, f".git/{name}") as file:
            there = os.fstat(file)
            opening.copy(file, target, most_bytes=_LARGEST_INDEX_BYTES)
        return there.st_mtime_ns, there.st_size

    def _make_if_gone(self) -> None:
        if opening.kind(self._place, "HEAD") is None:
            log.warning("own_git_made_again")
            self._make()
        exclude = self._place / "info" / "exclude"
        try:
            self._copied("info/exclude", exclude)
        except OSError:
            exclude.unlink(missing_ok=True)

    async def _staged(self) -> _Staged:
        """Read the agent's index; nothing if git can't read it."""
        index = self._place / "agents-index"
        try:
            with opening.opened(self.workspace, ".git/index") as file:
                there = os.fstat(file)
            if self._read and self._read[0] == (there.st_mtime_ns, there.st_size):
                return self._read[1]
            is_now = await asyncio.to_thread(self._copied, "index", index)
            told = await self.git("ls-files", "-v", "-z", "--stage", index=index)
        except (GitFailed, OSError):
            return _Staged()
        paths, absent, conflicts = set(), set(), set()
        for line in filter(None, told.split("\0")):
            words, _, path = line.partition("\t")
            paths.add(path)
            if words[0] in "Ss":
                absent.add(path)
            if not words.endswith(" 0"):
                conflicts.add(path)
        self._read = is_now, _Staged(frozenset(paths), frozenset(absent), frozenset(conflicts))
        return self._read[1]

    async def _hidden(self, staged: _Staged, head: str | None) -> list[str]:
        """Find the files that a rule hides (`.gitignore`) and that the agent has committed or staged all the same."""
        if self._compared and self._compared[0] is staged and self._compared[1] == head:
            return []
        self._compared = staged, head
        known = set((await self.git("ls-files", "-z")).split("\0"))
        wanted = staged.paths - known
        if head:
            told = await self.git(
                "diff-index", "--cached", "--name-only", "--diff-filter=D", "--no-renames", "-z", head
            )
            wanted |= set(filter(None, told.split("\0")))
        return await asyncio.to_thread(self._on_disk, sorted(wanted))

    def _on_disk(self, paths: list[str]) -> list[str]:
        return [path for path in paths if opening.kind(self.workspace, path) not in (None, Kind.FOLDER)]

    def _sorted(self, paths: list[str], staged: _Staged, largest: int) -> tuple[list[str], dict[str, Left]]:
        """Split `paths` into those to add (or to remove), and those that stay out, with the reason."""
        goes: list[str] = []  # first, since a file may take a folder's place, and a folder a file's
        takes, left = [], {}
        for path in paths:
            try:
                there = (self.workspace / path).lstat()
            except OSError:
                if path not in staged.absent:  # in a sparse checkout it is not there on purpose
                    goes.append(path)
                continue
            if stat.S_ISDIR(there.st_mode):
                goes.append(path)
            elif there.st_size > largest:
                left[path] = Left.TOO_LARGE
            else:
                takes.append(path)
        return goes + takes, left

    async def _moved_submodules(self, paths: list[str]) -> dict[str, Left]:
        """Find the submodules that are on a commit of the agent's, which nobody could fetch."""
        moved = await asyncio.to_thread(
            lambda: [path for path in paths if opening.kind(self.workspace, f"{path}/.git") is not None]
        )
        return {path: Left.SUBMODULE for path in moved if not await self.fetchable(path)}

    async def fetchable(self, path: str, commit: str | None = None) -> bool:
        """Whether submodule `path` has its `commit` (the one it is on, if none is given) from a server."""
        there = agents_git.look(self.workspace / path, self.workspace)
        if there is None or not (commit or there.head):
            return False
        own = {"GIT_DIR": str(there.directory), "GIT_WORK_TREE": str(self.workspace / path)}
        contains = f"--contains={commit or there.head}"
        try:
            return bool(await self.git("for-each-ref", "--count=1", contains, "refs/remotes", more=own))
        except GitFailed:
            return False

    async def _add(self, paths: list[str]) -> dict[str, Left]:
        """Add `paths` as they are now, gone ones too. Returns those that git can't take.

        git adds none of them if it can't take one, so this halves the list until that one is alone.
        """
        if not paths:
            return {}
        names = os.fsencode("".join(f"{path}\0" for path in paths))
        try:
            await self._freed("update-index", "-z", "--add", "--remove", "--replace", "--stdin", data=names, more=ALONE)
        except GitFailed as error:
            if len(paths) == 1:
                log.info("path_left_out", detail=error.detail)
                readable = os.access(self.workspace / paths[0], os.R_OK)
                return {paths[0]: Left.REFUSED_BY_GIT if readable else Left.UNREADABLE}
            half = len(paths) // 2
            return await self._add(paths[:half]) | await self._add(paths[half:])
        return {}

    async def _differing(self, head: str | None) -> dict[str, Entry]:
        """Read the paths whose entry in our index is another than in `head`, and that entry."""
        told = (await self.git("diff-index", "--cached", "--no-renames", "-z", head or EMPTY_TREE)).split("\0")
        found = {}
        for words, path in zip(told[0::2], told[1::2], strict=False):
            _, mode, _, oid, _ = words.split(" ")
            found[path] = Entry(mode, oid)
        return found

    async def _without_checkouts(self, tree: str, head: str | None) -> str:
        """Take back what only the checkout changed (line endings, filters): it is not the agent's work."""
        if not self._before or not head:
            return tree
        now, there = await self.entries(tree, self._before), await self.entries(head, self._before)
        same = [path for path, entry in self._before.items() if now.get(path) == entry]
        return await self.edited(tree, {path: there.get(path) for path in same})


def _remove_pipes(workspace: Path) -> int:
    """Remove pipes that have the name of one of git's files: git waits until somebody writes into them."""
    pipes = [each.name for each in opening.walk(workspace) if each.kind is Kind.OTHER]
    found = [name for name in pipes if name.rpartition("/")[2] in _GITS_FILES]
    return sum(remove(workspace / name, seconds=1) == 0 for name in found)


def _special_files(workspace: Path) -> dict[str, Left]:
    found: dict[str, Left] = {}
    for each in opening.walk(workspace, skip=frozenset({".git"})):
        if each.kind is Kind.CLOSED:
            found[each.name] = Left.UNREADABLE
        elif each.kind is Kind.OTHER:
            found[each.name] = Left.REFUSED_BY_GIT
    return found
