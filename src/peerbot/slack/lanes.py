"""Slack's budgets: how many calls of a method may leave in a minute, and which calls go first if not all may.

Slack grants each method "50+ a minute" or the like, for each workspace and app, and posts about one a second in a
channel. It says neither how much the "+" is nor what other replicas use. So a lane begins with this replica's share of
the published budget, and learns as TCP does: a little more if calls had to wait and Slack took them, half after a 429.
The shares become fair though no replica knows how many there are (docs/decisions/0014-one-outbound-writer.md).
"""

import asyncio
import heapq
import random
from enum import IntEnum
from itertools import count

from peerbot.conversation.deadlines import POST_SECONDS
from peerbot.errors import Unavailable


class Urgency(IntEnum):
    """The order of calls within a lane."""

    FINAL = 0
    """An answer, and looking for it in its thread."""
    FIRST = 1
    """A turn's first message, its last state, and reading that must come before work can begin."""
    PROGRESS = 2
    """A turn's progress."""
    COMFORT = 3
    """Reactions, and places in line."""
    BACKGROUND = 4
    """Reading for which nobody waits."""


PATIENCE_SECONDS = {
    Urgency.FINAL: POST_SECONDS,
    Urgency.FIRST: 45.0,
    Urgency.PROGRESS: 20.0,
    Urgency.COMFORT: 180.0,  # it is still right when it comes late; fifty messages lose their 👀 in this time
    Urgency.BACKGROUND: 300.0,
}
"""How long a call waits for its turn; then it is dropped."""

_LEFT_FOR_OTHERS = {Urgency.FINAL: 0, Urgency.FIRST: 1, Urgency.PROGRESS: 1, Urgency.COMFORT: 2, Urgency.BACKGROUND: 3}
"""How many calls a lane keeps free for more urgent calls that come next."""

LONGEST_QUEUE = 200
"""At most this many calls wait in a lane; beyond that, it drops the least urgent and newest."""

_TIERS = {2: 20, 3: 50, 4: 100}  # calls a minute
_METHOD_TIERS = {
    "reactions.remove": 2,
    "usergroups.users.list": 2,
    "users.info": 4,
    "conversations.members": 4,
    "chat.postEphemeral": 4,
    "files.getUploadURLExternal": 4,
    "files.completeUploadExternal": 4,
    "files.info": 4,
    "views.open": 4,
    "views.update": 4,
    "views.publish": 4,
}  # the other methods that we use are of tier 3
_SPECIAL = {"chat.postMessage": 60, "chat.getPermalink": 600, "auth.test": 600}  # calls a minute
_POSTS_AT_ONCE = 3
_SMALLEST_BURST = 3.0
_MOST_REPLICAS = 5  # Slack opens ten sockets for an app, and each replica has two
_ROUNDING = 1e-6


def lane_name(method: str, channel: str) -> str:
    """Name the lane of a call: posts have a lane for each channel, every other method has one."""
    return f"{method} {channel}" if method == "chat.postMessage" else method


class Lane:
    """The calls that share a budget. `replicas`: the number of replicas that use it, as far as we know."""

    def __init__(self, name: str, replicas: int) -> None:
        method = name.partition(" ")[0]
        self._a_minute = _SPECIAL.get(method) or _TIERS[_METHOD_TIERS.get(method, 3)]
        self._at_once = _POSTS_AT_ONCE if method == "chat.postMessage" else self._a_minute / 5
        self._loop = asyncio.get_running_loop()
        self._limited = False  # Slack has said stop
        self._paused_until = 0.0
        self.shared_by(replicas)
        self._tokens = self._burst
        self._at = self._loop.time()  # when the tokens were counted
        self._queue: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._ticket = count()
        self._timer: asyncio.TimerHandle | None = None

    def shared_by(self, replicas: int) -> None:
        """Begin again with the share of one of this many replicas."""
        self._most_at_once = max(_SMALLEST_BURST, self._at_once / replicas)
        self._burst = self._most_at_once
        self._rate = self._a_minute / 60 / replicas  # calls a second

    @property
    def idle(self) -> bool:
        """Whether forgetting this lane loses nothing."""
        return not self._queue and not self._limited and self._filled() >= self._burst

    @property
    def left(self) -> float:
        """How many calls may leave at once."""
        return max(0.0, self._filled())

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return sum(not leave.done() for _, _, leave in self._queue)

    async def turn(self, urgency: Urgency, deadline: float) -> bool:
        """Wait until a call may leave; True if it had to wait. Raises `Unavailable` if it may not by `deadline`.

        `deadline` is in the event loop's time. Of equally urgent calls the first goes first.
        """
        if self._paused_until > deadline:
            raise Unavailable("Slack has said to come back later.")
        leave: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._queue, (urgency, next(self._ticket), leave))
        if len(self._queue) > LONGEST_QUEUE:
            self._drop_one()
        self._let_go()
        waited = not leave.done()
        try:
            async with asyncio.timeout_at(deadline):
                await leave
        except TimeoutError as error:
            raise Unavailable("Slack's budget had no room for this call in time.") from error
        return waited

    def taken(self, *, waited: bool) -> None:
        """Note that Slack took a call. If the call had waited for its turn, there may be more room than we thought."""
        if waited:
            self._rate += (0.4 if self._limited else 1.0) / 60  # doubles in a minute, or one call in twenty is refused
            self._burst = min(self._most_at_once, self._burst + 0.1)

    def refused(self, seconds: float) -> None:
        """Note that Slack says to come back after `seconds`: no call leaves before, and then they leave more slowly."""
        now = self._loop.time()
        if now >= self._paused_until:  # otherwise it is the same refusal, for a call that was already on its way
            self._rate = max(self._rate / 2, self._a_minute / 60 / _MOST_REPLICAS)
            self._burst = 1.0
        self._limited = True
        self._paused_until = max(self._paused_until, now + seconds)
        self._tokens, self._at = random.random(), self._paused_until  # noqa: S311 - not all refused replicas at once

    def _filled(self) -> float:
        """How many calls may leave now."""
        now = self._loop.time()
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
        return self._tokens if now >= self._paused_until else 0.0

    def _let_go(self) -> None:
        """Let the calls leave that may, the most urgent first, and look again when the next may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            urgency, _, leave = self._queue[0]
            if leave.done():  # given up, or dropped
                heapq.heappop(self._queue)
                continue
            missing = min(1.0 + _LEFT_FOR_OTHERS[urgency], self._burst) - self._filled()
            if missing <= _ROUNDING:
                heapq.heappop(self._queue)
                self._tokens -= 1
                leave.set_result(None)
                continue
            now = self._loop.time()
            ready_at = self._paused_until if now < self._paused_until else now + missing / self._rate
            self._timer = self._loop.call_at(ready_at, self._let_go)
            return

    def _drop_one(self) -> None:
        """Drop the least urgent and newest call, but never a final answer."""
        worst = max(self._queue)
        if worst[0] > Urgency.FINAL:
            self._queue.remove(worst)
            heapq.heapify(self._queue)
            if not worst[2].done():
                worst[2].set_exception(Unavailable("Too many calls wait for Slack."))
