"""Builds the parts of a dispatcher and joins them: the one place that says which part knows which other.

`app.py` shows what they do together.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal, Protocol

import aiohttp
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.conversation.deadlines import LONGEST_RUN_SECONDS
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.conversation.questions import Deciders
from peerbot.dispatcher.actions import Actions
from peerbot.dispatcher.answering import Answering
from peerbot.dispatcher.catchup import CatchUp
from peerbot.dispatcher.choices import Choices
from peerbot.dispatcher.desk import Desk
from peerbot.dispatcher.front import make_desk
from peerbot.dispatcher.measure import Measures
from peerbot.dispatcher.page import open_page, serve_front
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.process import raise_file_limit, return_large_blocks
from peerbot.dispatcher.pulls import Pulls
from peerbot.dispatcher.reconcile import Reconciler
from peerbot.dispatcher.record import Next, Recorder
from peerbot.dispatcher.serve import Server
from peerbot.dispatcher.services import Services, open_services
from peerbot.dispatcher.unrecorded import Unrecorded
from peerbot.dispatcher.view import Views
from peerbot.gateway.app import Gateway
from peerbot.gateway.budget import Accounts
from peerbot.gateway.git_relay import GitRelay
from peerbot.gateway.limits import Limits
from peerbot.gateway.model_relay import ModelRelay
from peerbot.github.submodules import Submodules
from peerbot.journal.budgets import Chains
from peerbot.journal.journal import Journal
from peerbot.journal.limits import LimitsOf
from peerbot.journal.open import open_storage
from peerbot.logs import logger
from peerbot.runs.port import Runs
from peerbot.settings import Settings
from peerbot.slack.files import SharedFiles
from peerbot.slack.receive import Receiver
from peerbot.tasks import Tasks
from peerbot.thread.afford import Afford
from peerbot.thread.controls import Controls
from peerbot.thread.files import Sending
from peerbot.thread.inbox import Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.thread.questions import Questions
from peerbot.thread.session_link import no_page
from peerbot.thread.status import Status
from peerbot.turns.back import Back
from peerbot.turns.begin import Beginning
from peerbot.turns.bills import Bills
from peerbot.turns.branches import Branches
from peerbot.turns.given_up import GivingUp
from peerbot.turns.own import OwnRepositories
from peerbot.turns.turns import Turns
from peerbot.way_out import proxy_for
from peerbot.web.connections import MOST
from peerbot.web.metrics import metrics_app
from peerbot.web.session_page import SessionPage

log = logger(__name__)

ModelKind = Literal["claude", "demo"]


class Path(Next, Protocol):
    """The dispatcher, as the parts see it when they hand over. All methods return at once."""

    def run_started(self, conversation: Conversation, run: int) -> None:
        """Learn that a worker has traded its secret."""

    def run_closed(self, conversation: Conversation) -> None:
        """Learn that a worker has closed its run."""

    def picked(self, conversation: Conversation) -> None:
        """Learn that somebody picked the repository for a conversation that waited for it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a started dispatcher."""

    health: int
    gateway: int
    metrics: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the path of a message goes through."""

    receiver: Receiver
    unrecorded: Unrecorded
    catch_up: CatchUp
    reconciler: Reconciler
    presenter: Presenter
    pulls: Pulls
    measures: Measures
    gateway: Gateway
    gateway_server: web.AppRunner
    ports: Ports
    page: SessionPage | None


