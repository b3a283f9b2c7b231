"""The status that Slack itself shows in a thread: the agent is at work, with Slack's own Stop button, or it is not.

Slack shows it for apps that are declared agents (`agents.sessions.setStatus`). Where it refuses that, the card and its
button say the same, and Slack is asked again after an hour. Nothing depends on the status: a failure is only logged.
"""

import time
from collections.abc import Callable
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.agent_status import AGENT_REFUSALS, METHOD, status_arguments
from peerbot.slack.api import refusal_code
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Arguments, Late, Outbound

log = logger(__name__)

REFUSED_SECONDS = 3600.0
AGAIN_SECONDS = 2700.0
"""Slack itself ends the status after about an hour, so a turn that lasts longer sets it again."""

_MOST = 1_000  # conversations that are remembered


class Status:
    """Sets the status. The dispatcher that starts a turn sets it, and the one that posts its answer ends it."""

    def __init__(self, *, journal: Journal, outbound: Outbound, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._outbound = outbound
        self._clock = clock
        self._set: dict[Conversation, tuple[int, float]] = {}  # which turn this replica showed at work, and when
        self._ended: dict[Conversation, int] = {}  # the last turn of which it said that it has ended
        self._refused_until = 0.0

    def is_due(self, conversation: Conversation, turn: int) -> bool:
        """Whether this replica has to say that `turn` is at work: it has not, or Slack has forgotten it by now."""
        known, since = self._set.get(conversation, (0, 0.0))
        return known != turn or self._clock() - since > AGAIN_SECONDS

    async def at_work(self, conversation: Conversation, turn: int, user: str) -> None:
        """Show that `turn` of `user` is at work, if that is due, and unless it ends before. Never raises."""
        if not self.is_due(conversation, turn):
            return

        async def unless_ended() -> Arguments | None:
            if await self._journal.turn(conversation, turn):
                return None
            return status_arguments(conversation, "processing", user)

        self._set.pop(conversation, None)
        self._set[conversation] = (turn, self._clock())
        _forget(self._set)
        await self._call(unless_ended, Urgency.PROGRESS)

    async def ended(self, conversation: Conversation, turn: int, *, waits: bool = False) -> None:
        """Show, once, that nothing is at work any more after `turn`, or that it `waits` for people. Never raises."""
        if self._ended.pop(conversation, 0) != turn:
            await self._call(status_arguments(conversation, "suspended" if waits else "active"), Urgency.FIRST)
        self._ended[conversation] = turn
        _forget(self._ended)

    async def _call(self, arguments: Arguments | Late, urgency: Urgency) -> None:
        if self._clock() < self._refused_until:
            return
        try:
            await self._outbound.call("the thread's status", METHOD, urgency, arguments)
        except PeerBotError as error:
            if refusal_code(error) in AGENT_REFUSALS:
                self._refused_until = self._clock() + REFUSED_SECONDS
                log.info("no_agent_status", reason=str(error))
            else:
                log.warning("status_not_shown", reason=str(error))


def _forget(remembered: dict[Conversation, Any]) -> None:
    """Forget the oldest of too many."""
    while len(remembered) > _MOST:
        del remembered[next(iter(remembered))]
