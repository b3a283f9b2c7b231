"""The local GitHub's files and folders: `GET /repos/{owner}/{name}/contents/{path}`.

GitHub's own description: https://docs.github.com/en/rest/repos/contents#get-repository-content
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from peerbot.local.github.git import Git, GitFailed
from peerbot.local.github.shapes import Json, Shapes
from peerbot.local.github.state import RepositoryRecord, State

_LARGEST_CONTENT_BYTES = 1024 * 1024  # a larger file comes without its content
_MOST_ENTRIES = 1000
_SYMLINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a tree, as `git ls-tree --long` says it."""

    mode: str
    kind: str  # blob, tree or commit
    sha: str
    size: int
    path: str

    @property
    def type(self) -> str:
        """What GitHub calls it."""
        if self.mode == _SYMLINK:
            return "symlink"
        return {"tree": "dir", "commit": "submodule"}.get(self.kind, "file")


async def contents(
    state: State, shapes: Shapes, record: RepositoryRecord, heads: dict[str, str], path: str, ref: str
) -> Json | list[Json] | None:
    """Describe what is at `path` of `ref`, a branch or commit (empty: the default branch); a folder as a list.

    None if there is nothing.
    """
    commit = heads.get(ref or record.default_branch, ref)
    git, place, path = state.git, state.path(record.full_name), path.strip("/")
    if not commit or commit.startswith("-"):
        return None
    try:
        if not path:
            found = None
        elif not (listed := await _tree(git, place, commit, path)):
            return None
        else:
            (found,) = listed
        if found is None or found.kind == "tree":
            entries = await _tree(git, place, commit, f"{path}/" if path else "")
            return [_document(shapes, record, each, ref, listed=True) for each in entries[:_MOST_ENTRIES]]
        document = _document(shapes, record, found, ref)
        if found.type == "symlink":
            document["target"] = await git.run("-C", place, "cat-file", "blob", found.sha)
        elif found.type == "submodule":
            document["submodule_git_url"] = await _address(git, place, commit, found.path)
        else:
            document |= await _content(git, place, found)
    except GitFailed:
        return None
    return document


async def _tree(git: Git, place: Path, commit: str, path: str) -> list[_Entry]:
    arguments = ["ls-tree", "-z", "--long", "--full-tree", commit, *(["--", path] if path else [])]
    entries = []
    for line in filter(None, (await git.run("-C", place, *arguments)).split("\0")):
        facts, _, name = line.partition("\t")
        mode, kind, sha, size = facts.split()
        entries.append(_Entry(mode, kind, sha, int(size) if size.isdigit() else 0, name))
    return entries


async def _address(git: Git, place: Path, commit: str, path: str) -> str:
    """Read a submodule's address in `.gitmodules`; empty if it has none there."""
    said = await git.ask("-C", place, "config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
    values = dict(line.partition("\n")[::2] for line in (said or "").split("\0"))
    named = next((key for key, value in values.items() if key.endswith(".path") and value == path), "")
    return values.get(f"{named.removesuffix('path')}url", "") if named else ""


async def _content(git: Git, place: Path, entry: _Entry) -> Json:
    if entry.size > _LARGEST_CONTENT_BYTES:
        return {"encoding": "none", "content": ""}
    data = await git.output("-C", place, "cat-file", "blob", entry.sha)
    return {"encoding": "base64", "content": base64.encodebytes(data).decode()}


def _document(shapes: Shapes, record: RepositoryRecord, entry: _Entry, ref: str, *, listed: bool = False) -> Json:
    at, path = ref or record.default_branch, quote(entry.path)
    repository, page = f"{shapes.api}/repos/{record.full_name}", f"{shapes.url}/{record.full_name}"
    tree = entry.kind == "tree"
    own = f"{repository}/contents/{path}?ref={quote(at)}"
    git_url = None if entry.kind == "commit" else f"{repository}/git/{'trees' if tree else 'blobs'}/{entry.sha}"
    html_url = f"{page}/{'tree' if tree else 'blob'}/{quote(at)}/{path}"
    return {
        # GitHub's list calls a submodule a file, for the sake of old clients.
        "type": "file" if listed and entry.type == "submodule" else entry.type,
        "size": entry.size,
        "name": entry.path.rpartition("/")[2],
        "path": entry.path,
        "sha": entry.sha,
        "url": own,
        "git_url": git_url,
        "html_url": html_url,
        "download_url": f"{page}/raw/{quote(at)}/{path}" if entry.kind == "blob" else None,
        "_links": {"self": own, "git": git_url, "html": html_url},
    }