@dataclass(frozen=True, slots=True)
class _Money:
    """What counts money: the budgets' entries, the limits that hold, and the accounts of turns."""

    chains: Chains
    limits: LimitsOf
    accounts: Accounts


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
        settings, journal = self.settings, await self._journal()
        services = await open_services(settings, journal, self.stack)
        money = self._money(journal, services.chosen.limits)
        page = await open_page(settings, services, self.stack)

        async def admits(item: Input) -> bool:  # the inbox needs what looks back, and that needs the recorder
            return await inbox.admits(item)

        recorder = Recorder(journal, path, admits)
        catch_up = CatchUp(
            journal=journal, recorder=recorder, runs=self.runs, outbound=services.outbound, us=services.us
        )
        controls = Controls(journal=journal, poster=services.poster, people=services.people)
        receiver = Receiver(
            outbound=services.outbound,
            app_token=settings.slack_app_token.get_secret_value(),
            us=services.us,
            on_input=recorder,
            on_other=self._actions(services, recorder, controls, self._desk(services, money, path, lambda: inbox)),
            on_gap=catch_up.missed,
        )
        inbox = Inbox(
            journal=journal,
            people=services.people,
            outbound=services.outbound,
            us=services.us,
            admission=services.admission,
            overtaken=catch_up.overtaken,
            afford=Afford(money.chains, money.limits),
            chosen=services.chosen,
        )
        questions, presenter = self._questions(services, inbox), self._presenter(services, money, page)
        gateway = await self._gateway(services, money, inbox, questions, presenter, path)
        gateway_server, ports = await self._serve(journal, gateway, page)
        unrecorded = Unrecorded(recorder.once, presenter, self.tasks.spawn)
        reconciler = self._reconciler(services, inbox, questions, presenter, catch_up, controls, ports)
        return Parts(
            receiver=receiver,
            unrecorded=unrecorded,
            catch_up=catch_up,
            reconciler=reconciler,
            presenter=presenter,
            pulls=Pulls(journal, services.pull_states, presenter.answers, settings.peerbot_pull_request_seconds),
            measures=Measures(
                settings, self.runs, reconciler.places, unrecorded, services.outbound, receiver, money.chains
            ),
            gateway=gateway,
            gateway_server=gateway_server,
            ports=ports,
            page=page,
        )

    async def _serve(self, journal: Journal, gateway: Gateway, page: SessionPage | None) -> tuple[web.AppRunner, Ports]:
        """Serve health and the page, the gateway, and the metrics; returns the gateway's server, and all ports."""
        return_large_blocks()
        files, settings, server = raise_file_limit(), self.settings, Server(self.stack, self.settings)
        log.info("file_limit", files=files)
        # A quarter of the files for workers, and as many for what we relay to; an eighth for probes.
        health = await serve_front(server, settings, journal, page, min(MOST, files) // 8)
        gateway_server, gateway_port = await server.serve(
            gateway.app(), settings.gateway_port, "GATEWAY_PORT", min(MOST, files // 4)
        )
        _, shown = await server.serve(metrics_app(), settings.peerbot_metrics_port, "PEERBOT_METRICS_PORT", 16)
        return gateway_server, Ports(health=health, gateway=gateway_port, metrics=shown)

    def _desk(self, services: Services, money: _Money, path: Path, inbox: Callable[[], Inbox]) -> Desk:
        async def text(item: Input) -> str:
            return await inbox().text(item)

        return make_desk(
            services,
            self.settings,
            money.chains,
            self.runs,
            text=text,
            reconcile=path.picked,
            model_kind=self.model_kind,
            spawn=self.tasks.spawn,
        )

    def _actions(self, services: Services, recorder: Recorder, controls: Controls, desk: Desk) -> Actions:
        return Actions(
            journal=services.journal,
            recorder=recorder,
            controls=controls,
            poster=services.poster,
            outbound=services.outbound,
            us=services.us,
            desk=desk,
            spawn=self.tasks.spawn,
        )

    async def _journal(self) -> Journal:
        storage = await open_storage(self.settings.store_url, project=self.settings.gcs_project_id)
        journal = Journal(storage)
        self.stack.push_async_callback(journal.close)
        await journal.ping()
        journal.granted()
        return journal

    def _money(self, journal: Journal, limits: LimitsOf) -> _Money:
        chains = Chains(journal)
        accounts = Accounts(
            journal, chains=chains, limits=limits, spawn=self.tasks.spawn, paid=self.model_kind != "demo"
        )
        self.stack.push_async_callback(accounts.close)  # after the gateway's streams, before the journal
        return _Money(chains, limits, accounts)

    def _presenter(self, services: Services, money: _Money, page: SessionPage | None) -> Presenter:
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
                watching=settings.peerbot_pull_request_seconds > 0,
                session_url=page.address if page else no_page,
            ),
            spent=money.accounts.spent,
            status=Status(journal=services.journal, outbound=services.outbound),
            spawn=self.loops.spawn,
        )

    def _questions(self, services: Services, inbox: Inbox) -> Questions:
        return Questions(
            journal=services.journal,
            poster=services.poster,
            inbox=inbox,
            everyone=self.settings.peerbot_questions_for is Deciders.EVERYONE,
            spawn=self.tasks.spawn,
        )

    async def _gateway(
        self, services: Services, money: _Money, inbox: Inbox, questions: Questions, presenter: Presenter, path: Path
    ) -> Gateway:
        settings, journal, github = self.settings, services.journal, services.github
        model_session = await self._streams(settings.anthropic_base_url)
        git_session = await self._streams(settings.github_api_url)
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
                bills=Bills(journal, money.chains, money.limits, money.accounts.told),
                model_kind=self.model_kind,
            ),
            presenter=presenter,
            repositories=services.repositories,
            submodules=Submodules(github, services.repositories),
            model=ModelRelay(
                model_session,
                base_url=settings.anthropic_base_url,
                credential=Credential(settings.anthropic_api_key.get_secret_value()),
                accounts=money.accounts,
                turn_seconds=settings.session_timeout_minutes * 60,
                server_tools=settings.server_tools,
                bounds=settings.bounds,
            ),
            git=GitRelay(git_session, github.git_authorization),
            shared=SharedFiles(services.outbound),
            sending=Sending(journal, services.poster),
            questions=questions,
            limits=Limits(
                turn_seconds=settings.session_timeout_minutes * 60,
                idle_seconds=settings.worker_idle_seconds,
                run_seconds=LONGEST_RUN_SECONDS,
                budget_usd=settings.peerbot_run_budget_usd,
                checkpoint_seconds=settings.peerbot_checkpoint_seconds,
                model_kind=self.model_kind,
                server_tools=settings.server_tools,
                question_seconds=_question_seconds(settings),
                network=self.runs.network,
            ),
            bounds=settings.bounds,
            started=path.run_started,
            closed=path.run_closed,
            spawn=self.tasks.spawn,
        )

    async def _streams(self, url: str) -> aiohttp.ClientSession:
        """Open a session for one relay. The shares of the runs bound its connections: one must not wait for another."""
        return await self.stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                proxy=proxy_for(url),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            )
        )

    def _reconciler(
        self,
        services: Services,
        inbox: Inbox,
        questions: Questions,
        presenter: Presenter,
        catch_up: CatchUp,
        controls: Controls,
        ports: Ports,
    ) -> Reconciler:
        settings, journal, github = self.settings, services.journal, services.github
        giving_up = GivingUp(journal=journal, github=github)
        answering = Answering(journal, presenter, giving_up, controls, questions, self.name, self.tasks.spawn)
        back = Back(journal, github, services.refs, services.repositories)
        return Reconciler(
            journal=journal,
            runs=self.runs,
            views=Views(journal, self.runs, inbox, questions),
            presenter=presenter,
            catch_up=catch_up,
            beginning=Beginning(
                journal=journal,
                github=github,
                own=OwnRepositories(
                    journal=journal, github=github, people=services.people, organization=settings.github_organization
                ),
                chosen=services.chosen,
                places=services.choosable,
                where=services.where,
                phrase=services.us.trigger_phrase,
                branch_prefix=settings.peerbot_branch_prefix,
            ),
            where=services.where,
            giving_up=giving_up,
            answering=answering,
            choices=Choices(journal, self.runs, answering, controls, services.repositories, back),
            places=Places(self.runs, journal, settings.worker_max_concurrent),
            name=self.name,
            worker_environment={
                "PEERBOT_GATEWAY_URL": settings.peerbot_gateway_url or f"http://127.0.0.1:{ports.gateway}",
                "LOG_LEVEL": settings.log_level,
                **settings.for_agents,
            },
            spawn=self.tasks.spawn,
            spawn_waiting=self.loops.spawn,
        )


def _question_seconds(settings: Settings) -> float:
    minutes = settings.peerbot_question_minutes
    return 60 * (settings.session_timeout_minutes if minutes is None else minutes)
