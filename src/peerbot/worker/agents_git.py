"""Reads the state in which the agent left its git, from its files.

No git runs for that: the agent may have removed `.git`, made it again, broken its configuration, or left locks and
hooks in it. Only what stands in the files counts (gitrepository-layout(5)). They are read as `files/opening.py`
promises: only regular files, through no link, with an end.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from peerbot.files.opening import Kind, kind, read, walk

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LARGEST_FILE_BYTES = 16 * 1024 * 1024
_MOST_STATE_BYTES = 64 * 1024 * 1024
_MOST_REFS = 20_000
_MOST_WORKTREES = 100
_NOT_READ = frozenset({"objects", "hooks", "modules"})  # by the supervisor's git, or not by the names in there

OPERATIONS = {
    "rebase-merge": "rebase",
    "rebase-apply/applying": "am",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
"""The file or folder that says that an operation is in progress, and its name. The first one that is there counts."""

STATE_FILES = (
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "AUTO_MERGE",
    "SQUASH_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "ORIG_HEAD",
    "BISECT_LOG",
    "BISECT_NAMES",
    "BISECT_START",
    "BISECT_TERMS",
    "BISECT_EXPECTED_REV",
    "BISECT_ANCESTORS_OK",
    "refs/bisect",
    "refs/rewritten",
)
"""The files and folders that hold an operation in progress."""


@dataclass(frozen=True, slots=True)
class Worktree:
    """A working tree that the agent added (`git worktree add`): its folder, and its branch or commit."""

    path: Path
    branch: str  # empty: a detached head
    head: str


@dataclass(frozen=True, slots=True)
class AgentsGit:
    """The state of the agent's git.

    `head`: the commit of HEAD; None if the branch has none yet. `on`: the ref that HEAD names, empty if it is detached.
    `refs`: the commits or tags of everything below `refs/heads/` and `refs/tags/`. `stashes`: newest first.
    `operation`: `rebase`, `am`, `merge`, `cherry-pick`, `revert` or `bisect`; empty if none is in progress.
    `trapped`: whether there is a link, pipe or device where git reads. Then git may hang in it, and must not run there.
    """

    directory: Path  # the `.git` folder
    head: str | None
    on: str
    refs: dict[str, str] = field(default_factory=dict)
    stashes: tuple[str, ...] = ()
    operation: str = ""
    worktrees: tuple[Worktree, ...] = ()
    trapped: bool = False

    @property
    def branches(self) -> dict[str, str]:
        """The local branches by name, and their commits."""
        return {ref.removeprefix("refs/heads/"): oid for ref, oid in self.refs.items() if ref.startswith("refs/heads/")}

    def state_files(self) -> dict[str, bytes]:
        """Read the files of the operation in progress, by their path in `.git`; 64 MiB of them at most.

        A file over 16 MiB is left out.
        """
        found: dict[str, bytes] = {}
        left = _MOST_STATE_BYTES
        for name in STATE_FILES:
            inside = sorted(each.name for each in walk(self.directory, name) if each.kind is Kind.FILE)
            for file in [name, *inside]:
                data = read(self.directory, file, most_bytes=min(left, _LARGEST_FILE_BYTES))
                if data is not None:
                    found[file] = data
                    left -= len(data)
        return found


def look(workspace: Path, within: Path | None = None) -> AgentsGit | None:
    """Read the state of the git in `workspace`; None if there is no repository that git could use.

    Its git folder must be in `workspace`, or in `within` if that is given (a submodule's is in another folder).
    """
    directory = _git_directory(workspace, within or workspace)
    if directory is None or kind(directory, "objects") is not Kind.FOLDER:
        return None
    packed = dict(_packed(directory))
    on, head = _head(directory, directory, packed)
    if head is None and not on:
        return None
    refs = dict(_loose(directory, packed))
    return AgentsGit(
        directory=directory,
        head=head,
        on=on,
        refs={ref: oid for ref, oid in refs.items() if ref.startswith(("refs/heads/", "refs/tags/"))},
        stashes=tuple(_stashes(directory, refs)),
        operation=_operation(directory),
        worktrees=tuple(_worktrees(directory, packed)),
        trapped=any(each.kind in (Kind.LINK, Kind.OTHER) for each in walk(directory, skip=_NOT_READ)),
    )


def commits_named(files: dict[str, bytes]) -> set[str]:
    """Find everything that could be a commit's name in an operation's files."""
    return {match for data in files.values() for match in _OID.findall(data.decode(errors="replace"))}


def _git_directory(place: Path, within: Path) -> Path | None:
    """Find the git folder; `.git` may be a file that names it. A link is none."""
    found = kind(place, ".git")
    if found is Kind.FOLDER:
        return place / ".git"
    said = _text(place, ".git") if found is Kind.FILE else None
    if said is None or not said.startswith("gitdir:"):
        return None
    named = os.path.relpath(place / said.removeprefix("gitdir:").strip(), within)
    return within / named if kind(within, named) is Kind.FOLDER else None


def _head(place: Path, directory: Path, packed: dict[str, str]) -> tuple[str, str | None]:
    """Read the HEAD in `place`: the ref that it names (empty if none), and its commit."""
    said = _text(place, "HEAD") or ""
    if said.startswith("ref:"):
        ref = said.removeprefix("ref:").strip()
        return ref, _ref(directory, ref, packed)
    return "", said if _OID.fullmatch(said) else None


def _ref(directory: Path, ref: str, packed: dict[str, str]) -> str | None:
    """Resolve a ref by its name; None if it does not exist, or names another ref."""
    if not ref.startswith("refs/") or ".." in ref:
        return None
    said = _text(directory, ref)
    if said is not None and _OID.fullmatch(said):
        return said
    return packed.get(ref) if said is None else None


def _packed(directory: Path) -> Iterator[tuple[str, str]]:
    for line in (_text(directory, "packed-refs") or "").splitlines():
        oid, _, ref = line.partition(" ")
        if _OID.fullmatch(oid) and ref.startswith("refs/"):
            yield ref, oid


def _loose(directory: Path, packed: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Read all refs: those that are packed, then those in files of their own, which count more."""
    yield from packed.items()
    for number, found in enumerate(walk(directory, "refs")):
        if number > _MOST_REFS:
            break
        said = _text(directory, found.name) if found.kind is Kind.FILE and not found.name.endswith(".lock") else None
        if said and _OID.fullmatch(said):
            yield found.name, said


def _stashes(directory: Path, refs: dict[str, str]) -> list[str]:
    """Read the stashes, newest first: their ref has the newest, its log has all."""
    if "refs/stash" not in refs:
        return []
    lines = (_text(directory, "logs/refs/stash") or "").splitlines()
    found = [
        words[1] for words in (line.split(" ", 2) for line in lines) if len(words) > 1 and _OID.fullmatch(words[1])
    ]
    return list(dict.fromkeys([refs["refs/stash"], *reversed(found)]))


def _operation(directory: Path) -> str:
    for name, operation in OPERATIONS.items():
        if kind(directory, name) is not None:
            return operation
    # Between two picks of several, only the list of those that are left says so.
    todo = (_text(directory, "sequencer/todo") or "").split()
    return {"pick": "cherry-pick", "revert": "revert"}.get(todo[0], "") if todo else ""


def _worktrees(directory: Path, packed: dict[str, str]) -> Iterator[Worktree]:
    """Find the working trees, wherever they are. Each names this git folder in turn, so the agent made it one."""
    names = sorted(each.name for each in walk(directory, "worktrees") if each.name.count("/") == 1)
    for name in names[:_MOST_WORKTREES]:
        place = directory / name
        link = _text(place, "gitdir")
        on, head = _head(place, directory, packed)
        if not link or not head:
            continue
        folder = Path(os.path.normpath(place / link)).parent
        back = _text(folder, ".git") or ""
        named = back.removeprefix("gitdir:").strip() if back.startswith("gitdir:") else "?"
        if os.path.realpath(folder / named) == os.path.realpath(place):
            yield Worktree(folder, on.removeprefix("refs/heads/"), head)


def _text(root: Path, name: str) -> str | None:
    data = read(root, name, most_bytes=_LARGEST_FILE_BYTES)
    return None if data is None else data.decode(errors="surrogateescape").strip()
