"""The local GitHub's state: bare repositories, each with its own document of settings and pull requests.

The document lies in the repository's own directory, so that both appear and disappear as one, by one rename.
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from peerbot.errors import Conflict, Refused
from peerbot.local.github.git import Git

_PART = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}(?<!\.git)")
_DOCUMENT = "peerbot.json"
_FIRST_COMMIT = """\
commit refs/heads/main
committer {login} <{login}@localhost> {seconds} +0000
data 14
Initial commit
M 100644 inline README.md
data {length}
{readme}
"""


def moment() -> str:
    """The present as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pull(BaseModel):
    """A pull request, within its repository."""

    number: int
    title: str
    body: str | None
    head: str  # the branch
    base: str
    head_sha: str  # as seen last: a branch may be deleted
    base_sha: str
    state: str = "open"
    created_at: str = Field(default_factory=moment)
    updated_at: str = Field(default_factory=moment)
    closed_at: str | None = None
    merged_at: str | None = None


class RepositoryRecord(BaseModel):
    """A repository's settings and pull requests."""

    full_name: str
    born_as: str = ""  # the name that it was made under
    description: str | None = None
    private: bool = True
    archived: bool = False
    default_branch: str = "main"
    created_at: str = Field(default_factory=moment)
    pushed_at: str = Field(default_factory=moment)
    pulls: list[Pull] = Field(default_factory=list)

    @property
    def id(self) -> int:
        """Its number, which stays when it is renamed."""
        return int.from_bytes(
            hashlib.sha256(f"Repository:{self.born_as or self.full_name}".lower().encode()).digest()[:5]
        )

    @property
    def owner(self) -> str:
        """The name of its owner."""
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        """Its name, without its owner's."""
        return self.full_name.partition("/")[2]


class State:
    """The repositories below `root`. Changes of one repository hold `lock(full_name)`."""

    def __init__(self, root: Path, git: Git, *, login: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.git = git
        self._login = login
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, full_name: str) -> asyncio.Lock:
        """Return the lock that every change of the repository's document holds."""
        return self._locks[full_name.lower()]

    def path(self, full_name: str) -> Path:
        """Where the bare repository is, or would be. Raises `Refused` where the name can't be one.

        Names are the same in upper and lower case, as on GitHub.
        """
        parts = full_name.split("/")
        if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
            raise Refused(f"{full_name!r} is no name of a repository. Use owner/name.")
        owner, name = (part.lower() for part in parts)
        return self.root / owner / f"{name}.git"

    def find(self, full_name: str) -> RepositoryRecord | None:
        """Read a repository's document; None if there is no such repository."""
        try:
            return RepositoryRecord.model_validate_json((self.path(full_name) / _DOCUMENT).read_bytes())
        except (FileNotFoundError, NotADirectoryError, Refused):
            return None

    def moved(self, full_name: str) -> RepositoryRecord | None:
        """What `full_name` was renamed to, as long as nothing else has that name."""
        try:
            new = (self.path(full_name).with_suffix(".moved")).read_text()
        except (FileNotFoundError, NotADirectoryError, Refused):
            return None
        return None if self.find(full_name) else self.find(new) or self.moved(new)

    def rename(self, record: RepositoryRecord, full_name: str) -> None:
        """Give a repository another name. Raises `Conflict` if the name is taken."""
        old, new = self.path(record.full_name), self.path(full_name)
        if new.exists():
            raise Conflict(f"{full_name} exists already.")
        new.parent.mkdir(exist_ok=True)
        old.rename(new)
        born_as = record.born_as or record.full_name
        self.save(record.model_copy(update={"full_name": full_name, "born_as": born_as}))
        old.with_suffix(".moved").write_text(full_name)

    def by_id(self, identity: int) -> RepositoryRecord | None:
        """Find a repository by the number that it keeps when it is renamed."""
        names = (f"{path.parent.name}/{path.stem}" for path in self.root.glob("*/*.git"))
        return next((record for name in names if (record := self.find(name)) and record.id == identity), None)

    def save(self, record: RepositoryRecord) -> None:
        """Write a repository's document in one piece."""
        _write(self.path(record.full_name), record)

    async def create(self, record: RepositoryRecord, *, first_commit: bool) -> None:
        """Make a repository. Raises `Conflict` if the name is taken."""
        with self.new(record) as made:
            await self.git.run("init", "--quiet", "--bare", "--initial-branch", record.default_branch, made)
            if first_commit:
                readme = f"# {record.name}\n\n{record.description or ''}".rstrip() + "\n"
                stream = _FIRST_COMMIT.format(
                    login=self._login,
                    seconds=int(datetime.now(UTC).timestamp()),
                    length=len(readme.encode()),
                    readme=readme,
                )
                await self.git.run("-C", made, "fast-import", "--quiet", data=stream.encode())

    async def heads(self, full_name: str) -> dict[str, str]:
        """The repository's branches and the commits that they point to."""
        listed = await self.git.run(
            "-C", self.path(full_name), "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"
        )
        return {branch: sha for sha, branch in (line.split(" ", 1) for line in listed.splitlines())}

    async def refs(self, full_name: str) -> dict[str, str]:
        """All of the repository's refs, by their full names, and what they point to."""
        listed = await self.git.run("-C", self.path(full_name), "for-each-ref", "--format=%(objectname) %(refname)")
        return {ref: sha for sha, ref in (line.split(" ", 1) for line in listed.splitlines())}

    async def delete_ref(self, full_name: str, ref: str) -> bool:
        """Delete a ref by its full name; False if there is none."""
        if ref not in await self.refs(full_name):
            return False
        await self.git.run("-C", self.path(full_name), "update-ref", "-d", ref)
        return True

    @contextlib.contextmanager
    def new(self, record: RepositoryRecord) -> Iterator[Path]:
        """A path that becomes the repository, document and all, when the block ends well.

        Raises `Conflict` where the name was taken meanwhile; then, and when the block fails, nothing is left.
        """
        final = self.path(record.full_name)
        final.parent.mkdir(exist_ok=True)
        made = self.root / f".new-{secrets.token_hex(6)}"
        try:
            yield made
            _write(made, record)
            try:
                made.rename(final)
            except OSError as error:
                raise Conflict(f"{record.full_name} exists already.") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _write(directory: Path, record: RepositoryRecord) -> None:
    new = directory / f"{_DOCUMENT}.{secrets.token_hex(4)}"
    new.write_text(record.model_dump_json(indent=1))
    new.replace(directory / _DOCUMENT)
