"""What changed between two commits, file by file, for a page. All of it is bounded, and says what it left out.

A file has the names of GitHub's own documents: https://docs.github.com/en/rest/commits/commits#compare-two-commits
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from peerbot.local.github.git import Git
from peerbot.local.github.names import quoted, shown, turns
from peerbot.local.github.shapes import Json

MOST_FILES = 300
MOST_LINES = 8_000
MOST_LINES_OF_A_FILE = 3_000
LONGEST_LINE = 1_000
_MOST_BYTES = 3 * 1024 * 1024
_MOST_LISTED_BYTES = 8 * 1024 * 1024
_NO_COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # the tree without a file, which every git knows
# A file over 1 MB counts as binary: its lines are nothing to read, and git would take long to compare them.
_SET = ("-c", "core.bigFileThreshold=1m", "-c", "diff.renameLimit=400")
_HOW = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--ignore-submodules=none")
_STATUS = {"A": "added", "D": "removed", "R": "renamed", "C": "copied"}
_SUBMODULE = "160000"


class _File(NamedTuple):
    """A changed file, as `git diff --raw` lists it."""

    status: str
    modes: tuple[str, str]
    before: str
    path: str


async def diff(git: Git, place: Path, old: str | None, new: str) -> Json:
    """Compare two commits of the repository at `place`; with None, all of `new` is new. Raises `GitFailed`."""
    span = ("-C", place, *_SET, "diff", *_HOW)
    ends = (old or _NO_COMMIT, new, "--")
    (raw, _), (counted, _), (patch, more) = await asyncio.gather(
        git.first(*span, "--raw", "--abbrev=40", "-z", *ends, most=_MOST_LISTED_BYTES),
        git.first(*span, "--numstat", "-z", *ends, most=_MOST_LISTED_BYTES),
        git.first(*span, "--patch", *ends, most=_MOST_BYTES),
    )
    files, counts = list(_files(os.fsdecode(raw))), dict(_counts(os.fsdecode(counted)))
    sections = _sections(patch, whole=not more)
    left, documents = MOST_LINES, []
    for file in files[:MOST_FILES]:
        parts = [next(sections, None) for _ in range(2 if file.status == "T" else 1)]
        document, used = _document(file, counts.get(file.path), parts, left)
        left -= used
        documents.append(document)
    numbers = [count for count in counts.values() if count is not None]
    return {
        "files": documents,
        "changed_files": len(files),
        "additions": sum(added for added, _ in numbers),
        "deletions": sum(deleted for _, deleted in numbers),
        "cut": len(files) > MOST_FILES or any(document["cut"] for document in documents),
    }


def _files(raw: str) -> Iterator[_File]:
    fields = iter(raw.split("\0"))
    for facts in fields:
        if not facts.startswith(":"):
            return
        old_mode, new_mode, _, _, status = facts[1:].split(" ")
        before = next(fields, "")
        path = next(fields, "") if status[0] in "RC" else before
        yield _File(status[0], (old_mode, new_mode), before, path)


def _counts(counted: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Read `--numstat -z`: lines added and deleted by path, None for a binary file."""
    fields = iter(counted.split("\0"))
    for facts in fields:
        added, _, rest = facts.partition("\t")
        deleted, _, path = rest.partition("\t")
        if not rest:
            return
        if not path:  # renamed: the two names follow
            next(fields, "")
            path = next(fields, "")
        yield path, (int(added), int(deleted)) if added.isdigit() and deleted.isdigit() else None


class _Section(NamedTuple):
    """A part of a patch, from its first hunk on: empty if it has none."""

    lines: list[str]
    binary: bool
    whole: bool


def _sections(patch: bytes, *, whole: bool) -> Iterator[_Section]:
    """Cut a patch where a file begins: no line of a hunk begins with these words."""
    parts = (b"\n" + patch).split(b"\ndiff --git ")[1:]
    for n, part in enumerate(parts, 1):
        ended = whole or n < len(parts)
        head, hunk, rest = part.partition(b"\n@@")
        text = (hunk[1:] + rest).removesuffix(b"\n").decode(errors="replace")
        lines = text.split("\n") if text else []
        yield _Section(lines if ended else lines[:-1], b"\nBinary files " in head, ended)


def _document(
    file: _File, counted: tuple[int, int] | None, parts: list[_Section | None], left: int
) -> tuple[Json, int]:
    """Describe a file; also returns how many lines of its diff are shown."""
    there = [part for part in parts if part is not None]
    lines = [line for part in there for line in part.lines]
    kept = lines[: max(0, min(left, MOST_LINES_OF_A_FILE))]
    patch = "\n".join(_bounded(line) for line in kept)
    binary = any(part.binary for part in there)
    added, deleted = counted or (0, 0)
    old_mode, new_mode = file.modes
    return {
        "filename": shown(file.path),
        "href": quoted(file.path),
        "previous_filename": shown(file.before) if file.before != file.path else None,
        "status": _STATUS.get(file.status, "modified"),
        "additions": added,
        "deletions": deleted,
        "changes": added + deleted,
        "binary": binary or (counted is None and not lines),
        "submodule": _SUBMODULE in file.modes,
        "modes": [old_mode, new_mode] if file.status not in "AD" and old_mode != new_mode else None,
        "patch": patch,
        "cut": len(kept) < len(lines) or len(there) < len(parts) or not all(part.whole for part in there),
        "turns": turns(patch),
    }, len(kept)


def _bounded(line: str) -> str:
    over = len(line) - LONGEST_LINE
    return line if over <= 0 else f"{line[:LONGEST_LINE]} … ({over:,} more characters)"
