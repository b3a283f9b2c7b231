"""Finds messages that people wrote while no dispatcher listened: reads Slack's history and records them as usual.

It does so at start, after every gap in the connection, and after an outage of the journal. When a turn begins, it reads
that one thread. Slack sends an event again for six minutes, so mostly it finds nothing and writes nothing. It changes
no record. Messages that were ignored are ignored again, since the same policy reads them
(docs/decisions/0013-catching-up.md).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Iterable

import stamina

from peerbot.conversation.deadlines import OFFER_AFTER
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation, input_kind, input_ts
from peerbot.dispatcher.record import Recorder
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.runs.port import Runs
from peerbot.slack.events import Candidate, Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.past import MemberOf, Past

log = logger(__name__)

LONGEST_GAP_SECONDS = 24 * 3600.0
"""The longest time that a look back covers, if the gap's beginning is known."""

MARGIN_SECONDS = 60.0
"""Added before a gap's beginning: clocks differ, and messages on their way at that time were not recorded."""

ROOTS_SECONDS = 30 * 24 * 3600.0
"""A thread may be this old, and its new replies are still found …"""

ROOT_PAGES = 3
"""… if at most this many pages of its channel's messages came after it."""

LOOKS = 5
"""The number of tries if Slack or the journal does not answer."""

IN_ORDER_SECONDS = 4.0
"""The time that a turn waits for a look at the messages before the one that it answers."""

BEGUN_KEPT = 1000
"""The number of conversations that we remember to have read when they began."""


