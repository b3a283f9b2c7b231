"""The local GitHub's REST API: the part that PeerBot uses, with GitHub's own answers and refusals.

Every answer to a classic token names the token's scopes in the header `X-OAuth-Scopes`
(https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps). Answers to other tokens have no
such header. Every answer says how many calls are left in this hour, and a document that did not change is not sent
again to a client that has it (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from peerbot.errors import Conflict, PeerBotError, Refused
from peerbot.local.github import checks, manage, pulls
from peerbot.local.github.compare import compared
from peerbot.local.github.contents import contents
from peerbot.local.github.late import Late
from peerbot.local.github.problems import Problem, invalid
from peerbot.local.github.shapes import Json, Shapes, problem
from peerbot.local.github.state import Pull, RepositoryRecord, State

_T = TypeVar("_T")

CALLS_AN_HOUR = 5_000
_CHECKS = {"check-runs": checks.check_runs, "status": checks.combined_status}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """The API's handlers over `state`, for clients that have `token`.

    `scopes` are the token's (`repo, read:org`), None for a fine-grained token. `member` is True if its account is a
    member of the organization and may create repositories there, False if it is a member and may not, and None if it is
    no member.
    """

    def __init__(self, state: State, shapes: Shapes, late: Late, *, token: str) -> None:
        self.scopes: str | None = "repo"
        self.member: bool | None = True
        self.calls_left = CALLS_AN_HOUR  # it does not count them: a test sets it
        self._state = state
        self._shapes = shapes
        self._late = late
        self._token = token

    def application(self) -> web.Application:
        """Return all handlers of `/api/v3`."""
        application = web.Application(middlewares=[self._guarded], client_max_size=2**20)
        application.add_routes(
            [
                web.get("/user", self._user),
                web.get("/orgs/{org}", self._organization),
                web.get("/user/memberships/orgs/{org}", self._membership),
                web.get("/orgs/{org}/repos", self._list_repositories),
                web.post("/orgs/{org}/repos", self._create_in_organization),
                web.get("/user/repos", self._list_own),
                web.post("/user/repos", self._create_for_user),
            ]
        )
        for repository in ("/repos/{owner}/{name}", "/repositories/{id:[0-9]+}"):  # after renames: by id
            application.add_routes(
                [
                    web.get(repository, self._repository),
                    web.get(repository + "/contents/{path:.*}", self._contents),
                    web.get(repository + "/compare/{span:.+}", self._compare),
                    web.get(repository + "/commits/{ref:.+}/{what:check-runs|status}", self._checks),
                    web.get(repository + "/git/ref/heads/{branch:.+}", self._reference),
                    web.get(repository + "/git/matching-refs/{prefix:.+}", self._matching_references),
                    web.delete(repository + "/git/refs/{ref:.+}", self._delete_reference),
                    web.get(repository + "/pulls", self._list_pulls),
                    web.post(repository + "/pulls", self._open_pull),
                    web.get(repository + "/pulls/{number:[0-9]+}", self._pull),
                    web.patch(repository + "/pulls/{number:[0-9]+}", self._change_pull),
                    web.get(repository + "/issues/{number:[0-9]+}/comments", self._list_comments),
                    web.post(repository + "/issues/{number:[0-9]+}/comments", self._comment),
                ]
            )
        return application

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the token, and name its scopes in every answer."""
        try:
            self._authenticate(request)
        except Problem as error:
            return web.json_response(error.document, status=error.status)
        response = await self._answer(request, handler)
        response = _unless_known(request, response)
        if self.scopes is not None:
            response.headers["X-OAuth-Scopes"] = self.scopes
        response.headers["x-ratelimit-limit"] = str(CALLS_AN_HOUR)
        response.headers["x-ratelimit-remaining"] = str(self.calls_left)
        response.headers["x-ratelimit-reset"] = str(int(time.time()) + 3600)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every failure into GitHub's answer for it."""
        try:
            return await handler(request)
        except Problem as error:
            return web.json_response(error.document, status=error.status, headers=error.headers)
        except web.HTTPNotFound:
            return web.json_response(problem(404, "Not Found"), status=404)
        except PeerBotError as error:
            return web.json_response(problem(500, str(error)), status=500)

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            raise Problem(401, "Requires authentication")
        if scheme.lower() not in ("token", "bearer") or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise Problem(401, "Bad credentials")

    async def _user(self, _: web.Request) -> web.Response:
        return web.json_response(self._shapes.user())

    async def _organization(self, request: web.Request) -> web.Response:
        self._must_be_organization(request)
        return web.json_response(self._shapes.organization_document())

    async def _membership(self, request: web.Request) -> web.Response:
        """Describe the token's account in the organization. A classic token needs a scope of its own to see that."""
        if self.scopes is not None and not {"read:org", "user"} & set(self.scopes.replace(" ", "").split(",")):
            raise Problem(403, "You need at least read:org scope or user scope to read your organization memberships.")
        self._must_be_organization(request)
        if self.member is None:
            raise Problem(404, "Not Found")
        return web.json_response(self._shapes.membership(may_create=self.member))

    async def _list_repositories(self, request: web.Request) -> web.Response:
        self._must_be_organization(request)
        found = self._state.newest_first(self._shapes.organization)
        return web.json_response([self._shapes.repository(record) for record in _page(request, found)])

    async def _list_own(self, request: web.Request) -> web.Response:
        found = self._state.newest_first(self._shapes.login)
        return web.json_response([self._shapes.repository(record) for record in _page(request, found)])

    async def _create_in_organization(self, request: web.Request) -> web.Response:
        self._must_be_organization(request)
        return await self._create(self._shapes.organization, await _body(request))

    async def _create_for_user(self, request: web.Request) -> web.Response:
        return await self._create(self._shapes.login, await _body(request))

    async def _create(self, owner: str, wanted: Json) -> web.Response:
        name, description = _text(wanted, "name", "Repository"), wanted.get("description")
        if re.search(r"[\x00-\x1f]", description or ""):
            message = "description control characters are not allowed"
            raise invalid("Repository", "custom", field="description", message=message)
        record = RepositoryRecord(
            full_name=f"{owner}/{name}", description=description, private=bool(wanted.get("private", False))
        )
        try:
            await self._late.write(record.full_name)
            async with self._state.lock(record.full_name):
                await self._state.create(record, first_commit=bool(wanted.get("auto_init", False)))
        except Conflict as error:
            taken = "name already exists on this account"
            raise invalid("Repository", "custom", field="name", message=taken) from error
        except Refused as error:
            raise invalid("Repository", "custom", field="name", message="name is invalid") from error
        return web.json_response(self._shapes.repository(record), status=201)

    async def _repository(self, request: web.Request) -> web.Response:
        return web.json_response(self._shapes.repository(await self._shown(request)))

    async def _contents(self, request: web.Request) -> web.Response:
        record, path = await self._shown(request), request.match_info["path"]
        heads = await self._late.heads(record.full_name)
        found = await contents(self._state, self._shapes, record, heads, path, request.query.get("ref", ""))
        if found is None:
            raise Problem(404, "Not Found" if heads else "This repository is empty.")
        return web.json_response(found)

    async def _compare(self, request: web.Request) -> web.Response:
        record, span = await self._shown(request), request.match_info["span"]
        heads = await self._late.heads(record.full_name)
        most = int(request.query.get("per_page", "250"))
        found = await compared(self._state, self._shapes, record, heads, span, most)
        if found is None:
            raise Problem(404, "Not Found")
        return web.json_response(found)

    async def _checks(self, request: web.Request) -> web.Response:
        record, ref = await self._shown(request), request.match_info["ref"]
        sha = (await self._late.heads(record.full_name)).get(ref, ref)
        if not await self._state.has_commit(record.full_name, sha):
            raise Problem(422, f"No commit found for SHA: {ref}")
        return web.json_response(_CHECKS[request.match_info["what"]](self._shapes, record, sha, _slice(request)))

    async def _reference(self, request: web.Request) -> web.Response:
        record, branch = await self._shown(request), request.match_info["branch"]
        heads = await self._late.heads(record.full_name)
        if not heads:
            raise Problem(409, "Git Repository is empty.")
        if branch not in heads:
            raise Problem(404, "Not Found")
        return web.json_response(self._shapes.reference(record, f"refs/heads/{branch}", heads[branch]))

    async def _matching_references(self, request: web.Request) -> web.Response:
        record, prefix = await self._shown(request), f"refs/{request.match_info['prefix']}"
        refs = await self._late.refs(record.full_name)
        if not refs:
            raise Problem(409, "Git Repository is empty.")
        found = {ref: sha for ref, sha in refs.items() if ref.startswith(prefix)}
        return web.json_response([self._shapes.reference(record, ref, sha) for ref, sha in found.items()])

    async def _delete_reference(self, request: web.Request) -> web.Response:
        full_name, ref = self._record(request).full_name, f"refs/{request.match_info['ref']}"
        await self._late.write(full_name)
        async with self._state.lock(full_name):
            if not await self._state.delete_ref(full_name, ref):
                raise Problem(422, "Reference does not exist")
        return web.Response(status=204)

    async def _list_pulls(self, request: web.Request) -> web.Response:
        record = await self._shown(request)
        state, head = request.query.get("state", "open"), request.query.get("head", "")
        found = [
            pull
            for pull in reversed(record.pulls)
            # GitHub ignores a `head` without its owner.
            if state in ("all", pull.state) and (":" not in head or head == f"{record.owner}:{pull.head}")
        ]
        return web.json_response([self._shapes.pull(record, pull) for pull in _page(request, found)])

    async def _pull(self, request: web.Request) -> web.Response:
        record = await self._shown(request)
        pull = _numbered(record, request)
        return web.json_response(self._shapes.pull(record, pull, await pulls.stat(self._state, record, pull)))

    async def _open_pull(self, request: web.Request) -> web.Response:
        full_name, wanted = self._record(request).full_name, await _body(request)
        title, body = _text(wanted, "title", "PullRequest"), _pull_body(wanted)
        head, base = _text(wanted, "head", "PullRequest"), _text(wanted, "base", "PullRequest")
        await self._late.write(full_name)
        async with self._state.lock(full_name):
            record = await pulls.refreshed(self._state, full_name)
            head = head.removeprefix(f"{record.owner}:")
            heads = await self._late.heads(full_name)
            for field, branch in (("base", base), ("head", head)):
                if branch not in heads:
                    raise invalid("PullRequest", "invalid", field=field)
            if any(pull.state == "open" and (pull.head, pull.base) == (head, base) for pull in record.pulls):
                message = f"A pull request already exists for {record.owner}:{head}."
                raise invalid("PullRequest", "custom", message=message)
            pull = await pulls.opened(self._state, record, heads, title=title, body=body, head=head, base=base)
            if pull is None:
                raise invalid("PullRequest", "custom", message=f"No commits between {base} and {head}")
            stat = await pulls.stat(self._state, record, pull)
        return web.json_response(self._shapes.pull(record, pull, stat), status=201)

    async def _change_pull(self, request: web.Request) -> web.Response:
        full_name, wanted = self._record(request).full_name, await _body(request)
        await self._late.write(full_name)
        async with self._state.lock(full_name):
            record = await pulls.refreshed(self._state, full_name)
            pull = _numbered(record, request)
            if "title" in wanted:
                pull.title = _text(wanted, "title", "PullRequest")
            if "body" in wanted:
                pull.body = _pull_body(wanted)
            if "state" in wanted:
                if wanted["state"] not in ("open", "closed"):
                    raise invalid("PullRequest", "invalid", field="state")
                pulls.set_state(pull, wanted["state"])
            self._state.save(record)
            stat = await pulls.stat(self._state, record, pull)
        return web.json_response(self._shapes.pull(record, pull, stat))

    async def _list_comments(self, request: web.Request) -> web.Response:
        record = await self._shown(request)
        pull = _numbered(record, request)
        return web.json_response([self._shapes.comment(record, pull, each) for each in pull.comments[_slice(request)]])

    async def _comment(self, request: web.Request) -> web.Response:
        record, body = self._record(request), _text(await _body(request), "body", "IssueComment")
        pull = _numbered(record, request)
        await self._late.write(record.full_name)
        try:
            made = await manage.comment(self._state, record.full_name, pull.number, by=self._shapes.login, body=body)
        except Refused as error:
            raise invalid("IssueComment", "custom", field="body", message=str(error)) from error
        return web.json_response(self._shapes.comment(record, pull, made), status=201)

    async def _shown(self, request: web.Request) -> RepositoryRecord:
        """The repository as readers see it."""
        record = await self._late.record(self._named(request).full_name)
        if record is None:
            raise Problem(404, "Not Found")
        return record

    def _record(self, request: web.Request) -> RepositoryRecord:
        record = self._named(request)
        if record.archived:
            raise Problem(403, "Repository was archived so is read-only.")
        return record

    def _named(self, request: web.Request) -> RepositoryRecord:
        if identity := request.match_info.get("id"):
            record = self._state.by_id(int(identity))
        else:
            full_name = f"{request.match_info['owner']}/{request.match_info['name']}"
            record = self._state.find(full_name)
            if record is None and (moved := self._state.moved(full_name)) is not None:
                before, _, rest = request.raw_path.partition(f"/repos/{full_name}")
                raise Problem(
                    301 if request.method == "GET" else 307,
                    "Moved Permanently" if request.method == "GET" else "Temporary Redirect",
                    location=f"{self._shapes.url}{before}/repositories/{moved.id}{rest}",
                )
        if record is None:
            raise Problem(404, "Not Found")
        return record

    def _must_be_organization(self, request: web.Request) -> None:
        if request.match_info["org"].lower() != self._shapes.organization:
            raise Problem(404, "Not Found")


