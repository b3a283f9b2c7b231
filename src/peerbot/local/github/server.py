"""The local GitHub as a server: one directory, one port (on loopback, unless told otherwise), one token.

PeerBot's production client and git itself talk to it as they do to GitHub (decision 0005). Its REST API is under
`/api/v3`, as on GitHub Enterprise. Its repositories are at `/{owner}/{name}.git`.
"""

import asyncio
import base64
import binascii
import hmac
import json
import secrets
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from peerbot.conversation.keys import BRANCH_PREFIX
from peerbot.errors import Refused
from peerbot.local import ports
from peerbot.local.github import checks, imports, manage, pulls
from peerbot.local.github.faults import Call, Fault, Faults
from peerbot.local.github.git import UNHEARD, Git, Rules
from peerbot.local.github.late import Late
from peerbot.local.github.pages import Pages
from peerbot.local.github.rest import Rest
from peerbot.local.github.shapes import Shapes, problem
from peerbot.local.github.state import State, moment
from peerbot.local.key import Key

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_API = "/api/v3"
_SHUTDOWN_SECONDS = 1.0


class LocalGitHub:
    """A GitHub with one organization and one token, which is new at each start.

    Keeps everything in `directory`, and finds it there again. Without a directory it uses a temporary one, and `close`
    removes that. `port` 0 takes any free port. `api_url`, `url`, `token` and `door_secret` are known after `start`.
    """

    organization = "peerbot-community"
    login = "peerbot"
    person = "ada"

    def __init__(self, directory: Path | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.url = ""
        self._host = host
        self.token = ""
        self.faults = Faults()
        self.rules = Rules()
        self.calls: deque[Call] = deque(maxlen=1000)
        self._directory = directory
        self._port = port
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._runner: web.AppRunner | None = None
        self._state: State | None = None
        self._late: Late | None = None
        self._rest: Rest | None = None
        self._key: Key | None = None

    @property
    def api_url(self) -> str:
        """The base URL of the REST API, for `GITHUB_API_URL`."""
        return self.url + _API

    @property
    def door_secret(self) -> str:
        """What lets a browser in: `…#key={door_secret}` behind a page's address. The agent must never see it."""
        assert self._key is not None, "start first"
        return self._key.secret

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the port. Raises `SettingsError` if git is missing, `OSError` if the port is taken."""
        if self._directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="peerbot-github-")
        directory = self._directory or Path(self._temporary.name if self._temporary else "")
        git = Git.prepare(directory / "git")
        self._state = State(directory / "repositories", git, login=self.login)
        listening = ports.listening(self._host, self._port, directory / "port")
        self.url = f"http://{self._host}:{listening.getsockname()[1]}"
        self.token = secrets.token_urlsafe(24)
        shapes = Shapes(self.url, self.login, self.organization)
        self._key = Key.kept_in(directory / "door")
        shown = Pages(self._state, shapes, self._key, person=self.person, host=self._host)
        application = web.Application(middlewares=[self._watched])
        self._late = Late(self._state, self.faults)
        self._rest = Rest(self._state, shapes, self._late, token=self.token)
        application.add_subapp(_API, self._rest.application())
        application.add_routes(
            [
                web.get("/{owner}/{name}/info/refs", self._git),
                web.post("/{owner}/{name}/{service:git-(?:upload|receive)-pack}", self._git),
                *shown.routes(),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Close the port, end every git process, and remove a temporary directory. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def grant(self, scopes: str | None, *, may_create: bool | None = True) -> None:
        """Set what the token may do: a classic token's scopes (`repo` at first), or None for a fine-grained token.

        `may_create` says whether its account may create repositories in the organization; None: the account is no
        member.
        """
        assert self._rest is not None, "start first"
        self._rest.scopes, self._rest.member = scopes, may_create

    def calls_left(self, number: int) -> None:
        """Set how many calls GitHub says are left in this hour, of 5,000."""
        assert self._rest is not None, "start first"
        self._rest.calls_left = number

    def repository_path(self, full_name: str) -> Path:
        """Return the path of the bare repository on disk."""
        return self._opened.path(full_name)

    async def import_repository(self, full_name: str, source: Path, *, branch_prefix: str = BRANCH_PREFIX) -> None:
        """Copy the commits of a person's own repository here. `source` is never touched (see `imports.py`)."""
        await imports.import_repository(self._opened, full_name, source, branch_prefix=branch_prefix)

    async def import_by_path(self, source: Path, *, branch_prefix: str = BRANCH_PREFIX) -> imports.Copy:
        """Copy a person's own repository into the organization, under a name for its path (see `imports.py`)."""
        return await imports.import_by_path(self._opened, self.organization, source, branch_prefix=branch_prefix)

    async def merge(self, full_name: str, number: int, *, squash: bool = False, delete_branch: bool = False) -> str:
        """Merge a pull request as a person does; returns the commit on the base."""
        state, by = self._opened, self.person
        return await manage.merge(state, full_name, number, by=by, squash=squash, delete_branch=delete_branch)

    async def close_pull_request(self, full_name: str, number: int) -> None:
        """Close a pull request as a person does."""
        await manage.close(self._opened, full_name, number, by=self.person)

    async def draft(self, full_name: str, number: int, *, draft: bool = True) -> None:
        """Make a pull request a draft as a person does, or say that it is ready for review."""
        await manage.draft(self._opened, full_name, number, draft=draft)

    async def check(self, full_name: str, number: int, name: str, state: checks.CheckState) -> None:
        """Say how a check run goes on the newest commit of a pull request, as CI does."""
        await checks.report(self._opened, full_name, number, name, state, is_status=False)

    async def status(self, full_name: str, number: int, context: str, state: checks.StatusState) -> None:
        """Set a commit status on the newest commit of a pull request, as older CI does."""
        await checks.report(self._opened, full_name, number, context, state, is_status=True)

    async def rename_branch(self, full_name: str, old: str, new: str) -> None:
        """Rename a branch as a person does, and change all that names it."""
        await manage.rename_branch(self._opened, full_name, old, new)

    async def archive(self, full_name: str, *, archived: bool = True) -> None:
        """Make a repository read-only, or writable again."""
        await manage.archive(self._opened, full_name, archived=archived)

    async def require_sign_off(self, full_name: str) -> None:
        """Have a repository want each commit signed off, as its owner does in its settings."""
        await manage.require_sign_off(self._opened, full_name)

    async def rename(self, full_name: str, new: str) -> None:
        """Rename a repository to `owner/name`. Its old name leads to it from then on."""
        await manage.rename(self._opened, full_name, new)

    async def delete(self, full_name: str) -> None:
        """Delete a repository."""
        await manage.delete(self._opened, full_name)

    async def pull_requests(self, full_name: str) -> list[dict[str, Any]]:
        """List all pull requests of a repository, oldest first, as GitHub shows them."""
        state = self._opened
        if state.find(full_name) is None:
            raise Refused(f"There is no repository {full_name}.")
        async with state.lock(full_name):
            record = await pulls.refreshed(state, full_name)
        shapes = Shapes(self.url, self.login, self.organization)
        return [shapes.pull(record, pull, await pulls.stat(state, record, pull)) for pull in record.pulls]

    @property
    def _opened(self) -> State:
        assert self._state is not None, "start first"
        return self._state

    @web.middleware
    async def _watched(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record requests and answers, and carry out planned faults."""
        rest = request.path.startswith(_API)
        asked = _document(await request.read()) if rest else None
        fault = self.faults.take(request.method, request.path)
        response: web.StreamResponse | None = None
        request[UNHEARD] = fault is not None and fault.served
        if fault is None or fault.served or not (fault.status or fault.dropped):
            response = await handler(request)
        if fault is not None:
            await asyncio.sleep(fault.delay_seconds)
            if fault.dropped and request.transport is not None:
                request.transport.abort()
            if fault.status is not None:
                response = _told(fault, rest=rest)
            elif fault.dropped:
                response = web.Response(status=500)
        assert response is not None
        answered = _document(response.body) if rest and isinstance(response, web.Response) else None
        self.calls.append(Call(request.method, request.path, dict(request.query), asked, response.status, answered))
        return response

    async def _git(self, request: web.Request) -> web.StreamResponse:
        """Serve one request of git's smart HTTP. The older dumb protocol is refused, as GitHub refuses it."""
        if not self._may(request):
            return _challenge()
        state = self._opened
        full_name = f"{request.match_info['owner']}/{request.match_info['name'].removesuffix('.git')}"
        record = state.find(full_name)
        if record is None:
            return self._not_there(request, full_name)
        service = request.match_info.get("service") or request.query.get("service", "")
        if record.archived and service == "git-receive-pack":
            return web.Response(status=403, text="This repository was archived so it is read-only.\n")
        if service not in ("git-upload-pack", "git-receive-pack"):
            return web.Response(status=403, text="Please upgrade your git client.\n")
        # Before a long push git asks with an empty request (a lone "0000") whether it may push.
        pushing = request.method == "POST" and service == "git-receive-pack" and request.content_length != 4
        if not pushing:
            return await self._serve(request, full_name, service)
        assert self._late is not None, "start first"
        await self._late.write(full_name)
        response = await self._serve(request, full_name, service, decline=self.faults.take_push_refusal())
        async with state.lock(full_name):
            if (record := state.find(full_name)) is not None:
                state.save(record.model_copy(update={"pushed_at": moment()}))
        return response

    async def _serve(
        self, request: web.Request, full_name: str, service: str, *, decline: str | None = None
    ) -> web.StreamResponse:
        state = self._opened
        path = state.path(full_name).relative_to(state.root)
        tail = service if request.method == "POST" else "info/refs"
        return await state.git.serve(
            request, root=state.root, path=f"/{path}/{tail}", user=self.login, decline=decline, rules=self.rules
        )

    def _not_there(self, request: web.Request, full_name: str) -> web.Response:
        moved = self._opened.moved(full_name)
        if moved is None:
            return web.Response(status=404, text="Repository not found.\n")
        tail = request.raw_path.split("/", 3)[3]
        return web.Response(status=301, headers={"Location": f"{self.url}/{moved.full_name}.git/{tail}"})

    def _may(self, request: web.Request) -> bool:
        """Whether the request brings the token as the password of Basic authentication, under any name."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            password = base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(password, self.token.encode())


def _told(fault: Fault, *, rest: bool) -> web.Response:
    """Answer with a fault: a document for the REST API, plain text for git."""
    assert fault.status is not None, "asked for"
    if rest:
        return web.json_response(problem(fault.status, fault.message), status=fault.status, headers=fault.headers)
    return web.Response(status=fault.status, text=f"{fault.message}\n", headers=fault.headers)


def _challenge() -> web.Response:
    headers = {"WWW-Authenticate": 'Basic realm="GitHub"'}
    return web.Response(status=401, text="Invalid username or token.\n", headers=headers)


def _document(body: Any) -> Any:
    """Read a body as a JSON document; None if it is not one."""
    try:
        return json.loads(body)
    except (TypeError, ValueError):
        return None
