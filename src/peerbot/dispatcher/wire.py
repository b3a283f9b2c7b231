"""Builds the parts of a dispatcher and joins them: the one place that says which part knows which other.

`app.py` shows what they do together.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

import aiohttp
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.conversation.deadlines import LONGEST_RUN_SECONDS
from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.catchup import CatchUp
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.reconcile import Reconciler
from peerbot.dispatcher.record import Next, Recorder
from peerbot.dispatcher.unrecorded import Unrecorded
from peerbot.dispatcher.view import Views
from peerbot.errors import PeerBotError
from peerbot.gateway.app import Gateway, Limits
from peerbot.gateway.git_relay import GitRelay
from peerbot.gateway.model_relay import ModelRelay
from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.runs.port import Runs
from peerbot.settings import Runtime, Settings
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.receive import Receiver
from peerbot.slack.tokens import identify
from peerbot.tasks import Tasks
from peerbot.thread.inbox import Admission, Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.turns.begin import Beginning
from peerbot.turns.branches import Branches
from peerbot.turns.given_up import GivingUp
from peerbot.turns.turns import Turns
from peerbot.web.health import health_app

ModelKind = Literal["claude", "demo"]


class Path(Next, Protocol):
    """The dispatcher, as the parts see it when they hand over. All methods return at once."""

    def run_started(self, conversation: Conversation, run: int) -> None:
        """Learn that a worker has traded its secret."""

    def run_closed(self, conversation: Conversation) -> None:
        """Learn that a worker has closed its run."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a started dispatcher."""

    health: int
    gateway: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the path of a message goes through."""

    receiver: Receiver
    unrecorded: Unrecorded
    catch_up: CatchUp
    reconciler: Reconciler
    presenter: Presenter
    gateway: Gateway
    gateway_server: web.AppRunner
    ports: Ports


@dataclass(frozen=True, slots=True)
class _Services:
    """The services that the parts share: the journal, Slack and GitHub."""

    journal: Journal
    outbound: Outbound
    us: Us
    people: People
    poster: Poster
    github: GitHub
    repositories: Repositories


@dataclass(frozen=True, slots=True)
class Wire:
    """Builds the parts of one dispatcher; `stack` closes everything that it opens.

    `name` is the dispatcher's own. `model_kind` says which model answers at `ANTHROPIC_BASE_URL`. `card_seconds` is the
    least time between two edits of a card. `tasks` has the work that gets time to end, `loops` the work that only
    waits.
    """

    settings: Settings
    runs: Runs
    name: str
    model_kind: ModelKind
    card_seconds: float
    stack: AsyncExitStack
    tasks: Tasks
    loops: Tasks

    async def build(self, path: Path) -> Parts:
        """Open everything, serve health and the gateway, and join the parts. It receives nothing yet.

        Raises `PeerBotError` if something can't be opened.
        """
        settings = self.settings
        journal = await self._journal()
        services = await self._services(journal)
        recorder = Recorder(journal, path)
        catch_up = CatchUp(
            journal=journal, recorder=recorder, runs=self.runs, outbound=services.outbound, us=services.us
        )
        receiver = Receiver(
            outbound=services.outbound,
            app_token=settings.slack_app_token.get_secret_value(),
            us=services.us,
            on_input=recorder,
            on_gap=catch_up.missed,
        )
        inbox = Inbox(
            journal=journal,
            people=services.people,
            outbound=services.outbound,
            us=services.us,
            admission=Admission(settings.slack_allow_direct_messages, settings.slack_allow_private_channels),
            overtaken=catch_up.overtaken,
        )
        presenter = self._presenter(services)
        gateway = await self._gateway(services, inbox, presenter, path)
        health_server, gateway_server = self._server(health_app(journal)), self._server(gateway.app())
        ports = Ports(
            health=await self._serve(health_server, settings.port, "PORT"),
            gateway=await self._serve(gateway_server, settings.gateway_port, "GATEWAY_PORT"),
        )
        return Parts(
            receiver=receiver,
            unrecorded=Unrecorded(recorder.once, presenter, self.tasks.spawn),
            catch_up=catch_up,
            reconciler=self._reconciler(services, inbox, presenter, catch_up, ports),
            presenter=presenter,
            gateway=gateway,
            gateway_server=gateway_server,
            ports=ports,
        )

    async def _journal(self) -> Journal:
        storage = await open_storage(self.settings.store_url, project=self.settings.gcs_project_id)
        journal = Journal(storage)
        self.stack.push_async_callback(journal.close)
        await journal.ping()
        journal.granted()
        return journal

    async def _services(self, journal: Journal) -> _Services:
        settings = self.settings
        slack = open_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value())
        outbound = Outbound(await self.stack.enter_async_context(slack))
        us = await identify(outbound, settings.slack_trigger_phrase)
        session = await self.stack.enter_async_context(aiohttp.ClientSession())
        github = GitHub(session, token=settings.github_token.get_secret_value(), api_url=settings.github_api_url)
        return _Services(
            journal=journal,
            outbound=outbound,
            us=us,
            people=People(outbound),
            poster=Poster(outbound),
            github=github,
            repositories=Repositories(github),
        )

    def _presenter(self, services: _Services) -> Presenter:
        settings = self.settings
        return Presenter(
            journal=services.journal,
            poster=services.poster,
            repositories=services.repositories,
            people=services.people,
            style=Style(
                reactions=settings.slack_enable_status_reactions,
                progress=settings.slack_enable_progress_updates,
                limit_minutes=settings.session_timeout_minutes,
                card_seconds=self.card_seconds,
            ),
            spawn=self.loops.spawn,
        )

    async def _gateway(self, services: _Services, inbox: Inbox, presenter: Presenter, path: Path) -> Gateway:
        settings, journal, github = self.settings, services.journal, services.github
        streams = await self.stack.enter_async_context(
            aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        )
        branches = Branches(journal=journal, github=github)
        return Gateway(
            journal=journal,
            inbox=inbox,
            branches=branches,
            turns=Turns(
                journal=journal,
                github=github,
                branches=branches,
                inbox=inbox,
                poster=services.poster,
                model_kind=self.model_kind,
            ),
            presenter=presenter,
            repositories=services.repositories,
            model=ModelRelay(
                streams,
                base_url=settings.anthropic_base_url,
                credential=Credential(settings.anthropic_api_key.get_secret_value()),
                budget_usd=settings.peerbot_run_budget_usd,
                turn_seconds=settings.session_timeout_minutes * 60,
            ),
            git=GitRelay(streams, github.git_authorization),
            limits=Limits(
                turn_seconds=settings.session_timeout_minutes * 60,
                idle_seconds=settings.worker_idle_seconds,
                run_seconds=LONGEST_RUN_SECONDS,
                budget_usd=settings.peerbot_run_budget_usd,
                checkpoint_seconds=settings.peerbot_checkpoint_seconds,
                model=settings.peerbot_model,
                model_kind=self.model_kind,
            ),
            started=path.run_started,
            closed=path.run_closed,
            spawn=self.tasks.spawn,
        )

    def _reconciler(
        self, services: _Services, inbox: Inbox, presenter: Presenter, catch_up: CatchUp, ports: Ports
    ) -> Reconciler:
        settings, journal, github = self.settings, services.journal, services.github
        return Reconciler(
            journal=journal,
            runs=self.runs,
            views=Views(journal, self.runs, inbox),
            presenter=presenter,
            catch_up=catch_up,
            beginning=Beginning(
                journal=journal, github=github, people=services.people, organization=settings.github_organization
            ),
            giving_up=GivingUp(journal=journal, github=github),
            places=Places(self.runs, journal, settings.worker_max_concurrent),
            name=self.name,
            worker_environment={
                "PEERBOT_GATEWAY_URL": settings.peerbot_gateway_url or f"http://127.0.0.1:{ports.gateway}",
                "LOG_LEVEL": settings.log_level,
            },
            spawn=self.tasks.spawn,
            spawn_waiting=self.loops.spawn,
        )

    def _server(self, app: web.Application) -> web.AppRunner:
        return web.AppRunner(app, access_log=None, shutdown_timeout=self.settings.peerbot_drain_seconds)

    async def _serve(self, server: web.AppRunner, port: int, setting: str) -> int:
        """Listen on `port` (0: any free one), the value of `setting`; returns the port. `stack` closes the server."""
        await server.setup()
        self.stack.push_async_callback(server.cleanup)
        host = "127.0.0.1" if self.settings.peerbot_runtime is Runtime.PROCESS else None
        try:
            await web.TCPSite(server, host, port).start()
        except OSError as error:
            raise PeerBotError(
                f"Port {port} is in use, or PeerBot may not use it. Set {setting} to another one."
            ) from error
        return int(server.addresses[0][1])
