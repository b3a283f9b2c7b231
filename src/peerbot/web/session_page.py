"""The session page: what an agent did in a thread, for those who may read the channel (decision 0033).

Everything is below `/sessions/`. The page is a shell that anybody gets; it holds nothing. What it shows it asks for,
and each answer goes to somebody who has signed in with Slack, and whom Slack lets read the channel. A conversation that
is unknown and one that is forbidden get the same answer.

=================================================  ==========================================================
`GET  /sessions/`                                  the shell
`GET  /sessions/{team}/{channel}/{thread_ts}`      the shell
`GET  …/overview`                                  `Overview`: turns, times, costs, without the agent's steps
`GET  …/turns/{k}/steps?after=RUN.PART`            the next steps of a turn
`GET  …/turns/{k}/steps/{run}.{part}.{entry}.{n}`  the whole text of one step
`GET  …/turns/{k}/transcript.jsonl`, `session.zip` what `downloads.py` makes
`GET  …/events?after=TURN.RUN.PART`                an event stream: turns that change, and steps as they come
`GET  /sessions/sign-in?to=PATH`, `sign-in/back`   to Slack and back
`POST /sessions/sign-out`
=================================================  ==========================================================
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import IO
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel

from peerbot.conversation.keys import Conversation
from peerbot.errors import Busy, PeerBotError, Refused, Unavailable, Unreadable
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.readers import Readers
from peerbot.slack.sign_in import BACK, SignIn, brought_back
from peerbot.web.assets import PAGE_HEADERS, Assets, guarded
from peerbot.web.browsers import SESSION_SECONDS, SIGN_IN_SECONDS, Browser, Cookies, SigningIn
from peerbot.web.connections import known
from peerbot.web.downloads import Downloads
from peerbot.web.overview import Overviews, Words
from peerbot.web.parts import Parts, Place
from peerbot.web.stream import Stream
from peerbot.web.watching import Viewer, Watching

log = logger(__name__)

ROOT = "/sessions"
_MOST_TEXT = 20_000_000
_CHUNK = 256 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Said(BaseModel):
    """A refusal: a word for the page, and a sentence for the person."""

    error: str
    words: str


class Me(BaseModel):
    """Whom the server takes the viewer for."""

    name: str
    until: float


NONE = _Said(
    error="none",
    words="There is no such session, or Slack does not say that you may read its channel.",
)
SIGN_IN = _Said(
    error="sign_in", words="It shows what the agent did in a thread. People see it who can read the channel in Slack."
)


class SessionPage:
    """Serves the page. `public_url` is where people reach it; with port 0 it gets the port of `listening`.

    Raises `SettingsError` if what the page loads of others is not installed.
    """

    def __init__(
        self, journal: Journal, words: Words, readers: Readers, sign_in: SignIn, *, public_url: str, secret: str
    ) -> None:
        self._journal = journal
        self._readers = readers
        self._sign_in = sign_in
        self._url = public_url.rstrip("/")
        self._assets = Assets()
        self._cookies = Cookies(secret, secure=public_url.startswith("https:"))
        self._overviews = Overviews(journal, words)
        self._parts = Parts(journal)
        self._downloads = Downloads(journal)
        self._watching = Watching(self._overviews, self._parts)

    def add_to(self, app: web.Application) -> None:
        """Serve the page with `app`."""
        app.add_routes(self._assets.routes())
        guard = guarded([urlsplit(self._url).hostname or ""])
        ours = web.Application(middlewares=[guard, _told])
        one = "/{team:[A-Z][A-Z0-9]+}/{channel:[A-Z][A-Z0-9]+}/{thread:[0-9]+[.][0-9]+}"
        turn = one + "/turns/{turn:[1-9][0-9]{0,8}}"
        ours.add_routes(
            [
                web.get("/", self._shell),
                web.get(one, self._shell),
                web.get(one + "/overview", self._overview),
                web.get(one + "/me", self._me),
                web.get(one + "/events", self._events),
                web.get(turn + "/steps", self._steps),
                web.get(turn + "/steps/{run:[0-9]+}.{part:[0-9]+}.{entry:[0-9]+}.{block:[0-9]+}", self._text),
                web.get(turn + "/{name:transcript.jsonl|session.zip}", self._download),
                web.get("/sign-in", self._to_slack),
                web.get("/sign-in/back", self._from_slack),
                web.post("/sign-out", self._sign_out),
            ]
        )
        app.add_subapp(ROOT, ours)

    def listening(self, port: int) -> None:
        """Learn the port of this replica, for an address with port 0."""
        parts = urlsplit(self._url)
        if parts.port == 0:
            self._url = f"{parts.scheme}://{parts.hostname}:{port}"

    def address(self, conversation: Conversation) -> str:
        """Where people see this conversation."""
        return f"{self._url}{ROOT}/{conversation}"

    def end(self) -> None:
        """End all streams at once: this replica takes nothing new."""
        self._watching.end()

    async def close(self) -> None:
        """End everything that this page does in the background. Idempotent."""
        await self._watching.close()

    # The shell, and what it shows

    async def _shell(self, _: web.Request) -> web.Response:
        return self._assets.page("PeerBot session", "session/main.js", styles=["session/session.css"])

    async def _overview(self, request: web.Request) -> web.Response:
        conversation, _ = await self._allowed(request)
        return _json(await self._overviews.of(conversation))

    async def _me(self, request: web.Request) -> web.Response:
        _, browser = await self._allowed(request)
        return _json(Me(name=await self._readers.name(browser.user), until=browser.until))

    async def _steps(self, request: web.Request) -> web.Response:
        conversation, _ = await self._allowed(request)
        after = _place(request.query.get("after", "0.0"))
        found = await self._parts.steps(conversation, int(request.match_info["turn"]), after)
        more = "true" if found.more else "false"
        text = f'{{"next":"{found.next}","more":{more},"steps":[{",".join(found.parts)}]}}'
        return web.Response(text=text, content_type="application/json", headers=PAGE_HEADERS)

    async def _text(self, request: web.Request) -> web.Response:
        conversation, _ = await self._allowed(request)
        turn, run, part, entry, block = (
            int(request.match_info[name][:9]) for name in ("turn", "run", "part", "entry", "block")
        )
        text = await self._parts.text(conversation, turn, Place(run, part), entry, block)
        if text is None:
            return _json(NONE, status=404)
        headers = PAGE_HEADERS | {"Content-Disposition": 'attachment; filename="step.txt"'}
        return web.Response(text=text[:_MOST_TEXT], content_type="text/plain", headers=headers)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        conversation, _ = await self._allowed(request)
        turn = await self._journal.turn(conversation, int(request.match_info["turn"]))
        if turn is None or turn.session is None:
            return _json(NONE, status=404)
        name = request.match_info["name"]
        make = self._downloads.transcript if name == "transcript.jsonl" else self._downloads.bundle
        async with make(conversation, turn.session) as file:
            return await _sent(request, file, name)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        conversation, browser = await self._allowed(request)
        after = request.query.get("after", "")
        turn, _, place = after.partition(".")
        start = (int(turn), _place(place)) if place and turn.isdecimal() and len(turn) < 10 else None
        person = f"{browser.team}/{browser.user}"

        async def may_stay() -> bool:
            return browser.until > time.time() and await self._readers.may_read(browser.user, conversation.channel)

        async with self._watching.viewer(conversation, person) as viewer:
            return await self._stream(request, conversation, viewer, start, may_stay)

    async def _stream(
        self,
        request: web.Request,
        conversation: Conversation,
        viewer: Viewer,
        start: tuple[int, Place] | None,
        may_stay: Callable[[], Awaitable[bool]],
    ) -> web.StreamResponse:
        stream = Stream(request, self._parts, conversation, start)
        return await stream.follow(viewer, may_stay, ended=lambda: self._watching.ended)

    # Who it is

    async def _allowed(self, request: web.Request) -> tuple[Conversation, Browser]:
        """Make sure that the viewer may read the conversation. Raises a reply that says what to do."""
        browser = self._cookies.read(request, Browser)
        if browser is None or browser.team != self._readers.team:
            raise _Reply(_json(SIGN_IN, status=401))
        named = request.match_info
        try:
            conversation = Conversation(named["team"], named["channel"], named["thread"])
        except ValueError as error:
            raise _Reply(_json(NONE, status=404)) from error
        # Slack is asked first, and for an unknown conversation, too: both take as long.
        allowed = await self._readers.may_read(browser.user, conversation.channel)
        if not allowed or conversation.team != self._readers.team or not await self._journal.knows(conversation):
            raise _Reply(_json(NONE, status=404))
        known(request)
        return conversation, browser

    async def _to_slack(self, request: web.Request) -> web.Response:
        signing = SigningIn(until=time.time() + SIGN_IN_SECONDS, to=_path(request.query.get("to", "")))
        address = self._sign_in.address(
            back=self._url + BACK, state=signing.state, nonce=signing.nonce, team=self._readers.team
        )
        reply = web.Response(status=303, headers=PAGE_HEADERS | {"Location": address})
        self._cookies.put(reply, signing)
        return reply

    async def _from_slack(self, request: web.Request) -> web.Response:
        signing = self._cookies.read(request, SigningIn)
        state, code = brought_back(request.query)
        if signing is None or not hmac.compare_digest(state.encode(), signing.state.encode()):
            return self._failed("This sign-in took too long, or another one began since then.", "")
        if not code:
            return self._failed("You did not sign in.", signing.to)
        try:
            person = await self._sign_in.who(code, nonce=signing.nonce, back=self._url + BACK)
        except (Refused, Unavailable) as error:
            return self._failed(str(error), signing.to)
        if person.team != self._readers.team:
            return self._failed("You signed in to another workspace than the one in which PeerBot works.", signing.to)
        reply = web.Response(status=303, headers=PAGE_HEADERS | {"Location": signing.to})
        self._cookies.drop(reply, SigningIn)
        self._cookies.put(reply, Browser(until=time.time() + SESSION_SECONDS, team=person.team, user=person.user))
        log.info("signed_in", user=person.user)
        return reply

    def _failed(self, words: str, to: str) -> web.Response:
        reply = self._assets.page(
            "PeerBot sign-in",
            "session/main.js",
            styles=["session/session.css"],
            told={"refusal": words, "to": to},
            status=403,
        )
        self._cookies.drop(reply, SigningIn)
        return reply

    async def _sign_out(self, _: web.Request) -> web.Response:
        reply = web.Response(status=204, headers=PAGE_HEADERS)
        self._cookies.drop(reply, Browser)
        return reply


class _Reply(Exception):
    """A reply, instead of what was asked for."""

    def __init__(self, reply: web.Response) -> None:
        self.reply = reply


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say with a sentence what went wrong."""
    try:
        return await handler(request)
    except _Reply as refusal:
        return refusal.reply
    except Busy as error:
        return _json(_Said(error="busy", words=str(error)), status=503)
    except Unreadable as error:
        return _json(_Said(error="unreadable", words=str(error)), status=500)
    except ValueError:
        return _json(NONE, status=404)
    except PeerBotError as error:
        log.warning("session_not_shown", reason=str(error))
        return _json(_Said(error="away", words=str(error)), status=503)


def _json(said: BaseModel, *, status: int = 200) -> web.Response:
    return web.Response(
        text=said.model_dump_json(), content_type="application/json", headers=PAGE_HEADERS, status=status
    )


def _place(text: str) -> Place:
    return Place.parse(text)


def _path(to: str) -> str:
    """Take a path of ours, and nothing else, to go on to."""
    plain = to.startswith(f"{ROOT}/") and len(to) < 200 and not any(mark in to for mark in ("\\", "//", "..", "?", "#"))
    return to if plain and to.isascii() and to.isprintable() else f"{ROOT}/"


async def _sent(request: web.Request, file: IO[bytes], name: str) -> web.StreamResponse:
    reply = web.StreamResponse(
        headers=PAGE_HEADERS
        | {
            "Content-Type": "application/zip" if name.endswith(".zip") else "application/x-ndjson",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
    )
    await reply.prepare(request)
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        async with asyncio.timeout(60):
            await reply.write(chunk)
    await reply.write_eof()
    return reply
