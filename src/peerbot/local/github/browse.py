"""Files and folders of the local GitHub at a branch, a tag or a commit, for a page."""

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from peerbot.local.github import history
from peerbot.local.github.git import Git, GitFailed
from peerbot.local.github.names import quoted, shown, turns
from peerbot.local.github.shapes import Json

MOST_ENTRIES = 1_000
LARGEST_BYTES = 1024 * 1024
_MOST_LISTED_BYTES = 8 * 1024 * 1024
_LOOKED_AT_BYTES = 8000  # git looks for a NUL in as many
_HASH = re.compile(r"[0-9a-f]{7,40}")
_README = re.compile(r"readme(\.(md|markdown|txt|rst))?", re.IGNORECASE)
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_TYPES = {"040000": "folder", "120000": "link", "160000": "submodule"}


class At(NamedTuple):
    """A place in a repository: what the address calls it, its commit, and the path there."""

    ref: str
    kind: str  # branch, tag or commit
    commit: str
    path: str


class Entry(NamedTuple):
    """An entry of a folder, as `git ls-tree --long` says it."""

    mode: str
    sha: str
    size: int
    path: str

    @property
    def type(self) -> str:
        """What a person calls it."""
        return _TYPES.get(self.mode, "file")

    def document(self) -> Json:
        """Describe it in a list."""
        name = self.path.rpartition("/")[2]
        return {"name": shown(name), "href": quoted(self.path), "type": self.type, "size": self.size}


def is_hash(name: str) -> bool:
    """Whether `name` may be a commit's hash, or the beginning of one."""
    return _HASH.fullmatch(name) is not None


async def place_of(git: Git, place: Path, refs: dict[str, str], default: str, rest: str) -> At | None:
    """Read `{ref}/{path}`, where both may have slashes: the longest branch or tag wins, as on GitHub. None: neither."""
    parts = rest.strip("/").split("/")
    if rest.strip("/") in ("", "HEAD"):
        parts = default.split("/")
    for length in range(len(parts), 0, -1):
        name, path = "/".join(parts[:length]), "/".join(parts[length:])
        for kind, folder in (("branch", "refs/heads/"), ("tag", "refs/tags/")):
            if folder + name in refs and (commit := await history.commit_of(git, place, folder + name)):
                return At(name, kind, commit, path)
    if is_hash(parts[0]) and (commit := await history.commit_of(git, place, parts[0])):
        return At(parts[0], "commit", commit, "/".join(parts[1:]))
    return None


async def content(git: Git, place: Path, at: At) -> Json | None:
    """Describe the file or folder at a place; None if there is nothing."""
    if not at.path:
        return await _folder(git, place, at)
    found = await _entries(git, place, at.commit, at.path)
    if len(found) != 1 or found[0].path != at.path:
        return None
    if found[0].type == "folder":
        return await _folder(git, place, at)
    return {"file": await _file(git, place, found[0])}


async def _folder(git: Git, place: Path, at: At) -> Json:
    entries = await _entries(git, place, at.commit, f"{at.path}/" if at.path else "")
    entries.sort(key=lambda entry: (entry.type != "folder", entry.path))
    named = [entry for entry in entries if entry.type == "file" and _README.fullmatch(entry.path.rpartition("/")[2])]
    named.sort(key=lambda entry: not entry.path.lower().endswith((".md", ".markdown")))
    return {
        "entries": [entry.document() for entry in entries[:MOST_ENTRIES]],
        "more": max(0, len(entries) - MOST_ENTRIES),
        "readme": await _file(git, place, named[0]) if named else None,
    }


async def _entries(git: Git, place: Path, commit: str, path: str) -> list[Entry]:
    asked = ("--literal-pathspecs", "-C", place, "ls-tree", "-z", "--long", "--full-tree", commit)
    try:
        listed, _ = await git.first(*asked, *(["--", path] if path else []), most=_MOST_LISTED_BYTES)
    except GitFailed:
        return []
    return list(_read(os.fsdecode(listed)))


def _read(listed: str) -> Iterator[Entry]:
    *lines, _ = listed.split("\0")
    for line in lines:
        facts, _, name = line.partition("\t")
        mode, _, sha, size = facts.split()
        yield Entry(mode, sha, int(size) if size.isdigit() else 0, name)


async def _file(git: Git, place: Path, entry: Entry) -> Json:
    document = {**entry.document(), "path": shown(entry.path)}
    if entry.type == "submodule":
        return {**document, "commit": entry.sha}
    if entry.size > LARGEST_BYTES:
        return {**document, "too_big": True}
    data = await git.output("-C", place, "cat-file", "blob", entry.sha)
    if kind := _picture(data, entry.path):
        document["picture"] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        if kind != "image/svg+xml":
            return document
    if b"\0" in data[:_LOOKED_AT_BYTES]:
        return {**document, "binary": True}
    text = data.decode(errors="replace")
    return {**document, "text": text, "utf8": text.encode() == data, "turns": turns(text)}


def _picture(data: bytes, path: str) -> str | None:
    """Return the type of a picture that a page may show; None if it is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if path.lower().endswith(".svg") and b"<svg" in data[:_LOOKED_AT_BYTES]:
        return "image/svg+xml"  # as the source of an <img> it runs no script and loads nothing
    return next((kind for start, kind in _PICTURES if data.startswith(start)), None)