def _slice(request: web.Request) -> slice:
    """Say which part of a list the request asks for."""
    size, page = min(int(request.query.get("per_page", 30)), 100), int(request.query.get("page", 1))
    return slice((page - 1) * size, page * size)


def _page(request: web.Request, found: list[_T]) -> list[_T]:
    """Return the page of `found` that the request asks for."""
    return found[_slice(request)]


def _unless_known(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Give a document its ETag, and send it only if the client does not have it."""
    if request.method != "GET" or response.status != 200 or not isinstance(response, web.Response):
        return response
    assert isinstance(response.body, bytes)
    etag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        response = web.Response(status=304)
    response.headers["ETag"] = etag
    return response


def _numbered(record: RepositoryRecord, request: web.Request) -> Pull:
    pull = pulls.numbered(record, int(request.match_info["number"]))
    if pull is None:
        raise Problem(404, "Not Found")
    return pull


async def _body(request: web.Request) -> Json:
    try:
        document: Any = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "Problems parsing JSON") from error
    if not isinstance(document, dict):
        raise Problem(400, "Body should be a JSON object")
    return document


def _text(wanted: Json, field: str, resource: str) -> str:
    value = wanted.get(field)
    if value is None or value == "":
        raise invalid(resource, "missing_field", field=field)
    if not isinstance(value, str):
        raise Problem(422, f"Invalid request.\n\nFor 'properties/{field}', {json.dumps(value)} is not a string.")
    if field == "title" and len(value) > 256:
        raise invalid(resource, "custom", field=field, message="title is too long (maximum is 256 characters)")
    return value


def _pull_body(wanted: Json) -> str | None:
    if not wanted.get("body"):
        return None
    body = _text(wanted, "body", "PullRequest")
    if len(body) > 65_536:
        raise invalid("PullRequest", "custom", field="body", message="body is too long (maximum is 65536 characters)")
    return body
