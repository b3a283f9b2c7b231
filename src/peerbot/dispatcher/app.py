"""The dispatcher: the path of a message, from Slack to a run and back. Read this first.

::

    Slack ──▶ receive ──▶ record ──▶ reconcile ──▶ place ──▶ run (worker)
              receive.py  record.py  reconcile.py  places.py    │
                 ▲                       ▲                      │ HTTP, run tokens
                 │                     watch ◀── runs/          ▼
                 └────── present ◀───────┴─────────────────  gateway
                         thread/present.py                   gateway/app.py

1. `Receiver` (slack/receive.py) hands over each message that may be for us, before the ack.
2. `Recorder` (record.py) writes marker and input into the journal; then the ack goes out. `Unrecorded` (unrecorded.py)
   tries again if the journal does not take a message.
3. `Reconciler` (reconcile.py) makes sure that a run serves the conversation: `conversation/decide.py` decides.
4. The run's worker (worker/app.py) calls the gateway (gateway/app.py) for its inputs and reports to it.
5. `Presenter` (thread/present.py) shows the progress and posts the answer.
6. `_watch` and `_sweep` in this module reconcile again when a run changes, and every minute.
7. `CatchUp` (catchup.py) reads messages that people wrote while nobody listened, at start and after a gap.
8. `Pulls` (pulls.py) keeps the state of pull requests current on the answers that name them.

`wire.py` builds these parts and joins them. Everything in memory is a cache of the journal: any replica can serve any
request, and nothing is lost if one is killed (decision 0001).
"""

import asyncio
import secrets
import socket
import time
from contextlib import AsyncExitStack

from peerbot.conversation.deadlines import SWEEP_SECONDS
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.wire import ModelKind, Parts, Ports, Wire
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.runs.port import Runs
from peerbot.settings import Settings
from peerbot.slack.events import Candidate
from peerbot.tasks import Tasks, kept_up, undisturbed

log = logger(__name__)

TRIED_BEFORE_SECONDS = 1.0
"""A message that is recorded this long after it was written may have been tried by a replica that is now dead."""


class Dispatcher:
    """One replica. It runs its runs on `runs`, and closes everything that it opens, `runs` included.

    `model_kind` says which model answers at `ANTHROPIC_BASE_URL`. `card_seconds` is the least time between two edits of
    a card.
    """

    def __init__(
        self, settings: Settings, runs: Runs, *, model_kind: ModelKind = "claude", card_seconds: float = 3.0
    ) -> None:
        self._drain_seconds = settings.peerbot_drain_seconds
        self._runs = runs
        self._name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._tasks = Tasks()  # work under way: it gets time to end
        self._loops = Tasks()  # loops that only wait: they end at once
        self._stack = AsyncExitStack()
        self._wire = Wire(settings, runs, self._name, model_kind, card_seconds, self._stack, self._tasks, self._loops)
        self._parts: Parts

    # The life of a dispatcher

    async def start(self) -> Ports:
        """Open everything, listen, and begin to receive. Raises `PeerBotError` if something can't be opened."""
        try:
            return await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> Ports:
        self._stack.push_async_callback(self._runs.close)
        self._parts = parts = await self._wire.build(self)
        self._stack.push_async_callback(self._drain)
        self._loops.spawn(self._close_dead_runs())
        for loop in (self._watch, self._sweep, parts.catch_up.run, parts.pulls.run):
            self._loops.spawn(kept_up(loop))
        self._stack.push_async_callback(parts.receiver.close)  # before `_drain`: nothing is received from then on
        await parts.receiver.start()
        parts.catch_up.at_start()
        log.info(
            "dispatcher_started",
            replica=self._name,
            port=parts.ports.health,
            gateway_port=parts.ports.gateway,
            drain_seconds=self._drain_seconds,
        )
        return parts.ports

    async def close(self) -> None:
        """Stop receiving, let work under way end within the drain time, and close everything. Idempotent."""
        self._runs.ending()
        await undisturbed(self._stack.aclose())

    async def _drain(self) -> None:
        """Stop placing runs, send pollers away, end the runs that end with us, and let answers and streams end.

        From here on the gateway takes nothing new: workers in pods try again, and reach another replica.
        """
        await self._loops.close(0)
        await self._parts.reconciler.close()
        self._parts.gateway.end()
        if self._parts.page:
            self._parts.page.end()
        await self._runs.close()
        await asyncio.gather(self._tasks.close(self._drain_seconds), self._parts.gateway_server.cleanup())

    # The path of a message

    def recorded(self, item: Input, new: bool) -> None:
        """Show an input that is in the journal, and place it. A second delivery reconciles, too (decision 0001)."""
        parts = self._parts
        if new:
            self._tasks.spawn(parts.presenter.received(item))
            if (
                item.door == "message"
                and time.time() - float(item.ts) > TRIED_BEFORE_SECONDS
                and not parts.unrecorded.holds(item)
            ):
                self._tasks.spawn(parts.presenter.waits_no_more(item))
            if item.kind == "message":
                self._tasks.spawn(parts.catch_up.begun(item))
        parts.reconciler.soon(item.conversation)

    def not_recorded(self, candidate: Candidate) -> None:
        """Show a message that the journal did not take, and try again. As a last resort, find it in Slack's history."""
        self._parts.unrecorded.add(candidate)
        self._parts.catch_up.missed(float(candidate.input.ts))

    def run_started(self, conversation: Conversation, run: int) -> None:
        """Delete what carried the worker's secret, and read what people wrote in its thread before it began."""
        self._tasks.spawn(self._runs.burn(conversation, run))
        self._tasks.spawn(self._parts.catch_up.run_started(conversation))

    def run_closed(self, conversation: Conversation) -> None:
        """Look for inputs once more after a worker closed its run (decision 0002)."""
        self._parts.reconciler.soon(conversation)

    def picked(self, conversation: Conversation) -> None:
        """Place a conversation that waited until somebody picked its repository."""
        self._parts.reconciler.soon(conversation)

    # The loops

    async def _close_dead_runs(self) -> None:
        """Reconcile every run that is here at start: if one died unseen, its tokens must die, too."""
        for state in await self._runs.list():
            self._parts.reconciler.soon(state.conversation)

    async def _watch(self) -> None:
        """When a run changes or wakes, look again at its conversation and at those that wait for a place."""
        async for event in self._runs.watch():
            if event.woken:
                self._parts.gateway.notify(event.conversation)
            else:
                self._parts.reconciler.soon(event.conversation)
                self._parts.reconciler.next_in_line()

    async def _sweep(self) -> None:
        """Sweep at start and every minute."""
        while True:
            try:
                await self._parts.reconciler.sweep()
            except PeerBotError as error:
                log.warning("sweep_failed", reason=str(error), exc_info=error)
            await asyncio.sleep(SWEEP_SECONDS)
