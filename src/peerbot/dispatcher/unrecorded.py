"""What the journal did not take: kept in memory, and recorded as soon as it does (docs/decisions/0013-catching-up.md).

Nothing depends on it: Slack sends such a message again for six minutes, and after that a look at its history finds it
(catchup.py). But Slack waits for minutes between two deliveries, each may meet an outage of its own, and a look at
history comes last in Slack's budgets. Who wrote waits for seconds instead.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine

import stamina

from peerbot.conversation.keys import Conversation
from peerbot.conversation.policy import Candidate
from peerbot.errors import PeerBotError, Unavailable
from peerbot.logs import logger

log = logger(__name__)

TRIED_FOR_SECONDS = 1800.0
"""How long a journal that does not answer is asked again; what is said in a longer outage is found in history."""

LONGEST_PAUSE_SECONDS = 5.0
"""Between two tries, so that a message waits for no longer when the outage is over."""

FIRST_PAUSE_SECONDS = 1.0
"""Before the first: it was tried just now, and what else was said in its thread at that moment is added meanwhile."""

MOST_CONVERSATIONS, MOST_MESSAGES = 500, 50
"""So many wait here, and so many messages in each; the rest is left to Slack and its history."""


class Unrecorded:
    """Tries again: the conversations side by side, and of the messages of one the oldest first.

    `record` records a message that is for us and raises what the journal raises; `spawn` starts background tasks for
    the owner, who gives them a moment when it ends.
    """

    def __init__(
        self,
        record: Callable[[Candidate], Awaitable[bool]],
        spawn: Callable[[Coroutine[object, object, None]], object],
    ) -> None:
        self._record = record
        self._spawn = spawn
        self._waiting: dict[Conversation, dict[str, Candidate]] = {}

    def add(self, candidate: Candidate) -> None:
        """Record `candidate` when the journal takes it. The same one twice is one; returns at once."""
        item = candidate.input
        waiting = self._waiting.get(item.conversation)
        if waiting is not None:
            if len(waiting) < MOST_MESSAGES:
                waiting.setdefault(item.id, candidate)
        elif len(self._waiting) < MOST_CONVERSATIONS:
            self._waiting[item.conversation] = {item.id: candidate}
            self._spawn(self._record_all(item.conversation))

    async def _record_all(self, conversation: Conversation) -> None:
        """Record what waits in a conversation, and what is added meanwhile, until nothing does."""
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

    async def _record_first(self, waiting: dict[str, Candidate]) -> None:
        """Record the oldest. One that can't be recorded, whenever it is tried, is let go."""
        oldest = min(waiting.values(), key=lambda candidate: candidate.input.ts).input.id
        try:
            if await self._record(waiting[oldest]):
                log.info("recorded_after_all", conversation=str(waiting[oldest].input.conversation), input=oldest)
        except Unavailable:
            raise
        except PeerBotError as error:
            log.warning("not_recorded", input=oldest, reason=str(error), exc_info=error)
        del waiting[oldest]
