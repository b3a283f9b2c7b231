"""The dispatcher: the main path of a message, from Slack to a run and back. Read this first.

::

    Slack ──▶ receive ──▶ record ──▶ reconcile ──▶ place ──▶ run (worker)
              receive.py  record.py  reconcile.py  places.py    │
                 ▲                       ▲                      │ HTTP, run tokens
                 │                     watch ◀── runs/          ▼
                 └────── present ◀───────┴─────────────────  gateway
                         thread/present.py                  gateway/app.py

1. `Receiver` (slack/receive.py) hands over what may be for us, before the ack.
2. `Recorder` (record.py) writes marker and input into the journal; then the ack goes out. What the journal does not
   take, `Unrecorded` (unrecorded.py) tries again.
3. `Reconciler` (reconcile.py) makes sure that a run serves the conversation: `conversation/decide.py` decides.
4. The run's worker (worker/app.py) calls the gateway (gateway/app.py) for its inputs and reports to it.
5. `Presenter` (thread/present.py) shows the progress and posts the answer.
6. `_watch` and `_sweep` here reconcile again whenever a run changes, and every minute.
7. `CatchUp` (catchup.py) reads what was said while nobody listened, at start and after a gap.

Everything here is a cache but the journal: any replica can serve any request, and killing one loses nothing (D1).
"""

import asyncio
import secrets
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.catchup import CatchUp
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.reconcile import Reconciler
from peerbot.dispatcher.record import Recorder
from peerbot.dispatcher.tasks import Tasks
from peerbot.dispatcher.unrecorded import Unrecorded
from peerbot.errors import PeerBotError
from peerbot.gateway.app import Gateway, Limits
from peerbot.gateway.git_relay import GitRelay
from peerbot.gateway.model_relay import ModelRelay
from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.logs import logger
from peerbot.runs.port import LONGEST_RUN_SECONDS, Runs
from peerbot.settings import Settings
from peerbot.slack.api import open_client
from peerbot.slack.events import Candidate
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.receive import Receiver
from peerbot.slack.tokens import identify
from peerbot.thread.inbox import Admission, Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.turns.begin import Beginning
from peerbot.turns.branches import Branches
from peerbot.turns.given_up import GivenUp
from peerbot.turns.turns import Turns
from peerbot.web.health import health_app

log = logger(__name__)

TRIED_BEFORE_SECONDS = 1.0
"""What was said so long before it was recorded may have been tried before, by a replica that is dead."""

SWEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started dispatcher listens."""

    health: int
    gateway: int


class Dispatcher:
    """One replica. `runs` is where its runs run; it closes what it opens, `runs` too.

    `model_kind` is what answers behind `ANTHROPIC_BASE_URL`; `card_seconds` the least time between two edits of a card.
    """

    def __init__(
        self,
        settings: Settings,
        runs: Runs,
        *,
        model_kind: Literal["claude", "demo"] = "claude",
        card_seconds: float = 3.0,
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._model_kind = model_kind
        self._card_seconds = card_seconds
        self._name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._tasks = Tasks()  # what is under way: it may come to its end
        self._loops = Tasks()  # what only waits: it ends at once
        self._stack = AsyncExitStack()
        self._servers: list[web.AppRunner] = []  # of health, and of the gateway
        self._reconciler: Reconciler
        self._presenter: Presenter
        self._gateway: Gateway
        self._journal: Journal
        self._catch_up: CatchUp
        self._unrecorded: Unrecorded

    async def start(self) -> Ports:
        """Open everything, listen, and begin to receive. Raises `PeerBotError` where something can't be opened."""
        try:
            return await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> Ports:
        settings = self._settings
        self._stack.push_async_callback(self._runs.close)
        storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
        self._journal = Journal(storage)
        self._stack.push_async_callback(self._journal.close)
        await self._journal.ping()
        self._journal.granted()
        session = await self._stack.enter_async_context(
            aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        )
        github_session = await self._stack.enter_async_context(aiohttp.ClientSession())
        github = GitHub(github_session, token=settings.github_token.get_secret_value(), api_url=settings.github_api_url)
        recorder = Recorder(self._journal, self._recorded, self._not_recorded)
        slack = open_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value())
        outbound = Outbound(await self._stack.enter_async_context(slack))
        us = await identify(outbound, settings.slack_trigger_phrase)
        receiver = Receiver(
            outbound=outbound,
            app_token=settings.slack_app_token.get_secret_value(),
            us=us,
            on_input=recorder,
            on_gap=self._gap,
        )
        self._catch_up = CatchUp(journal=self._journal, recorder=recorder, runs=self._runs, outbound=outbound, us=us)
        repositories = Repositories(github)
        people = People(outbound)
        poster = Poster(outbound)
        inbox = Inbox(
            journal=self._journal,
            people=people,
            outbound=outbound,
            us=us,
            admission=Admission(settings.slack_allow_direct_messages, settings.slack_allow_private_channels),
            overtaken=self._catch_up.overtaken,
        )
        self._presenter = Presenter(
            journal=self._journal,
            poster=poster,
            repositories=repositories,
            people=people,
            style=Style(
                reactions=settings.slack_enable_status_reactions,
                progress=settings.slack_enable_progress_updates,
                limit_minutes=settings.session_timeout_minutes,
                card_seconds=self._card_seconds,
            ),
            spawn=self._loops.spawn,
        )
        self._unrecorded = Unrecorded(recorder.once, self._presenter, self._tasks.spawn)
        self._gateway = self._build_gateway(session, github, repositories, inbox, poster)
        ports = Ports(
            health=await self._serve(health_app(self._journal), settings.port, "PORT"),
            gateway=await self._serve(self._gateway.app(), settings.gateway_port, "GATEWAY_PORT"),
        )
        self._reconciler = self._build_reconciler(github, inbox, people, ports)
        self._stack.push_async_callback(self._drain)
        for loop in (self._watch(), self._sweep(), self._close_dead_runs(), self._catch_up.run()):
            self._loops.spawn(loop)
        self._stack.push_async_callback(receiver.close)
        await receiver.start()
        self._catch_up.at_start()
        log.info(
            "dispatcher_started",
            replica=self._name,
            port=ports.health,
            gateway_port=ports.gateway,
            drain_seconds=settings.peerbot_drain_seconds,
        )
        return ports

    async def close(self) -> None:
        """Stop receiving, let what runs end within the drain time, and close everything. Idempotent."""
        await self._stack.aclose()

    async def _drain(self) -> None:
        """Place nobody any more; send pollers away, end what runs end with us, let answers and streams come to an end.

        The gateway takes nothing new from here on: workers in pods try again, and reach another replica.
        """
        await self._loops.close(0)
        await self._reconciler.close()
        self._gateway.end()
        await self._runs.close()
        drained = self._tasks.close(self._settings.peerbot_drain_seconds)
        await asyncio.gather(drained, *(server.cleanup() for server in self._servers[1:]))

    def _build_gateway(
        self,
        session: aiohttp.ClientSession,
        github: GitHub,
        repositories: Repositories,
        inbox: Inbox,
        poster: Poster,
    ) -> Gateway:
        settings = self._settings
        branches = Branches(journal=self._journal, github=github)
        return Gateway(
            journal=self._journal,
            inbox=inbox,
            branches=branches,
            turns=Turns(
                journal=self._journal,
                github=github,
                branches=branches,
                inbox=inbox,
                poster=poster,
                model_kind=self._model_kind,
            ),
            presenter=self._presenter,
            repositories=repositories,
            model=ModelRelay(
                session,
                base_url=settings.anthropic_base_url,
                credential=Credential(settings.anthropic_api_key.get_secret_value()),
                budget_usd=settings.peerbot_run_budget_usd,
                turn_seconds=settings.session_timeout_minutes * 60,
            ),
            git=GitRelay(session, github.git_authorization),
            limits=Limits(
                turn_seconds=settings.session_timeout_minutes * 60,
                idle_seconds=settings.worker_idle_seconds,
                run_seconds=LONGEST_RUN_SECONDS,
                budget_usd=settings.peerbot_run_budget_usd,
                checkpoint_seconds=settings.peerbot_checkpoint_seconds,
                model=settings.peerbot_model,
                model_kind=self._model_kind,
            ),
            started=self._run_started,
            closed=self._run_closed,
            spawn=self._tasks.spawn,
        )

    def _build_reconciler(self, github: GitHub, inbox: Inbox, people: People, ports: Ports) -> Reconciler:
        settings = self._settings
        return Reconciler(
            journal=self._journal,
            runs=self._runs,
            inbox=inbox,
            presenter=self._presenter,
            beginning=Beginning(
                journal=self._journal, github=github, people=people, organization=settings.github_organization
            ),
            given_up=GivenUp(journal=self._journal, github=github),
            places=Places(self._runs, self._journal, settings.worker_max_concurrent),
            name=self._name,
            worker_environment={
                "PEERBOT_GATEWAY_URL": settings.peerbot_gateway_url or f"http://127.0.0.1:{ports.gateway}",
                "LOG_LEVEL": settings.log_level,
            },
            recover=self._catch_up.recover,
            spawn=self._tasks.spawn,
            spawn_waiting=self._loops.spawn,
        )

    async def _serve(self, app: web.Application, port: int, setting: str) -> int:
        """Listen on `port` (0: any free one), which `setting` chose; the server closes with the dispatcher."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=self._settings.peerbot_drain_seconds)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._servers.append(runner)
        host = "127.0.0.1" if self._settings.peerbot_runtime == "process" else None
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise PeerBotError(f"Port {port} is taken, or not ours to use. Set {setting} to another one.") from error
        return int(runner.addresses[0][1])

    def _recorded(self, item: Input, new: bool) -> None:
        """An input is in the journal: show it, and place it. A second delivery is reconciled too (D2)."""
        if new:
            self._tasks.spawn(self._presenter.received(item))
            if time.time() - float(item.ts) > TRIED_BEFORE_SECONDS and not self._unrecorded.holds(item):
                self._tasks.spawn(self._presenter.waits_no_more(item))
            self._tasks.spawn(self._catch_up.begun(item))
        self._reconciler.soon(item.conversation)

    def _not_recorded(self, candidate: Candidate) -> None:
        """The journal did not take a message: show it, try again, and at last find it in Slack's history."""
        self._unrecorded.add(candidate)
        self._catch_up.missed(float(candidate.input.ts))

    def _run_started(self, conversation: Conversation, run: int) -> None:
        """A worker has called: what carried its secret may go, and what its thread said before it began is due."""
        self._tasks.spawn(self._runs.burn(conversation, run))
        self._tasks.spawn(self._catch_up.run_started(conversation))

    def _run_closed(self, conversation: Conversation) -> None:
        """A worker closed its run: look for inputs once more (D3)."""
        self._reconciler.soon(conversation)

    def _gap(self, since: float) -> None:
        """Nobody listened to Slack for a while: read what was said."""
        self._catch_up.missed(since)

    async def _close_dead_runs(self) -> None:
        """At start: every run that is here, so that the tokens of those that died unseen die, too."""
        for state in await self._runs.list():
            self._reconciler.soon(state.conversation)

    async def _watch(self) -> None:
        """A run changed or was woken: its conversation looks again, and so does whoever waits here or in line."""
        async for event in self._runs.watch():
            if event.woken:
                self._gateway.notify(event.conversation)
            else:
                self._reconciler.soon(event.conversation)
                self._reconciler.next_in_line()

    async def _sweep(self) -> None:
        """At start and every minute."""
        while True:
            try:
                await self._reconciler.sweep()
            except PeerBotError as error:
                log.warning("sweep_failed", reason=str(error), exc_info=error)
            await asyncio.sleep(SWEEP_SECONDS)
