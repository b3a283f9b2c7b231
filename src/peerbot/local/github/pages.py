"""The pages that the local GitHub's links lead to, and what they ask for and do.

A page at `/{owner}/{name}/…` is a shell that anybody may load, since nothing of a repository is in it. Its module asks
for the document at `/-/data/{owner}/{name}/…` and acts by posting there. Both need the key (`local/key.py`).
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from peerbot.errors import PeerBotError, Refused, SettingsError
from peerbot.local.github import manage, pulls, views
from peerbot.local.github.names import unquoted
from peerbot.local.github.shapes import Json, Shapes
from peerbot.local.github.state import RepositoryRecord, State
from peerbot.local.key import Key
from peerbot.web.assets import PAGE_HEADERS, Assets, guarded

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DATA = "/-/data"
_LARGEST_POST_BYTES = 512 * 1024
_REPOSITORY = "/{owner}/{name}"
_READ = (
    "/{owner}",
    _REPOSITORY,
    *(f"{_REPOSITORY}/{kind}/{{rest:(?s:.*)}}" for kind in ("tree", "blob", "raw", "commits")),
    *(f"{_REPOSITORY}/{kind}" for kind in ("tree", "commits", "pulls")),
    f"{_REPOSITORY}/commit/{{sha}}",
    f"{_REPOSITORY}/compare/{{rest:(?s:.+)}}",
    f"{_REPOSITORY}/{{pull:pull|issues}}/{{number:[0-9]{{1,9}}}}",
    f"{_REPOSITORY}/pull/{{number:[0-9]{{1,9}}}}/{{tab:files|commits}}",
)
_ACT = f"{_REPOSITORY}/pull/{{number:[0-9]{{1,9}}}}/{{action:merge|close|reopen|ready|comments}}"


class Pages:
    """The pages over `state`. `person` is who looks at them and acts."""

    def __init__(self, state: State, shapes: Shapes, key: Key, *, person: str, host: str) -> None:
        self._state = state
        self._shapes = shapes
        self._key = key
        self._person = person
        self._guard = guarded({host, "localhost"})
        self._files: Assets | None = None
        self._missing = ""
        try:
            self._files = Assets()
        except SettingsError as error:  # everything else works without them
            self._missing = str(error)

    def routes(self) -> list[web.RouteDef]:
        """The paths of everything here. Those of repositories come last, since any word may be an owner."""
        return [
            web.get("/", self._guarded(self._home)),
            *(self._files.routes() if self._files else ()),
            *(web.get(_DATA + path, self._guarded(self._read)) for path in _READ),
            web.post(_DATA + _ACT, self._guarded(self._act)),
            *(web.get(path, self._guarded(self._shell)) for path in _READ),
        ]

    def _guarded(self, handler: _Handler) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._guard(request, handler)

        return handle

    async def _home(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"/{self._shapes.organization}"})

    async def _shell(self, request: web.Request) -> web.Response:
        if self._files is None:
            return web.Response(status=503, text=f"{self._missing}\n", headers=PAGE_HEADERS)
        where = "/".join(filter(None, (request.match_info.get("owner"), request.match_info.get("name"))))
        told = {"organization": self._shapes.organization, "person": self._person}
        return self._files.page(where, "github/main.js", styles=["github/github.css"], told=told)

    async def _read(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._document)

    async def _act(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._acted)

    async def _answer(self, request: web.Request, ask: Callable[[web.Request], Awaitable[Json | None]]) -> web.Response:
        """Answer with a document, or with `{error}`: a sentence for the person."""
        if not self._key.opens_for(request):
            return _said({"error": "This browser has not been let in yet."}, 401)
        try:
            document = await ask(request)
        except Refused as error:
            return _said({"error": str(error)}, 409)
        except PeerBotError as error:
            return _said({"error": f"git could not answer: {error}"}, 500)
        if document is None:
            return _said({"error": "There is nothing at this address."}, 404)
        return _said(document, 200)

    async def _document(self, request: web.Request) -> Json | None:
        """Read what a page shows."""
        asked = request.match_info
        if "name" not in asked:
            ours = asked["owner"].lower() in (self._shapes.organization, self._shapes.login)
            empty = {"owner": asked["owner"].lower(), "repositories": [], "more": 0} if ours else None
            return await views.organization(self._state, asked["owner"]) or empty
        full_name = f"{asked['owner']}/{asked['name'].removesuffix('.git')}"
        if self._state.find(full_name) is None:
            moved = self._state.moved(full_name)
            return {"moved": moved.full_name} if moved else None
        async with self._state.lock(full_name):
            record = await pulls.refreshed(self._state, full_name)
        return await self._of_repository(request, record)

    async def _of_repository(self, request: web.Request, record: RepositoryRecord) -> Json | None:
        asked, state = request.match_info, self._state
        _, _, _, _, _, kind, rest = f"{request.raw_path.partition('?')[0]}//".split("/", 6)
        rest = unquoted(rest.removesuffix("//").removesuffix("/"))
        found: Json | None
        if number := asked.get("number"):
            read = views.pull_files if asked.get("tab") == "files" else views.pull
            found = await read(state, record, int(number))
        elif kind in ("tree", "blob", "raw"):
            found = await views.tree(state, record, rest)
        elif kind == "commits":
            page = request.query.get("page", "")
            found = await views.commits(state, record, rest, int(page) if re.fullmatch("[1-9][0-9]{0,5}", page) else 1)
        elif kind == "commit":
            found = await views.commit(state, record, asked["sha"])
        elif kind == "compare":
            found = await views.compare(state, record, rest)
        else:
            found = views.pull_list(state, record) if kind == "pulls" else await views.repository(state, record)
        return found

    async def _acted(self, request: web.Request) -> Json | None:
        """Do what somebody pressed, and read the pull request again."""
        asked, wanted = request.match_info, await _body(request)
        full_name, number = f"{asked['owner']}/{asked['name']}", int(asked["number"])
        record = self._state.find(full_name)
        if record is None or pulls.numbered(record, number) is None:
            return None
        match asked["action"]:
            case "merge":
                squash, seen = bool(wanted.get("squash")), wanted.get("seen")
                await manage.merge(self._state, full_name, number, by=self._person, squash=squash, seen=seen)
            case "close":
                await manage.close(self._state, full_name, number, by=self._person)
            case "reopen":
                await manage.reopen(self._state, full_name, number)
            case "ready":
                await manage.draft(self._state, full_name, number, draft=False)
            case _:
                body = str(wanted.get("body", ""))
                await manage.comment(self._state, full_name, number, by=self._person, body=body)
        async with self._state.lock(full_name):
            record = await pulls.refreshed(self._state, full_name)
        return await views.pull(self._state, record, number)


def _said(document: Json, status: int) -> web.Response:
    return web.json_response(document, status=status, headers=PAGE_HEADERS)


async def _body(request: web.Request) -> Json:
    """Read what a page has posted. Raises `Refused` if it is too large, or no object of JSON."""
    try:
        sent = await request.content.read(_LARGEST_POST_BYTES + 1)
        wanted: Any = json.loads(sent or b"{}") if len(sent) <= _LARGEST_POST_BYTES else None
    except ValueError:
        wanted = None
    if not isinstance(wanted, dict):
        raise Refused("This is more than a page may send, or no JSON.")
    return wanted
