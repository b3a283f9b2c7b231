"""The doctor's checks of GitHub: the token, its rights, and the place where PeerBot makes repositories.

They ask GitHub directly, not through `github/`: a header names the token's scopes, and that client does not show it.
"""

from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import Unavailable
from peerbot.settings import Settings
from peerbot.way_out import proxy_for

_TOKEN, _RIGHTS = "github_token", "github_token_scopes"
_ORGANIZATION, _MEMBER = "github_organization", "github_organization_rights"
_TOKENS_PAGE = "https://github.com/settings/tokens"


class Answer(NamedTuple):
    """GitHub's answer to a request."""

    status: int
    scopes: str | None  # of a classic token; None for a fine-grained one, which does not say
    document: Any


class Asker:
    """Asks GitHub, with the token of the settings."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._url = settings.github_api_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {settings.github_token.get_secret_value()}",
            "Accept": "application/vnd.github+json",
            "User-Agent": "peerbot",
        }

    async def get(self, path: str) -> Answer:
        """Get a document. Raises `Unavailable` if GitHub does not answer, or is busy."""
        try:
            async with self._session.get(self._url + path, headers=self._headers) as reply:
                document = (
                    await reply.json(content_type=None) if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR else {}
                )
                answer = Answer(reply.status, reply.headers.get("X-OAuth-Scopes"), document)
                used_up = reply.headers.get("x-ratelimit-remaining") == "0"
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable("GitHub did not answer. Check GITHUB_API_URL and the network.") from error
        except ValueError as error:
            raise Unavailable("The answer did not come from GitHub. Check GITHUB_API_URL.") from error
        busy = answer.status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS) and used_up
        if busy or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"GitHub is busy or broken (status {answer.status}). Try again in a few minutes.")
        return answer


async def look_at_token(settings: Settings) -> list[Finding]:
    """Check that GitHub takes the token, and that its scopes suffice and are safe. Raises `Unavailable`."""
    async with aiohttp.ClientSession(proxy=proxy_for(settings.github_api_url)) as session:
        me = await Asker(session, settings).get("/user")
    if me.status != HTTPStatus.OK:
        return [_refused(me), skipped(_RIGHTS, "GitHub does not accept the token")]
    return [good(_TOKEN, f"it belongs to the account {me.document.get('login')}"), *_scopes(me.scopes)]


async def look_at_organization(settings: Settings) -> list[Finding]:
    """Check that the organization is there, and that the token may make repositories in it. Raises `Unavailable`."""
    name = settings.github_organization
    async with aiohttp.ClientSession(proxy=proxy_for(settings.github_api_url)) as session:
        asker = Asker(session, settings)
        me = await asker.get("/user")
        if me.status != HTTPStatus.OK:
            return [skipped(_ORGANIZATION, "GitHub does not accept the token")]
        login = str(me.document.get("login"))
        if login.lower() == name.lower():
            return [good(_ORGANIZATION, f"PeerBot makes repositories in the account {login} itself")]
        if (await asker.get(f"/orgs/{name}")).status != HTTPStatus.OK:
            return [_no_organization(name, login)]
        member = await asker.get(f"/user/memberships/orgs/{name}")
    return [good(_ORGANIZATION, f"{name} is there"), _membership(member, name, login)]


def _refused(answer: Answer) -> Finding:
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return wrong(
            _TOKEN, "it is wrong, expired or revoked", f"Make a token at {_TOKENS_PAGE} and set GITHUB_TOKEN to it."
        )
    said = f"GitHub does not let it see its own account (status {answer.status})"
    return wrong(_TOKEN, said, f"Make a personal access token at {_TOKENS_PAGE} and set GITHUB_TOKEN to it.")


def _scopes(told: str | None) -> list[Finding]:
    if told is None:
        needed = "Administration, Contents and Pull requests (read and write), and not Workflows"
        said = f"GitHub does not show the rights of a fine-grained token; it needs {needed}. It can't read checks"
        return [skipped(_RIGHTS, said)]
    granted = {scope.strip() for scope in told.split(",")} - {""}
    found = []
    if "repo" not in granted:
        said = f"the token lacks the scope repo (it has {', '.join(sorted(granted)) or 'none'})"
        found.append(wrong(_RIGHTS, said, f"Give the token the scope repo at {_TOKENS_PAGE}."))
    if "workflow" in granted:
        said = "the token has the scope workflow, so an agent could change GitHub Actions, which can read your secrets"
        found.append(wrong(_RIGHTS, said, f"Take the scope workflow away from the token at {_TOKENS_PAGE}."))
    return found or [good(_RIGHTS, "it has repo, and not workflow")]


def _no_organization(name: str, login: str) -> Finding:
    return wrong(
        _ORGANIZATION,
        f"this token sees no organization {name}, so repositories would go into the account {login}",
        f"Set GITHUB_ORGANIZATION to one that exists (https://github.com/organizations/new makes one) or to {login}.",
    )


def _membership(answer: Answer, name: str, login: str) -> Finding:
    if answer.status == HTTPStatus.NOT_FOUND:
        said = f"the token's account {login} is no member of {name}"
        return wrong(_MEMBER, said, f"Invite {login} at https://github.com/orgs/{name}/people, and accept.")
    if answer.status == HTTPStatus.OK and answer.document.get("state") == "pending":
        said = f"{login} has not accepted the invitation to {name}"
        return wrong(_MEMBER, said, f"Accept it at https://github.com/orgs/{name}/invitation as {login}.")
    may = (answer.document.get("permissions") or {}).get("can_create_repository")
    if answer.status != HTTPStatus.OK or may is None:
        return skipped(_MEMBER, "this token does not show if it may make repositories there (read:org would)")
    if not may:
        return wrong(
            _MEMBER,
            f"{login} may not make repositories in {name}",
            f"Let members create private repositories at https://github.com/organizations/{name}/settings/member_privileges.",
        )
    return good(_MEMBER, f"{login} may make repositories in {name}")
