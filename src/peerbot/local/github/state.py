"""The local GitHub's state: bare repositories, each with its own document of settings and pull requests.

The document is in the repository's own directory, so one rename makes both appear or disappear together.
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
    """Return the present time as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Comment(BaseModel):
    """What somebody wrote below a pull request."""

    id: int
    author: str
    body: str
    created_at: str = Field(default_factory=moment)


class Pull(BaseModel):
    """A pull request, within its repository."""

    number: int
    title: str
    body: str | None
    head: str  # the branch
    base: str
    head_sha: str  # as last seen: somebody may delete a branch
    base_sha: str
    state: str = "open"
    draft: bool = False
    created_at: str = Field(default_factory=moment)
    updated_at: str = Field(default_factory=moment)
    closed_at: str | None = None
    merged_at: str | None = None
    merge_sha: str | None = None  # the commit on the base that a merge here made
    ended_by: str | None = None  # who closed or merged it, if somebody did so here
    comments: list[Comment] = Field(default_factory=list)


class Check(BaseModel):
    """What CI says of a commit: a check run (of an App, as Actions is one), or the newest status of a context."""

    number: int
    sha: str
    name: str
    state: str  # of a check run that goes on: its status; of one that ended: its conclusion
    ended: bool
    is_status: bool = False
    created_at: str = Field(default_factory=moment)
    updated_at: str = Field(default_factory=moment)


class RepositoryRecord(BaseModel):
    """A repository's settings and pull requests."""

    full_name: str
    number: int = 0  # from its creation; repositories of earlier releases have none
    born_as: str = ""  # the name that it was created under
    source: str | None = None  # the address (file://) of the person's repository that this is a copy of
    description: str | None = None
    private: bool = True
    archived: bool = False
    sign_off: bool = False  # whether it wants each commit signed off
    default_branch: str = "main"
    created_at: str = Field(default_factory=moment)
    pushed_at: str = Field(default_factory=moment)
    pulls: list[Pull] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)

    @property
    def id(self) -> int:
        """Its number, which stays when it is renamed, and which no later repository of its name has."""
        name = f"Repository:{self.born_as or self.full_name}".lower()
        return self.number or int.from_bytes(hashlib.sha256(name.encode()).digest()[:5])

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
        self.login = login
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, full_name: str) -> asyncio.Lock:
        """Return the lock that every change of the repository's document holds."""
        return self._locks[full_name.lower()]

    def path(self, full_name: str) -> Path:
        """Return the path that the bare repository has, or would have. Raises `Refused` if no repository can have that
        name.

        Upper and lower case make no difference in names, as on GitHub.
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
        """Find the repository that was renamed from `full_name`; None if another one has that name now."""
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
        return next((record for record in self._records() if record.id == identity), None)

    def by_source(self, source: str) -> RepositoryRecord | None:
        """Find the copy of a person's repository by the address of that repository."""
        return next((record for record in self._records() if record.source == source), None)

    def newest_first(self, owner: str) -> list[RepositoryRecord]:
        """List an owner's repositories, the newest first."""
        found = [record for record in self._records() if record.owner.lower() == owner.lower()]
        return sorted(found, key=lambda record: record.created_at, reverse=True)

    def _records(self) -> Iterator[RepositoryRecord]:
        names = (f"{path.parent.name}/{path.stem}" for path in sorted(self.root.glob("*/*.git")))
        return (record for name in names if (record := self.find(name)))

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
                    login=self.login,
                    seconds=int(datetime.now(UTC).timestamp()),
                    length=len(readme.encode()),
                    readme=readme,
                )
                await self.git.run("-C", made, "fast-import", "--quiet", data=stream.encode())

    async def heads(self, full_name: str) -> dict[str, str]:
        """List the repository's branches, and the commit that each points to."""
        listed = await self.git.run(
            "-C", self.path(full_name), "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"
        )
        return {branch: sha for sha, branch in (line.split(" ", 1) for line in listed.splitlines())}

    async def refs(self, full_name: str) -> dict[str, str]:
        """List all of the repository's refs by their full names, and the object that each points to."""
        listed = await self.git.run("-C", self.path(full_name), "for-each-ref", "--format=%(objectname) %(refname)")
        return {ref: sha for sha, ref in (line.split(" ", 1) for line in listed.splitlines())}

    async def has_commit(self, full_name: str, sha: str) -> bool:
        """Say whether the repository has a commit of this name."""
        if not re.fullmatch("[0-9a-f]{40}", sha):
            return False
        return await self.git.ask("-C", self.path(full_name), "cat-file", "-e", f"{sha}^{{commit}}") is not None

    async def delete_ref(self, full_name: str, ref: str) -> bool:
        """Delete a ref by its full name; False if there is none."""
        if ref not in await self.refs(full_name):
            return False
        await self.git.run("-C", self.path(full_name), "update-ref", "-d", ref)
        return True

    @contextlib.contextmanager
    def new(self, record: RepositoryRecord) -> Iterator[Path]:
        """Yield a path that becomes the repository, with its document, if the block ends well.

        Raises `Conflict` if somebody took the name meanwhile. In that case, and if the block fails, nothing is left.
        """
        final = self.path(record.full_name)
        final.parent.mkdir(exist_ok=True)
        made = self.root / f".new-{secrets.token_hex(6)}"
        try:
            yield made
            record.number = secrets.randbits(40)
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
