"""The submodules that a repository's default branch names, and which of them are on the same forge.

Only people put commits on the default branch. So an agent can't add to what is read here.
"""

import io
import re
import time
from dataclasses import dataclass

from dulwich.config import ConfigFile, parse_submodules
from yarl import URL

from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.logs import logger

log = logger(__name__)

KEPT_SECONDS = 60.0
_FILE = ".gitmodules"
_FULL_NAME = re.compile(r"/*([\w.-]+/[\w.-]+?)(?:\.git)?/*", re.ASCII)
_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^/:]+):/*(.+)")  # git@host:owner/name


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule as `.gitmodules` names it. `repository`: `owner/name` on the same forge; None if it is elsewhere."""

    name: str
    url: str
    repository: str | None


class Submodules:
    """Reads `.gitmodules` of default branches. Keeps what it read for a minute: git asks several times for each."""

    def __init__(self, github: GitHub, repositories: Repositories) -> None:
        self._github = github
        self._repositories = repositories
        self._kept: dict[str, tuple[float, list[Submodule]]] = {}

    async def of(self, full_name: str) -> list[Submodule]:
        """List the submodules of `owner/name`. Raises as `GitHub.file` and `Repositories.clone_url` do."""
        until, kept = self._kept.get(full_name, (0.0, []))
        if time.monotonic() < until:
            return kept
        text = await self._github.file(full_name, _FILE)
        named = submodules_in(text, await self._repositories.clone_url(full_name)) if text else []
        now = time.monotonic()
        self._kept = {name: each for name, each in self._kept.items() if each[0] > now}
        self._kept[full_name] = (now + KEPT_SECONDS, named)
        return named

    async def names(self, full_name: str, repository: str) -> bool:
        """Whether `repository` (`owner/name`) is a submodule of `full_name`. Raises as `of` does."""
        return any(each.repository == repository for each in await self.of(full_name))


def submodules_in(text: bytes, clone_url: str) -> list[Submodule]:
    """Read a `.gitmodules` of the repository at `clone_url` (gitmodules(5)); none if nobody can read it."""
    try:
        # An include would read a file of this machine.
        parsed = list(parse_submodules(ConfigFile.from_file(io.BytesIO(text), expand_includes=False)))
    except ValueError as error:
        log.info("gitmodules_unreadable", cause=repr(error))
        return []
    found = []
    for _path, address, name in parsed:
        url = address.decode(errors="replace")
        found.append(Submodule(name.decode(errors="replace"), url, repository_at(url, clone_url)))
    return found


def repository_at(url: str, clone_url: str) -> str | None:
    """Find the `owner/name` that a submodule's `url` leads to, if that is on the forge of `clone_url`.

    `url` is absolute (`https://host/owner/name.git`, `ssh://git@host/owner/name`, `git@host:owner/name`), or relative
    to the repository's own address (`../name.git`).
    """
    forge = URL(clone_url)
    try:
        if url.startswith(("./", "../")):
            found = URL(f"{clone_url.rstrip('/')}/").join(URL(url))
        elif "://" in url:
            found = URL(url)
        elif scp := _SCP_LIKE.fullmatch(url):
            found = URL.build(scheme="ssh", host=scp[1], path="/" + scp[2])
        else:
            return None
    except ValueError:
        return None
    same = found.host == forge.host and (found.scheme in ("ssh", "git") or found.port == forge.port)
    full_name = _FULL_NAME.fullmatch(found.path)
    return full_name[1] if same and full_name and not {".", ".."} & set(full_name[1].split("/")) else None
