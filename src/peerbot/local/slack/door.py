"""The door through which another process acts as a person: the local mode's terminal and page.

Loopback is no protection here, since the agent's sandbox reaches it, too. So everything needs the door's secret, and
only people's programs have that.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from peerbot.local.key import Key
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.world import NotOk

if TYPE_CHECKING:
    from peerbot.local.slack.server import LocalSlack

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """`/door/…`: JSON in, JSON out; refusals are 401 (no secret) and 400 (Slack's error word).

    =======================  ==============================================================
    `POST /door/say`         `{user, channel, text, thread_ts?}` → `{ts}`
    `POST /door/edit`        `{user, channel, ts, text}` → `{}`
    `POST /door/delete`      `{user, channel, ts}` → `{}`
    `GET  /door/thread`      `?channel=…&thread_ts=…` → `{messages: […]}`
    =======================  ==============================================================
    """

    def __init__(self, slack: "LocalSlack") -> None:
        self._key = Key()
        self._slack = slack

    @property
    def secret(self) -> str:
        """The secret. The agent must never see it."""
        return self._key.secret

    def routes(self) -> list[web.RouteDef]:
        """The door's paths."""
        return [
            web.post("/door/say", self._guarded(self._say)),
            web.post("/door/edit", self._guarded(self._edit)),
            web.post("/door/delete", self._guarded(self._delete)),
            web.get("/door/thread", self._guarded(self._thread)),
        ]

    def _guarded(self, act: Callable[[web.Request], Awaitable[Object]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            if not self._key.opens_for(request):
                return web.json_response({"error": "the door's secret is needed"}, status=401)
            try:
                return web.json_response(await act(request))
            except NotOk as refusal:
                return web.json_response({"error": refusal.error}, status=400)
            except (KeyError, TypeError, ValueError):
                return web.json_response({"error": "invalid_arguments"}, status=400)

        return handle

    async def _say(self, request: web.Request) -> Object:
        asked = await request.json()
        thread_ts = asked.get("thread_ts")
        ts = await self._slack.say(asked["user"], asked["channel"], asked["text"], thread_ts=thread_ts)
        return {"ts": ts}

    async def _edit(self, request: web.Request) -> Object:
        asked = await request.json()
        await self._slack.edit(asked["user"], asked["channel"], asked["ts"], asked["text"])
        return {}

    async def _delete(self, request: web.Request) -> Object:
        asked = await request.json()
        await self._slack.delete(asked["user"], asked["channel"], asked["ts"])
        return {}

    async def _thread(self, request: web.Request) -> Object:
        return {"messages": self._slack.thread(request.query["channel"], request.query["thread_ts"])}
