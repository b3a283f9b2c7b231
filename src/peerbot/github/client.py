"""GitHub as PeerBot uses it: the owner of the repositories, one repository a user, one pull request a conversation.

Every method may be called twice, by two replicas at once, and after an answer that got lost: it finds what exists, and
does not make it again. GitHub may show late what was written. A method that looks for something which was written at
`written_at` asks again until `LATE_SECONDS` after that, before it says that it is not there.

Raises `Refused` (token, right, invalid) and `Unavailable` (busy, broken, silent) with sentences that say what to do; no
message holds the token.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal, TypeVar

import aiohttp
from gidgethub import BadRequest
from pydantic import ConfigDict, Field, TypeAdapter

from peerbot.conversation.documents import PullRequest, now
from peerbot.errors import Unavailable
from peerbot.github.api import LATE_SECONDS, Answer, Api, NotShown, complaints, until_shown
from peerbot.github.describe import one_line, with_section
from peerbot.logs import logger

log = logger(__name__)

T = TypeVar("T")

_READ = "the right to read it (classic: repo; fine-grained: Metadata and Contents)"
_CREATE = "the right to create repositories there (classic: repo; fine-grained: Administration, read and write)"
_WRITE = "the right to write to it (classic: repo; fine-grained: Contents, read and write)"
_PULLS = "the right to open pull requests (classic: repo; fine-grained: Pull requests, read and write)"
_REPOSITORY = "/repos/{owner}/{name}"
_DESCRIPTION_CHARACTERS = 350  # GitHub's own limit


@dataclass(frozen=True, slots=True)
class Owner:
    """The account that owns the repositories that PeerBot makes."""

    login: str
    is_organization: bool


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as GitHub describes it."""

    id: int  # it stays when the repository is renamed or given to another owner
    full_name: str  # owner/name
    default_branch: str
    clone_url: str
    html_url: str
    private: bool
    description: str
    empty: bool  # its default branch has no commit
    sign_off: bool = False  # whether it wants each commit signed off


class _Account(Answer):
    login: str


class _RepositoryAnswer(Answer):
    id: int
    full_name: str
    description: str | None
    default_branch: str
    clone_url: str
    html_url: str
    private: bool
    sign_off: bool = Field(default=False, alias="web_commit_signoff_required")


class _Commit(Answer):
    sha: str


class _Ref(Answer):
    object: _Commit


class _File(Answer):
    content: str


class _NamedRef(Answer):
    ref: str


class _Pull(Answer):
    number: int
    html_url: str
    body: str | None


class _PullState(Answer):
    state: Literal["open", "closed"]
    merged: bool


_REFS_ANSWER = TypeAdapter(list[_NamedRef], config=ConfigDict(hide_input_in_errors=True))
_PULLS_ANSWER = TypeAdapter(list[_Pull], config=ConfigDict(hide_input_in_errors=True))