class CatchUp:
    """Looks back, one look at a time. Gaps that come meanwhile become one more look."""

    def __init__(self, *, journal: Journal, recorder: Recorder, runs: Runs, outbound: Outbound, us: Us) -> None:
        self._journal = journal
        self._recorder = recorder
        self._runs = runs
        self._outbound = outbound
        self._us = us
        self._since: float | None = None  # where the next look begins, in seconds since 1970
        self._due = asyncio.Event()
        self._read: deque[Conversation] = deque(maxlen=BEGUN_KEPT)  # read when they began, or soon to be read

    def at_start(self) -> None:
        """Look back over the time before this process."""
        self.missed(time.time() - OFFER_AFTER.total_seconds())

    def missed(self, since: float) -> None:
        """Look back to `since` (seconds since 1970), soon."""
        earliest = max(since - MARGIN_SECONDS, time.time() - LONGEST_GAP_SECONDS)
        self._since = earliest if self._since is None else min(self._since, earliest)
        self._due.set()

    async def run(self) -> None:
        """Look back whenever it is due, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            since, self._since = self._since, None
            if since is None:
                continue
            try:
                async for attempt in stamina.retry_context(
                    on=Unavailable, attempts=LOOKS, timeout=None, wait_initial=10.0, wait_max=60.0
                ):
                    with attempt:
                        await self._look_back(since)
            except Unavailable as error:  # away for so long that it is worth a line; another look follows
                log.warning("catch_up_waits", reason=str(error), exc_info=error)
                self.missed(since + MARGIN_SECONDS)
            except (PeerBotError, ValueError, KeyError, TypeError) as error:  # the latter: Slack said something odd
                log.warning("catch_up_failed", reason=str(error), exc_info=error)

    async def recover(self, conversation: Conversation, identity: str) -> None:
        """Record the input of a marker that has none (its writer died). If the message is gone, drop the marker.

        Raises errors of Slack and the journal; then the marker stays for the next look.
        """
        candidate = None
        if input_kind(identity) == "message":  # Slack gives no click again: it showed an error to the person
            candidate = await Past(self._outbound, self._us).message(conversation, input_ts(identity))
        if candidate is not None and candidate.input.conversation == conversation:
            log.info("input_recovered", conversation=str(conversation), input=identity)
            await self._recorder.record(candidate.input)
        else:
            log.warning("marker_dropped", conversation=str(conversation), input=identity)
            await self._journal.unmark(conversation, identity)

    async def begun(self, item: Input) -> None:
        """Record the replies that came before `item`, if it is the first input of its conversation.

        A reply without a mention is for us only if its thread is a conversation. A reply that overtook the first
        message came before that, and Slack does not send it again.
        """
        conversation = item.conversation
        self._read.append(conversation)
        try:
            async for attempt in stamina.retry_context(
                on=Unavailable, attempts=LOOKS, timeout=None, wait_initial=1.0, wait_max=60.0
            ):
                with attempt:
                    if await self._journal.first_input(conversation) != item.id:
                        return
                    past = Past(self._outbound, self._us, urgency=Urgency.FIRST)
                    channel = MemberOf(conversation.channel, item.channel_type or "")
                    await self._thread(past, channel, conversation.thread_ts, float(item.ts))
        except PeerBotError as error:
            log.warning("replies_not_read", conversation=str(conversation), reason=str(error), exc_info=error)
            if isinstance(error, Unavailable):
                self.missed(float(item.ts))  # looked at when the outage is over

    async def run_started(self, conversation: Conversation) -> None:
        """Do the same again if no turn is written yet: the dispatcher that recorded the first input may have died."""
        if conversation in self._read or await self._journal.turn_numbers(conversation):
            return
        first = await self._journal.first_input(conversation)
        if first and (item := await self._journal.input(conversation, first)):
            await self.begun(item)

    async def overtaken(self, newest: Input, since: str) -> bool:
        """Record messages of the thread of `newest` that people wrote after `since` (a `ts`) and that have not arrived.

        The event of such a message waits in a replica that hangs, or Slack sends it again later. Slack's thread has it
        already, so one urgent call finds it. If Slack or the journal does not answer in time, the event or a look back
        brings it. Returns whether to read the journal again: we found something, or the look failed and the message may
        have arrived meanwhile.
        """
        conversation = newest.conversation
        channel = MemberOf(conversation.channel, newest.channel_type or "")
        try:
            async with asyncio.timeout(IN_ORDER_SECONDS):
                async for attempt in stamina.retry_context(
                    on=Unavailable, attempts=LOOKS, timeout=None, wait_initial=0.2, wait_max=1.0
                ):
                    with attempt:
                        past = Past(self._outbound, self._us, most_calls=1, urgency=Urgency.FIRST)
                        return await self._thread(past, channel, conversation.thread_ts, float(since)) > 0
        except (PeerBotError, TimeoutError) as error:
            log.warning("order_not_known", conversation=str(conversation), reason=str(error) or "took too long")
        return True

    async def _look_back(self, since: float) -> None:
        await self._journal.ping()  # before we ask Slack for messages that can't be recorded
        began, past, recorded = time.monotonic(), Past(self._outbound, self._us), 0
        threads: dict[tuple[str, str], tuple[float, MemberOf]] = {}
        async for channel in past.channels():
            recorded += await self._unless_refused(self._channel(past, channel, since, threads))
        for state in await self._runs.list():  # threads that are too old to be found by their first message
            thread = state.conversation
            threads.setdefault((thread.channel, thread.thread_ts), (since, MemberOf(thread.channel, "")))
        # If there is more than we may read, the newest counts: Slack, or an earlier look, had the rest.
        newest_first = sorted(threads.items(), key=lambda found: found[1][0], reverse=True)
        for (_, thread_ts), (_, channel) in newest_first:
            if not past.used_up:
                recorded += await self._unless_refused(self._thread(past, channel, thread_ts, since))
        if past.used_up:
            log.warning("catch_up_cut", reason="there was more than one look back may read")
        log.info("caught_up", recorded=recorded, seconds=round(time.monotonic() - began, 1))

    async def _unless_refused(self, reading: Awaitable[int]) -> int:
        """Read one channel or thread. If Slack refuses it (gone, no scope), the others are still read."""
        try:
            return await reading
        except Refused as refused:
            log.warning("catch_up_refused", reason=str(refused))
            return 0

    async def _channel(
        self,
        past: Past,
        channel: MemberOf,
        since: float,
        threads: dict[tuple[str, str], tuple[float, MemberOf]],
    ) -> int:
        """Read a channel; returns how many inputs were new, and adds its threads that have new replies to `threads`."""
        oldest = min(since, time.time() - ROOTS_SECONDS)
        candidates, roots = await past.in_channel(channel, oldest, pages=ROOT_PAGES)
        for root in roots:
            if root.latest_reply > since:
                threads[channel.id, root.thread_ts] = (root.latest_reply, channel)
        return await self._record(candidates, since)

    async def _thread(self, past: Past, channel: MemberOf, thread_ts: str, since: float) -> int:
        return await self._record(await past.in_thread(channel, thread_ts, since), since)

    async def _record(self, candidates: Iterable[Candidate], since: float) -> int:
        """Record those of a channel's or thread's messages, oldest first, that are for us and were missed."""
        recorded = 0
        for candidate in candidates:
            item = candidate.input
            if float(item.ts) <= since or await self._journal.input(item.conversation, item.id):
                continue
            if await self._recorder(candidate, late=True):
                log.info("input_missed", conversation=str(item.conversation), input=item.id)
                recorded += 1
        return recorded
