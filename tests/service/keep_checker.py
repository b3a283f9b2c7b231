"""Compares from outside what was in a workspace with what is left of it: on the branch, saved, or named to people.

It shares nothing with the code that keeps the work: it walks the folders, asks plain git, and opens the bundle.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from saved_state import STATE, SavedState

from peerbot.conversation.notes import LeftOut, Nested, Note, Stopped

MARKERS = re.compile(rb"^(<{7} .*|>{7} .*)$", re.MULTILINE)
QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.bare=false")


@dataclass(frozen=True)
class Captured:
    """What was in a workspace: files (a link's content is its target), commits that GitHub lacks, and ignored paths."""

    files: dict[str, bytes | None]  # None: it can't be read
    commits: dict[str, str] = field(default_factory=dict)  # and their subjects
    ignored: frozenset[str] = frozenset()
    nested: dict[str, "Inside"] = field(default_factory=dict)  # folders with a git of their own
    absent: frozenset[str] = frozenset()  # paths that a sparse checkout keeps off the disk, and submodules
    head: str = ""  # HEAD's commit; empty without a git that works
    clean: frozenset[str] = frozenset()  # files that are as they are in it
    deleted: frozenset[str] = frozenset()  # files that it has, and that are gone


@dataclass(frozen=True)
class Inside:
    """A repository or working tree inside a workspace: HEAD's commit, and the files that are as they are in it."""

    head: str
    clean: frozenset[str]


def captured(workspace: Path, github: Path) -> Captured:
    """Look at a workspace before its turn ends. `github`: the repository, which has every commit pushed before."""
    files = dict(_files(workspace))
    nested = {
        str(place.parent.relative_to(workspace)): _inside(place.parent)
        for place in workspace.rglob(".git")
        if place.parent != workspace
    }
    commits: dict[str, str] = {}
    if (workspace / ".git").exists():
        told = _git(workspace, "log", "--all", "--format=%H %s", "HEAD")
        stashes = _git(workspace, "stash", "list", "--format=%H %s")
        for line in [*told.splitlines(), *stashes.splitlines()]:
            oid, _, subject = line.partition(" ")
            if not _has(github, oid):
                commits[oid] = subject
    ignored = _ignored(workspace, github, files)
    modules = _git(workspace, "config", "-f", ".gitmodules", "--get-regexp", r"\.path$").splitlines()
    flags = _git(workspace, "ls-files", "-t", "-z").split("\0")
    absent = {line.split(" ", 1)[1] for line in modules} | {line[2:] for line in flags if line.startswith("S ")}
    head = _git(workspace, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not head:
        return Captured(files, commits, frozenset(ignored), nested, absent=frozenset(absent))
    tracked = set(_git(workspace, "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0"))
    changed = set(_git(workspace, "diff", "--name-only", "--no-renames", "-z", "HEAD").split("\0"))
    return Captured(
        files,
        commits,
        frozenset(ignored),
        nested,
        frozenset(absent),
        head,
        frozenset(tracked - changed),
        frozenset(tracked & changed - files.keys()),
    )


def _ignored(workspace: Path, github: Path, files: Iterable[str]) -> set[str]:
    """The files that .gitignore hides; if the agent removed its git, GitHub's says which ones it had nevertheless."""
    names = "\0".join(files).encode(errors="surrogateescape")
    asked = ("check-ignore", "-z", "--stdin")
    if _git(workspace, "rev-parse", "--git-dir"):
        return set(_git(workspace, *asked, data=names).split("\0"))
    hidden = _git(workspace, f"--git-dir={github}", f"--work-tree={workspace}", *asked, data=names)
    return set(hidden.split("\0")) - set(_git(github, "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0"))


def _inside(folder: Path) -> Inside:
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not head:
        return Inside("", frozenset())
    tracked = set(_git(folder, "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0"))
    return Inside(
        head, frozenset(tracked - set(_git(folder, "diff", "--name-only", "--no-renames", "-z", "HEAD").split("\0")))
    )


def lost(
    before: Captured,
    branch: dict[str, bytes],
    base: dict[str, bytes],
    *,
    github: Path,
    ref: str,
    saved: SavedState | None,
    notes: list[Note],
) -> list[str]:
    """What was in the workspace, and is neither on the branch `ref` nor saved nor named; empty if nothing was lost.

    `branch`: its files now; `base`: its files when the turn began.
    """
    kept = saved.files if saved else {}
    named = {path for note in notes if isinstance(note, LeftOut) for path in note.paths}
    named_folders = {path for note in notes if isinstance(note, Nested) for path in note.paths}
    inner = _inner(saved) if saved else set()
    missing = []

    def is_there(head: str) -> bool:
        return bool(head) and (_has(github, head) or bool(saved and _has(saved.directory, head)))

    safe = set(before.clean if is_there(before.head) else ())
    for place, inside in before.nested.items():
        if is_there(inside.head):
            safe |= {f"{place}/{path}" for path in inside.clean}
    for path, data in before.files.items():
        if path in safe:
            continue
        folder = next((each for each in before.nested if path.startswith(f"{each}/")), None)
        if folder is not None:
            entry = path.removeprefix(f"{folder}/"), data
            if entry not in inner and branch.get(path) != data and folder not in named_folders:
                missing.append(f"the file {path} of a repository inside")
        elif (
            path not in before.ignored | named
            and not path.startswith(tuple(f"{each}/" for each in named))
            and data not in (branch.get(path, b""), kept.get(path, b""))
        ):
            missing.append(f"the file {path}")
    deleted = before.deleted if before.head else base.keys() - before.files.keys()
    undone = deleted & branch.keys() - named - before.absent
    missing += [f"the deletion of {path}" for path in undone if saved is None or path in kept]
    on_branch = set(_git(github, "log", "--format=%s", ref).splitlines())
    for oid, subject in before.commits.items():
        if not _has(github, oid) and subject not in on_branch and not (saved and _has(saved.directory, oid)):
            missing.append(f"the commit {subject!r}")
    return missing


def _inner(saved: SavedState) -> set[tuple[str, bytes | None]]:
    """The saved files of repositories and working trees inside the workspace, by their path in there."""
    found: set[tuple[str, bytes | None]] = set()
    for path, data in saved.tree(saved.refs[STATE]).items():
        if path.startswith("nested/"):
            found.add((path.split("/", 2)[2], data))
    for ref, oid in saved.refs.items():
        if ref.startswith(("refs/saved/worktree/", "refs/saved/refs/heads/")):
            found |= set(saved.tree(oid).items())
    return found


def unfit(github: Path, ref: str, branch: dict[str, bytes], notes: list[Note]) -> list[str]:
    """What must never get on a branch, and is on `ref`: conflict markers, and links that nobody can follow."""
    stopped = any(isinstance(note, Stopped) for note in notes)
    links = [line for line in _git(github, "ls-tree", "-r", ref).splitlines() if line.startswith("160000")]
    named = _git(github, "show", f"{ref}:.gitmodules")
    found = [f"conflict markers in {path}" for path, data in branch.items() if stopped and MARKERS.search(data)]
    return found + [f"a loose link: {link}" for link in links if link.partition("\t")[2] not in named]


def _files(workspace: Path) -> Iterator[tuple[str, bytes | None]]:
    for place, folders, names in os.walk(workspace):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*names, *(folder for folder in folders if (Path(place) / folder).is_symlink())]:
            file = Path(place) / name
            path = str(file.relative_to(workspace))
            if name == ".git":
                continue
            try:
                yield (
                    path,
                    os.fsencode(file.readlink())
                    if file.is_symlink()
                    else file.read_bytes()
                    if file.is_file()
                    else None,
                )
            except OSError:
                yield path, None


def _has(repository: Path, oid: str) -> bool:
    command = ["git", "-C", str(repository), "cat-file", "-e", f"{oid}^{{commit}}"]
    return subprocess.run(command, check=False, capture_output=True, env=_environment()).returncode == 0


def _git(directory: Path, *arguments: str, data: bytes = b"") -> str:
    """What plain git says; nothing if it fails, as in a repository that the agent broke."""
    command = ["git", *QUIET, "-C", str(directory), *arguments]
    done = subprocess.run(command, check=False, input=data, capture_output=True, env=_environment())
    return os.fsdecode(done.stdout)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_NO_LAZY_FETCH": "1"}