class GitHub:
    """GitHub for one token. The owner of `session` closes it; `attempt_seconds` bounds one try of a call."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        token: str,
        api_url: str = "https://api.github.com",
        attempt_seconds: float = 15.0,
    ) -> None:
        self.api = Api(session, token=token, url=api_url, attempt_seconds=attempt_seconds)
        self._token = token
        self._owners: dict[str, Owner] = {}

    def git_authorization(self) -> str:
        """Make the value of the `Authorization` header for git over HTTPS."""
        return "Basic " + base64.b64encode(f"x-access-token:{self._token}".encode()).decode()

    async def owner(self, organization: str) -> Owner:
        """Find the owner of the repositories: the organization, or the token's account if there is none. Cached."""
        if organization in self._owners:
            return self._owners[organization]

        async def ask() -> Owner:
            found = await self.api.get_if_there("/orgs/{org}", {"org": organization})
            if found is not None:
                return Owner(_Account.model_validate(found).login, is_organization=True)
            return Owner(_Account.model_validate(await self.api.requests.getitem("/user")).login, False)

        owner = await self.api.run(ask, to=f"find the organization {organization} on GitHub", right=_READ)
        if owner.login.lower() != organization.lower():
            log.warning("no_such_organization", asked=organization, used=owner.login)
        self._owners[organization] = owner
        return owner

    async def repository(self, full_name: str, *, written_at: datetime | None = None) -> Repository | None:
        """Look at `owner/name`; None if it does not exist, or if the token may not see it."""

        async def ask() -> Repository | None:
            return await self.api.run(
                lambda: self._find(full_name), to=f"read the repository {full_name} on GitHub", right=_READ
            )

        return await _asked(ask, written_at)

    async def branch_head(self, full_name: str, branch: str, *, written_at: datetime | None = None) -> str | None:
        """Find the commit that `branch` points to (40 hex digits); None if the branch does not exist."""

        async def ask() -> str | None:
            to = f"read the branch {branch} of {full_name} on GitHub"
            return await self.api.run(lambda: self._head(full_name, branch), to=to, right=_READ)

        return await _asked(ask, written_at)

    async def file(self, full_name: str, path: str) -> bytes | None:
        """Read a file of `owner/name` on its default branch; None if there is none, or if it is over 1 MB."""

        async def ask() -> bytes | None:
            named = {**_split(full_name), "path": path.split("/")}
            document = await self.api.get_if_there(_REPOSITORY + "/contents{/path*}", named)
            if not isinstance(document, dict) or document.get("encoding") != "base64":
                return None  # a folder, a link, or too large
            return base64.b64decode(_File.model_validate(document).content)

        return await self.api.run(ask, to=f"read {path} of {full_name} on GitHub", right=_READ)

    async def ensure_repository(
        self, owner: Owner, name: str, *, description: str, made: Callable[[int], Awaitable[None]] | None = None
    ) -> Repository | None:
        """Find `name` of `owner`, or make it: private, with a first commit.

        `made` is awaited as soon as GitHub has made it, with its id. It may take a while until GitHub shows it.
        The caller has to look whether it is the repository that it wants: anybody may have made it. None if GitHub says
        that it is there, and does not show it: the token may not see it.
        """
        full_name = f"{owner.login}/{name}"
        path = "/orgs/{org}/repos" if owner.is_organization else "/user/repos"
        wanted = {
            "name": name,
            "description": one_line(description, _DESCRIPTION_CHARACTERS),
            "private": True,
            "auto_init": True,
        }

        async def make() -> Any | None:
            try:
                return await self.api.requests.post(path, {"org": owner.login}, data=wanted)
            except BadRequest as error:
                if not _says(error, "already exists"):
                    raise
                return None

        if (found := await self.repository(full_name)) is not None:
            return found
        new = await self.api.run(make, to=f"make the repository {full_name} on GitHub", right=_CREATE)
        if new is None:  # somebody was first, or GitHub did not tell us that it took our own request
            return await self.repository(full_name, written_at=now())
        log.info("repository_made", repository=full_name)
        if made:
            await made(_RepositoryAnswer.model_validate(new).id)
        return await self._with_first_commit(new)

    async def ensure_pull_request(
        self,
        repository: Repository,
        *,
        head: str,
        base: str,
        title: str,
        body: str,
        commit: str | None = None,
    ) -> PullRequest | None:
        """Find the open pull request of branch `head`, or open one; None if `head` holds nothing that `base` lacks.

        One that exists keeps its title, which a person may have changed. Our part of its body becomes `body`. `commit`
        is what was just pushed to `head`: a refusal is believed only if GitHub showed it there before.
        """
        shown = commit is None

        async def open_one() -> _Pull | None:
            """Open it; None if there is nothing to open it for. Raises `NotShown` to be asked again."""
            nonlocal shown
            try:
                whole = with_section(None, body)
                return await self._open(repository, head=head, base=base, title=title, body=whole)
            except BadRequest as error:
                if _says(error, "already exists"):
                    raise NotShown from error
                if error.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
                if not shown:  # it may be so since the refusal
                    shown = await self._head(repository.full_name, head) == commit
                    raise NotShown from error
                # A repository whose first branch this is has nothing to compare with.
                if _says(error, "No commits between") or (repository.empty and _is_invalid(error, "base")):
                    return None
                raise

        async def ensure() -> PullRequest | None:
            found = await self._open_pull(repository, head)
            if found is None:
                opened = await open_one()
                return None if opened is None else _seen(opened)
            whole = with_section(found.body, body)
            if _lines(found.body or "") != _lines(whole):
                await self.api.requests.patch(
                    _REPOSITORY + "/pulls/{number}", _named(repository, number=str(found.number)), data={"body": whole}
                )
            return _seen(found)

        to = f"open the pull request of {head} in {repository.full_name} on GitHub"
        try:
            return await until_shown(lambda: self.api.run(ensure, to=to, right=_PULLS), seconds=LATE_SECONDS)
        except NotShown as error:
            raise Unavailable(f"Could not {to}: GitHub does not show yet what was just pushed.") from error

    async def open_pull_request_of(self, repository: Repository, head: str) -> PullRequest | None:
        """Find the open pull request of branch `head`; None if there is none."""
        to = f"read the pull requests of {repository.full_name} on GitHub"
        found = await self.api.run(lambda: self._open_pull(repository, head), to=to, right=_PULLS)
        return None if found is None else _seen(found)

    async def pull_request_state(self, full_name: str, number: int) -> Literal["open", "closed", "merged"] | None:
        """Look at a pull request; None if it does not exist, or no longer exists."""

        async def ask() -> Literal["open", "closed", "merged"] | None:
            variables = {**_split(full_name), "number": str(number)}
            found = await self.api.get_if_there(_REPOSITORY + "/pulls/{number}", variables)
            if found is None:
                return None
            pull = _PullState.model_validate(found)
            return "merged" if pull.merged else pull.state

        return await self.api.run(ask, to=f"read pull request #{number} of {full_name} on GitHub", right=_PULLS)

    async def delete_refs(self, full_name: str, prefix: str) -> None:
        """Delete every ref of `owner/name` that begins with `refs/` and `prefix` (`peerbot/…/`), if there are any."""

        async def delete() -> None:
            for ref in await self._refs(full_name, prefix):
                named = {**_split(full_name), "ref": ref.removeprefix("refs/").split("/")}
                try:
                    await self.api.requests.delete(_REPOSITORY + "/git/refs{/ref*}", named)
                except BadRequest as error:
                    if not _says_it_is_gone(error):
                        raise

        await self.api.run(delete, to=f"delete the checkpoints in {full_name} on GitHub", right=_WRITE)

    async def _refs(self, full_name: str, prefix: str) -> list[str]:
        variables = {**_split(full_name), "ref": prefix.split("/")}
        found = await self.api.get_if_there(_REPOSITORY + "/git/matching-refs{/ref*}", variables)
        return [each.ref for each in _REFS_ANSWER.validate_python(found or [])]

    async def _find(self, full_name: str) -> Repository | None:
        document = await self.api.get_if_there(_REPOSITORY, _split(full_name))
        return None if document is None else await self._described(document)

    async def _described(self, document: Any) -> Repository:
        answer = _RepositoryAnswer.model_validate(document)
        empty = await self._head(answer.full_name, answer.default_branch) is None
        return Repository(**{**answer.model_dump(), "description": answer.description or ""}, empty=empty)

    async def _head(self, full_name: str, branch: str) -> str | None:
        variables = {**_split(full_name), "branch": branch.split("/")}
        ref = await self.api.get_if_there(_REPOSITORY + "/git/ref/heads{/branch*}", variables)
        return None if ref is None else _Ref.model_validate(ref).object.sha

    async def _with_first_commit(self, document: Any) -> Repository:
        """Wait for the first commit: GitHub may answer a creation before it exists, and a clone would find nothing."""

        async def described() -> Repository | None:
            made = await self.api.run(lambda: self._described(document), to="read the new repository", right=_READ)
            return None if made.empty else made

        made = await _asked(described, now())
        if made is None:
            raise Unavailable("GitHub made the repository, but not yet its first commit. Try again soon.")
        return made

    async def _open_pull(self, repository: Repository, head: str) -> _Pull | None:
        owner = repository.full_name.partition("/")[0]
        # Without its owner GitHub ignores the filter and lists every pull request.
        found = await self.api.requests.getitem(
            _REPOSITORY + "/pulls{?state,head}", _named(repository, state="open", head=f"{owner}:{head}")
        )
        pulls = _PULLS_ANSWER.validate_python(found)
        return pulls[0] if pulls else None

    async def _open(self, repository: Repository, **wanted: str) -> _Pull:
        made = await self.api.requests.post(_REPOSITORY + "/pulls", _named(repository), data=wanted)
        log.info("pull_request_opened", repository=repository.full_name, head=wanted["head"])
        return _Pull.model_validate(made)


