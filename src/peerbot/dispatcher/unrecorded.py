"""Keeps messages in memory until the journal takes them (docs/decisions/0013-catching-up.md).

Nothing depends on it: Slack sends such a message again for six minutes, and after that a look at its history finds it
(catchup.py). But Slack waits for minutes between two deliveries, each may meet another outage, and a look at history
comes last in Slack's budgets. Thanks to this module the author waits for seconds instead.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import stamina

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Unavailable
from peerbot.logs import logger
from peerbot.slack.events import Candidate
from peerbot.tasks import Spawn

log = logger(__name__)

TRIED_FOR_SECONDS = 1800.0
"""How long we ask a silent journal again. After a longer outage we find the messages in Slack's history."""

LONGEST_PAUSE_SECONDS = 5.0
"""The longest pause between two tries: a message waits no longer than this after an outage."""

FIRST_PAUSE_SECONDS = 1.0
"""The pause before the first try: we tried just now, and other messages of that moment are added meanwhile."""

MOST_CONVERSATIONS, MOST_MESSAGES = 500, 50
"""How many conversations wait here, and how many messages in each. The rest is left to Slack and its history."""


class Shows(Protocol):
    """Shows people which messages wait. Neither method raises."""

    async def waits(self, item: Input) -> None:
        """Show that `item` could not be recorded yet."""

    async def waits_no_more(self, item: Input) -> None:
        """Show that `item` no longer waits."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    candidate: Candidate
    shown: asyncio.Task[None] | None  # None: it may not be for us, so nothing is shown on it


class Unrecorded:
    """Tries again: conversations side by side, and the messages of each in order, the oldest first.

    `record` records a message that is for us and raises what the journal raises. `spawn` starts background tasks for
    the owner, which gives them a moment when it ends.
    """

    def __init__(
        self,
        record: Callable[[Candidate], Awaitable[bool]],
        shows: Shows,
        spawn: Spawn,
    ) -> None:
        self._record = record
        self._shows = shows
        self._spawn = spawn
        self._waiting: dict[Conversation, dict[str, _Waiting]] = {}

    def holds(self, item: Input) -> bool:
        """Whether `item` waits here. If so, this class also takes back the sign on it."""
        return item.id in self._waiting.get(item.conversation, {})

    @property
    def count(self) -> int:
        """How many messages wait here."""
        return sum(map(len, self._waiting.values()))

    def add(self, candidate: Candidate) -> None:
        """Record `candidate` once the journal takes it, and show that it waits. Adding it twice changes nothing.

        Returns at once.
        """
        item = candidate.input
        if self.holds(item):
            return
        new = _Waiting(candidate, self._spawn(self._shows.waits(item)) if candidate.sure else None)
        waiting = self._waiting.get(item.conversation)
        if waiting is not None:
            if len(waiting) < MOST_MESSAGES:
                waiting[item.id] = new
        elif len(self._waiting) < MOST_CONVERSATIONS:
            self._waiting[item.conversation] = {item.id: new}
            self._spawn(self._record_all(item.conversation))

    async def _record_all(self, conversation: Conversation) -> None:
        """Record the messages that wait in a conversation, and those added meanwhile, until none is left."""
        waiting = self._waiting[conversation]
        try:
            await asyncio.sleep(FIRST_PAUSE_SECONDS * random.uniform(0.7, 1.3))  # noqa: S311 - not all at once
            async for attempt in stamina.retry_context(
                on=Unavailable,
                attempts=None,
                timeout=TRIED_FOR_SECONDS,
                wait_initial=0.5,
                wait_max=LONGEST_PAUSE_SECONDS,
            ):
                with attempt:
                    while waiting:
                        await self._record_first(waiting)
        finally:
            del self._waiting[conversation]

    async def _record_first(self, waiting: dict[str, _Waiting]) -> None:
        """Record the oldest message. Drop it if the journal will never take it."""
        oldest = min(waiting.values(), key=lambda entry: entry.candidate.input.ts)
        item = oldest.candidate.input
        try:
            if await self._record(oldest.candidate):
                log.info("recorded_after_all", conversation=str(item.conversation), input=item.id)
                self._spawn(self._take_back(item, oldest.shown))
        except Unavailable:
            raise
        except PeerBotError as error:
            log.warning("not_recorded", input=item.id, reason=str(error), exc_info=error)
        del waiting[item.id]

    async def _take_back(self, item: Input, shown: asyncio.Task[None] | None) -> None:
        """Take back the sign on a message, once it is there: Slack may have delayed it."""
        if shown:
            await asyncio.wait([shown])
            await self._shows.waits_no_more(item)
