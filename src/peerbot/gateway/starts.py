"""How long a run takes until its worker calls, until its git has fetched, and until its agent asks the model."""

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from peerbot import metrics
from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation
from peerbot.gateway.access import named_run
from peerbot.journal.journal import Journal
from peerbot.journal.recent import Recent

_MOST = 1_000


class Starts:
    """Sees the requests of workers pass. It observes each step of a run once, as far as this replica serves it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._called: Recent[tuple[Conversation, int], float] = Recent(_MOST)
        self._left: dict[str, Recent[tuple[Conversation, int], bool]] = {
            step: Recent(_MOST) for step in ("cloned", "asked")
        }

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request, and observe the step that it is, if it is one."""
        route, tail = request.match_info.route.resource, request.match_info.get("tail")
        asks = tail == "v1/messages"
        if asks:
            self._step("asked", named_run(request))
        response = await handler(request)
        if response.status != 200 or route is None:
            return response
        if route.canonical.endswith("/start"):
            await self._has_called(*named_run(request))
        elif tail == "git-upload-pack":
            self._step("cloned", named_run(request))
        return response

    async def _has_called(self, conversation: Conversation, run: int) -> None:
        key = (conversation, run)
        record = await self._journal.run(conversation, run)  # kept in memory
        if record is None or self._called.get(key):
            return
        waited = (now() - record.run.reserved_at).total_seconds()
        metrics.run_start_seconds.labels("called").observe(max(0.0, waited))
        self._called.put(key, time.monotonic())
        for waits in self._left.values():
            waits.put(key, True)

    def _step(self, step: str, key: tuple[Conversation, int]) -> None:
        since = self._called.get(key)
        if since is not None and self._left[step].get(key):
            self._left[step].put(key, False)
            metrics.run_start_seconds.labels(step).observe(time.monotonic() - since)