async def _asked(ask: Callable[[], Awaitable[T | None]], written_at: datetime | None) -> T | None:
    """Return what `ask` finds. Ask again if that is nothing and something was written at `written_at`, a moment ago."""

    async def shown() -> T:
        if (found := await ask()) is None:
            raise NotShown
        return found

    left = LATE_SECONDS - (now() - written_at).total_seconds() if written_at else 0.0
    try:
        return await until_shown(shown, seconds=min(left, LATE_SECONDS))
    except NotShown:
        return None


def _split(full_name: str) -> dict[str, str]:
    owner, _, name = full_name.partition("/")
    return {"owner": owner, "name": name}


def _named(repository: Repository, **more: str) -> dict[str, str]:
    return {**_split(repository.full_name), **more}


def _seen(pull: _Pull) -> PullRequest:
    return PullRequest(number=pull.number, url=pull.html_url)


def _says(error: BadRequest, words: str) -> bool:
    """Whether GitHub's complaint holds `words`: it has no codes for the cases that we must tell apart."""
    if error.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return False
    return any(words in str(each.get("message", "")) for each in complaints(error))


def _is_invalid(error: BadRequest, field: str) -> bool:
    return any((each.get("code"), each.get("field")) == ("invalid", field) for each in complaints(error))


def _says_it_is_gone(error: BadRequest) -> bool:
    return error.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and "does not exist" in str(error)


def _lines(text: str) -> list[str]:
    """Split a text into lines: GitHub's page sends other line ends than we do."""
    return [line.rstrip() for line in text.strip().splitlines()]
