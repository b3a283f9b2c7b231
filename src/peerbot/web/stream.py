"""One event stream of a session page: turns as they change, and the newest turn's steps as they come.

The id of an event is the place in the transcript after it, so that any replica can go on from there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.web.assets import PAGE_HEADERS
from peerbot.web.overview import Settings
from peerbot.web.parts import Parts, Place
from peerbot.web.watching import Seen, Viewer

log = logger(__name__)

PING_SECONDS = 15.0
"""How long a stream is silent, about, so that nobody on the way takes it for dead."""

CHECK_SECONDS = 20.0
"""How often it is checked that the viewer may still see this."""

_WRITE_SECONDS = 30.0


class _About(BaseModel):
    """What is not about one turn. `trouble`: why the journal could not be read just now."""

    settings: Settings | None
    left_out: int
    trouble: str
    settled: bool  # all that there is was told


class _Over(BaseModel):
    """The stream ends for good."""

    error: str
    words: str


class Stream:
    """A stream. `start` is where the viewer is: a turn, and a place in its transcript; None: at the beginning."""

    def __init__(
        self, request: web.Request, parts: Parts, conversation: Conversation, start: tuple[int, Place] | None
    ) -> None:
        self._request = request
        self._parts = parts
        self._conversation = conversation
        self._turn, self._after = start or (0, Place())
        self._reply = web.StreamResponse(
            headers=PAGE_HEADERS | {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        self._about = ""
        self._wrote = 0.0

    async def follow(
        self, viewer: Viewer, may_stay: Callable[[], Awaitable[bool]], *, ended: Callable[[], bool]
    ) -> web.StreamResponse:
        """Tell what is new until the viewer leaves, may stay no longer, or this replica ends."""
        try:
            await self._reply.prepare(self._request)
            checked = time.monotonic()
            while not ended() and self._request.transport is not None:  # a closed tab frees its place
                seen = await viewer.next(min(PING_SECONDS, CHECK_SECONDS))
                if time.monotonic() - checked > CHECK_SECONDS:
                    if not await may_stay():
                        over = _Over(error="over", words="Your sign-in has ended, or you may no longer read this.")
                        await self._tell("over", over.model_dump_json())
                        break
                    checked = time.monotonic()
                if seen is not None:
                    await self._news(viewer, seen)
                if time.monotonic() - self._wrote > PING_SECONDS:  # looks go on, also if there is no news
                    await self._write(": still here\n\n")
        except (ConnectionError, TimeoutError):
            log.debug("viewer_left")  # a closed tab, or one that no longer reads
        return self._reply

    async def _news(self, viewer: Viewer, seen: Seen) -> None:
        if seen.overview is None:
            await self._say_about(seen, settled=False)
            return
        for turn in viewer.news(seen):
            await self._tell("turn", turn)
        try:
            await self._steps(seen)
        except PeerBotError as error:  # the next look tries again
            log.warning("steps_not_read", conversation=str(self._conversation), reason=str(error))
            return
        await self._say_about(seen, settled=True)

    async def _steps(self, seen: Seen) -> None:
        if self._turn and self._turn < seen.newest:  # the rest of the turn before
            await self._rest(await self._parts.places(self._conversation, self._turn, self._after))
        if self._turn < seen.newest:
            self._turn, self._after = seen.newest, Place()
        await self._rest([place for place in seen.places if place > self._after])

    async def _rest(self, places: list[Place]) -> None:
        while places:
            found = await self._parts.steps_at(self._conversation, self._turn, places, self._after)
            self._after = found.next
            steps = ",".join(found.parts)
            if steps:
                data = f'{{"turn":{self._turn},"steps":[{steps}]}}'
                await self._tell("steps", data, f"{self._turn}.{self._after}")
            places = [place for place in places if place > self._after]

    async def _say_about(self, seen: Seen, *, settled: bool) -> None:
        overview = seen.overview
        about = _About(
            settings=overview.settings if overview else None,
            left_out=overview.left_out if overview else 0,
            trouble=seen.trouble,
            settled=settled,
        ).model_dump_json()
        if about != self._about:
            self._about = about
            await self._tell("about", about)

    async def _tell(self, kind: str, data: str, identity: str = "") -> None:
        line = f"id: {identity}\n" if identity else ""
        await self._write(f"event: {kind}\n{line}data: {data}\n\n")

    async def _write(self, text: str) -> None:
        async with asyncio.timeout(_WRITE_SECONDS):
            await self._reply.write(text.encode())
        self._wrote = time.monotonic()
