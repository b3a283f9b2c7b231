"""The one way out to Slack's Web API: every call of a replica leaves here, when its budget has room for it.

A call waits in its method's lane (`slack/lanes.py`), the most urgent first. A 429 holds the lane for every call as long
as Slack says, and the call that met it goes again. No other call is made twice, except background reading, which harms
nobody. A call that did not get its turn in time is dropped, with a line in the log.

Only the SDK calls Slack past it, for the address of a new socket (`apps.connections.open`).
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import stamina
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot import metrics
from peerbot.errors import Refused, Unavailable
from peerbot.logs import logger
from peerbot.slack.api import call, told_to_wait
from peerbot.slack.lanes import PATIENCE_SECONDS, Lane, Urgency, lane_name

log = logger(__name__)

PAGE = 200
_MOST_LANES = 500  # at this number we forget the idle ones

Arguments = Mapping[str, Any]
Late = Callable[[], Awaitable[Arguments | None]]
"""Arguments that are made when the call's turn has come, so that they are the newest; None: the call is not made."""


class Outbound:
    """Calls one workspace's Slack with `client`, which its owner closes."""

    def __init__(self, client: AsyncWebClient) -> None:
        self.client = client
        self._replicas = 1
        self._lanes: dict[str, Lane] = {}

    def shared_by(self, replicas: int) -> None:
        """Learn how many replicas use Slack's budgets."""
        if replicas == self._replicas:
            return
        log.info("slack_shared", replicas=replicas)
        self._replicas = replicas
        for lane in self._lanes.values():
            lane.shared_by(replicas)

    async def call(
        self, doing: str, method: str, urgency: Urgency, arguments: Arguments | Late, *, channel: str = ""
    ) -> Mapping[str, Any]:
        """Call `method` (`chat.update`) and return its reply; an empty one if late arguments were None.

        `channel`: the channel of a post, which has a budget of its own.

        Raises as `slack.api.call` does, and `Unavailable` if its turn did not come in time; then Slack was not asked.
        """
        if urgency is not Urgency.BACKGROUND:
            return await self._call(doing, method, urgency, arguments, channel)
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=None, timeout=PATIENCE_SECONDS[urgency], wait_initial=1.0, wait_max=60.0
        ):
            with attempt:
                return await self._call(doing, method, urgency, arguments, channel)
        raise AssertionError("the last attempt returns or raises")

    async def pages(
        self, doing: str, method: str, urgency: Urgency, arguments: Arguments, *, most: int | None = None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the pages that a method lists, at most `most` of them. Raises as `call` does."""
        cursor: str | None = None
        read = 0
        while most is None or read < most:
            page = await self.call(doing, method, urgency, {**arguments, "limit": PAGE, "cursor": cursor})
            read += 1
            yield page
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return

    async def thread(
        self,
        channel: str,
        thread_ts: str,
        urgency: Urgency,
        *,
        after_ts: str = "0",
        most: int | None = None,
        **more: Any,
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield a thread's messages from after `after_ts`, with their metadata, and the message that began it.

        Oldest first; the message that began it comes with each page. At most `most` pages. Raises as `call` does.
        """
        asked = {"channel": channel, "ts": thread_ts, "oldest": after_ts, "include_all_metadata": True, **more}
        async for page in self.pages("a thread's messages", "conversations.replies", urgency, asked, most=most):
            for message in page.get("messages") or ():
                yield message

    async def _call(
        self, doing: str, method: str, urgency: Urgency, arguments: Arguments | Late, channel: str
    ) -> Mapping[str, Any]:
        request: Callable[..., Awaitable[AsyncSlackResponse]] = getattr(self.client, method.replace(".", "_"))
        lane = self._lane(lane_name(method, channel))
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS[urgency]
        while True:
            try:
                with metrics.timed(metrics.slack_wait_seconds.labels(urgency.name.lower())):
                    waited = await lane.turn(urgency, deadline)
            except Unavailable as error:
                metrics.slack_calls.labels(method, "dropped").inc()
                log.warning("slack_call_dropped", method=method, urgency=urgency.name.lower(), reason=str(error))
                raise
            made = await arguments() if callable(arguments) else arguments
            if made is None:
                return {}
            try:
                asked = _counted(method, call(doing, request(**made)))
                # An edit must not land after a later edit of the same message, so we never break one off.
                reply = await (_to_its_end(asked) if method == "chat.update" else asked)
            except Unavailable as error:
                if (seconds := told_to_wait(error)) is None:
                    raise
                log.warning("slack_rate_limited", method=method, urgency=urgency.name.lower(), seconds=seconds)
                lane.refused(seconds)
                if asyncio.get_running_loop().time() + seconds > deadline:
                    raise
            else:
                lane.taken(waited=waited)
                return reply

    def measure(self) -> None:
        """Show how much room is left in the budgets, by method, and how many calls wait for it."""
        left: dict[str, float] = {}
        for name, lane in self._lanes.items():
            method = name.partition(" ")[0]
            left[method] = min(left.get(method, math.inf), lane.left)
        for method, calls in left.items():
            metrics.slack_budget_left.labels(method).set(calls)
        metrics.slack_calls_waiting.set(sum(lane.waiting for lane in self._lanes.values()))

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            if len(self._lanes) >= _MOST_LANES:
                self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.idle}
            self._lanes[name] = Lane(name, self._replicas)
        return self._lanes[name]


async def _counted(method: str, asking: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Await a call, and count how it ended."""
    outcome = "failed"
    try:
        with metrics.timed(metrics.slack_call_seconds.labels(method)):
            reply = await asking
        outcome = "ok"
        return reply
    except Refused:
        outcome = "refused"
        raise
    except Unavailable as error:
        outcome = "failed" if told_to_wait(error) is None else "limited"
        raise
    finally:
        metrics.slack_calls.labels(method, outcome).inc()


async def _to_its_end(asking: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Await a call; a caller that is cancelled meanwhile notices it when the call is over."""
    task = asyncio.create_task(asking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
