"""The chat page: the local Slack as people see it, in a browser on this machine.

Somebody who has the page's key may be anybody of the workspace there. It is in the address that a person's terminal
prints. The shell of the page holds nothing, so anybody may get it. Everything else needs the key (`local/key.py`).
"""

import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from peerbot.errors import PeerBotError, SettingsError
from peerbot.local.key import Key
from peerbot.local.slack import shown
from peerbot.local.slack.acts import Acts
from peerbot.local.slack.changes import Change, Changes
from peerbot.local.slack.files import Files
from peerbot.local.slack.openid import OpenId
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.world import NotOk, World
from peerbot.logs import logger
from peerbot.web.assets import FILES, PAGE_HEADERS, Assets, guarded

if TYPE_CHECKING:
    from peerbot.local.slack.server import LocalSlack

log = logger(__name__)

PING_SECONDS = 15.0
"""How long a stream is silent at most, so that both sides learn that the other is gone."""
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_MORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """The page's addresses: `/`, `/archives/…` (a message's own), `/static/…`, and `/page/…` for what the page asks.

    `about` is what the page says of the world around it; `hood` looks under the hood of a thread. Who runs the world
    sets them.
    """

    def __init__(
        self, slack: "LocalSlack", world: World, files: Files, changes: Changes, directory: Path | None
    ) -> None:
        self.about: Object = {}
        self.hood: Callable[[str, str], Awaitable[Object]] | None = None
        self.troubles: dict[str, Callable[[], Awaitable[str]]] = {}
        """What a person may break, by name; each returns a sentence about what will happen now."""
        self._slack = slack
        self._world = world
        self._files = files
        self._changes = changes
        self._acts = Acts(slack, world, changes.touch)
        self._boot = secrets.token_hex(4)
        self._closing = False
        self._assets: Assets | None = None
        self._key = Key.kept_in(directory / "door") if directory else Key()
        self.openid = OpenId(world, self._key, self._shell)
        self._guard = guarded({"127.0.0.1", "localhost"})

    @property
    def address(self) -> str:
        """The page's address with its key. Raises `SettingsError` if what the page needs is not installed."""
        self._loaded()
        return f"{self._slack.url}#key={self._key.secret}"

    @property
    def key(self) -> str:
        """The key. The agent must never see it."""
        return self._key.secret

    def knows(self, user: str) -> bool:
        """Whether there is such a person in the workspace."""
        return user in self._world.users

    def close(self) -> None:
        """End the streams, which would keep the server from stopping."""
        self._closing = True
        self._changes.touch()

    def routes(self) -> list[web.RouteDef]:
        """The page's paths."""
        return [
            *self.openid.routes(),
            web.get("/", self._guarded(self._page, opens=_anybody)),
            web.get(r"/archives/{channel}/p{ts:\d+}", self._guarded(self._message, opens=_anybody)),
            web.get(FILES, self._static),
            web.get("/page/state", self._guarded(self._state)),
            web.get("/page/history", self._guarded(self._history)),
            web.get("/page/thread", self._guarded(self._thread)),
            web.get("/page/stream", self._guarded(self._stream)),
            web.get("/page/files/{file}", self._guarded(self._file, opens=self._has_pass)),
            web.get("/page/hood", self._guarded(self._look)),
            web.post("/page/trouble/{name}", self._guarded(self._trouble)),
            web.post("/page/upload", self._guarded(self._upload)),
            web.post("/page/act/{act}", self._guarded(self._act)),
        ]

    def _loaded(self) -> Assets:
        if self._assets is None:
            self._assets = Assets()
        return self._assets

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return await self._guard(request, self._loaded().file)

    def _guarded(self, handler: Handler, *, opens: Callable[[web.Request], bool] | None = None) -> Handler:
        may_come = opens or self._key.opens_for

        async def known(request: web.Request) -> web.StreamResponse:
            if not may_come(request):
                return _refused(
                    401, "no_key", "This page was opened without its key. Open the address in your terminal."
                )
            try:
                return await handler(request)
            except NotOk as refusal:
                return _refused(400, refusal.error, _words(refusal.error))
            except LookupError as error:
                return _refused(400, "invalid_arguments", str(error.args[0]) if error.args else "")
            except (TypeError, ValueError, AttributeError):
                return _refused(400, "invalid_arguments", "The page asked for something that can't be.")
            except PeerBotError as error:
                return _refused(503, "unavailable", str(error))

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._guard(request, known)

        return handle

    def _has_pass(self, request: web.Request) -> bool:
        return self._key.passes(request.query.get("pass", ""), request.match_info["file"])

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._shell(request, "PeerBot", "chat/app.js")

    def _shell(self, request: web.Request, title: str, module: str) -> web.Response:
        """Make a page of this workspace, with nothing in it."""
        try:
            page = self._loaded().page
        except SettingsError as error:
            return web.Response(status=503, text=f"{error}\n", headers=PAGE_HEADERS)
        theme = request.cookies.get("peerbot-theme", "")
        return page(title, module, styles=("chat/chat.css",), told={"bot": self._slack.bot_user}, theme=theme)

    async def _message(self, request: web.Request) -> web.StreamResponse:
        """Lead to a message. The page asks for its thread, so that nobody learns here whether there is one."""
        channel, digits = request.match_info["channel"], request.match_info["ts"]
        raise web.HTTPSeeOther(f"/#{shown.quoted(channel)}/{digits[:-6]}.{digits[-6:]}", headers=_MORE)

    async def _state(self, request: web.Request) -> web.StreamResponse:
        user = self._person(request)
        return _json(
            shown.workspace(self._world, self._slack, self._key, user)
            | self._views(user)
            | {"place": self._place, "about": self.about}
        )

    async def _history(self, request: web.Request) -> web.StreamResponse:
        kept = self._world.channel(request.query["channel"], seen_by=self._person(request))
        return _json(shown.history(self._world, self._key, kept["id"], before=request.query.get("before", "")))

    async def _thread(self, request: web.Request) -> web.StreamResponse:
        kept = self._world.channel(request.query["channel"], seen_by=self._person(request))
        asked = request.query["thread_ts"]
        with contextlib.suppress(NotOk):  # the message at a thread's top may be gone
            asked = self._world.message(kept["id"], asked).get("thread_ts", asked)
        messages = [shown.message(each, self._key) for each in self._world.thread(kept["id"], asked)]
        return _json({"thread_ts": asked, "messages": messages})

    def _person(self, request: web.Request) -> str:
        user = request.query.get("as") or self._slack.person
        if user not in self._world.users:
            raise NotOk("user_not_found")
        return user

    # The stream

    @property
    def _place(self) -> str:
        return f"{self._boot}-{self._changes.count}"

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        user = self._person(request)
        boot, _, number = request.query.get("after", "").partition("-")
        last = int(number) if boot == self._boot and number.isdigit() else None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", **_MORE})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if last is None or self._changes.since(last) is None:
                # Nobody knows what the page has not seen: it asks for everything again.
                last = self._changes.count
                await response.write(_event("again", {}, self._place))
            await self._tell(response, user, last)
        return response

    async def _tell(self, response: web.StreamResponse, user: str, last: int) -> None:
        told = ""
        await response.write(b": hello\n\n")
        while not self._closing:
            views = self._views(user)
            now = json.dumps(views)
            if now != told:
                told = now
                await response.write(_event("views", views, f"{self._boot}-{last}"))
            for number, change in self._changes.since(last) or []:
                last = number
                if self._sees(user, change):
                    news = shown.change(self._world, self._key, change)
                    await response.write(_event("change", news, f"{self._boot}-{number}"))
            try:
                await self._changes.wait_for(self._news(user, last, told), PING_SECONDS)
            except TimeoutError:
                await response.write(b": still here\n\n")

    def _news(self, user: str, last: int, told: str) -> Callable[[], bool]:
        return lambda: self._closing or self._changes.count != last or json.dumps(self._views(user)) != told

    def _sees(self, user: str, change: Change) -> bool:
        kept = self._world.channels.get(change.channel)
        if kept is None or (kept["kind"] != "public" and user not in kept["members"]):
            return False
        return change.kind != "whispered" or change.message["user"] == user

    def _views(self, user: str) -> Object:
        """What is shown beside the messages: modals, the Home tab, what the agent does, and whether the bot hears."""
        return {
            "modals": self._slack.views.opened(user),
            "home": self._slack.views.home(user),
            "working": [
                f"{channel}/{thread_ts}"
                for (channel, thread_ts), status in self._world.agent_status.items()
                if status == "processing"
            ],
            "hears": self._slack.connections > 0,
        }

    # What people do

    async def _act(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        return _json(await self._acts.do(request.match_info["act"], asked) or {})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return _json(await self._acts.upload(await request.multipart()))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """Hand a file out: a picture to be shown, anything else to be kept. Nothing in it runs here."""
        kind, name, data = self._files.opened(request.match_info["file"])
        headers = {**_MORE, "Content-Security-Policy": "default-src 'none'; sandbox"}
        if kind in _PICTURES and "download" not in request.query:
            return web.Response(body=data, content_type=kind, headers=headers)
        disposition = f"attachment; filename*=UTF-8''{shown.quoted(name)}"
        headers |= {"Content-Disposition": disposition}
        return web.Response(body=data, content_type="application/octet-stream", headers=headers)

    async def _look(self, request: web.Request) -> web.StreamResponse:
        if self.hood is None:
            raise NotOk("not_enabled")
        return _json(await self.hood(request.query["channel"], request.query["thread_ts"]))

    async def _trouble(self, request: web.Request) -> web.StreamResponse:
        cause = self.troubles.get(request.match_info["name"])
        if cause is None:
            raise NotOk("not_enabled")
        return _json({"words": await cause()})


def _anybody(_: web.Request) -> bool:
    return True


def _event(kind: str, data: Object, place: str) -> bytes:
    return f"id: {place}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _json(data: Object) -> web.Response:
    return web.json_response(data, headers=_MORE)


def _refused(status: int, error: str, words: str) -> web.Response:
    return web.json_response({"error": error, "words": words}, status=status, headers=_MORE)


_SENTENCES = {
    "not_in_channel": "You are not in this channel, so you can't write here.",
    "is_archived": "This channel is closed.",
    "no_text": "There is nothing to send.",
    "cant_update_message": "Only who wrote a message may change it.",
    "cant_delete_message": "Only who wrote a message may delete it.",
    "dispatch_failed": "The app is not connected, so Slack could not tell it. Try again in a moment.",
    "operation_timeout": "The app did not answer within three seconds, so Slack gave up. Try again.",
    "already_reacted": "You have put this sign there already.",
    "message_not_found": "This message is gone.",
    "thread_not_found": "This thread is gone.",
    "channel_not_found": "There is no such channel for you.",
}


def _words(error: str) -> str:
    return _SENTENCES.get(error, f"Slack refuses this: {error}.")
