"""A real gateway over HTTP on any storage, for tests that play the worker themselves (with the worker's own client)."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.conversation.documents import Input, Run, RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.held import Bounds
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Scope
from peerbot.conversation.policy import Admission
from peerbot.gateway.app import Gateway
from peerbot.gateway.budget import Accounts
from peerbot.gateway.git_relay import GitRelay
from peerbot.gateway.limits import Limits
from peerbot.gateway.model_relay import ModelRelay
from peerbot.gateway.shares import Shares
from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.github.submodules import Submodules
from peerbot.journal.budgets import Chains
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.journal.storage import Storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import new_secret, run_path, secret_hash
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.files import SharedFiles
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.thread.admission import Admissions
from peerbot.thread.afford import Afford
from peerbot.thread.files import Sending
from peerbot.thread.inbox import Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.thread.questions import Questions
from peerbot.thread.status import Status
from peerbot.turns.bills import Bills
from peerbot.turns.branches import Branches
from peerbot.turns.turns import Turns
from peerbot.web.connections import Connections, ServerLog
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.session import GatewaySessions

WORKSPACE = Path("/workspace")


@dataclass
class PlayedRun:
    """A started run, from its worker's side."""

    gateway: GatewayClient
    sessions: GatewaySessions


@dataclass
class GatewayServer:
    """One replica's gateway: it closes `storage` with itself. Slack and GitHub are shared with other replicas."""

    storage: Storage
    slack: LocalSlack
    github: LocalGitHub
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    model_url: str = "http://127.0.0.1:1"
    model_key: str = "none"
    shares: Shares = field(default_factory=Shares)
    connections: Connections | None = None  # None: unbounded
    model_connections: int = 0  # of the session to the model; 0: unbounded

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.journal = Journal(self.storage)
        self._stack.push_async_callback(self.journal.close)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        client = await self._stack.enter_async_context(open_client(self.slack.api_url, self.slack.bot_token))
        model = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.model_connections))
        await self._stack.enter_async_context(model)
        app = self._gateway(session, model, Outbound(client)).app()
        if self.connections:
            self.connections.watch(app)
        runner = web.AppRunner(app, access_log=None, logger=ServerLog(), shutdown_timeout=1.0, lingering_time=0.2)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.push_async_callback(self.settled)
        if self.connections:
            await self.connections.listen(runner, "127.0.0.1", 0)
        else:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _gateway(self, session: aiohttp.ClientSession, model: aiohttp.ClientSession, outbound: Outbound) -> Gateway:
        us = Us(self.slack.team, self.slack.bot_user, "@peerbot")
        people, poster = People(outbound), Poster(outbound, us)
        github = GitHub(session, token=self.github.token, api_url=self.github.api_url)
        repositories = Repositories(github)
        chains, limits = Chains(self.journal), ChosenSettings(self.journal, (Limit(scope=Scope.TURN, usd=1),)).limits
        accounts = Accounts(self.journal, chains=chains, limits=limits, spawn=self.spawn)
        inbox = Inbox(
            journal=self.journal,
            people=people,
            outbound=outbound,
            us=us,
            admission=Admissions(people, ChosenSettings(self.journal), Admission()),
            overtaken=_nothing,
            afford=Afford(chains, limits),
            chosen=ChosenSettings(self.journal),
        )
        branches = Branches(journal=self.journal, github=github)
        return Gateway(
            journal=self.journal,
            inbox=inbox,
            branches=branches,
            turns=Turns(
                journal=self.journal,
                github=github,
                branches=branches,
                inbox=inbox,
                poster=poster,
                bills=Bills(self.journal, chains, limits, accounts.told),
                model_kind="demo",
            ),
            presenter=Presenter(
                journal=self.journal,
                poster=poster,
                repositories=repositories,
                people=people,
                style=Style(reactions=True, progress=True, limit_minutes=5),
                spent=accounts.spent,
                status=Status(journal=self.journal, outbound=outbound),
                spawn=self.spawn,
            ),
            repositories=repositories,
            submodules=Submodules(github, repositories),
            model=ModelRelay(
                model,
                base_url=self.model_url,
                credential=Credential(self.model_key),
                accounts=accounts,
                turn_seconds=300,
            ),
            git=GitRelay(session, github.git_authorization),
            questions=Questions(journal=self.journal, poster=poster, inbox=inbox, everyone=False, spawn=self.spawn),
            shared=SharedFiles(outbound),
            sending=Sending(self.journal, poster),
            limits=Limits(
                turn_seconds=300,
                idle_seconds=1,
                run_seconds=3600,
                budget_usd=1,
                checkpoint_seconds=30,
                model_kind="demo",
            ),
            bounds=Bounds(),
            started=lambda *_: None,
            closed=lambda _: None,
            spawn=self.spawn,
            shares=self.shares,
        )

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task

    async def settled(self) -> None:
        """Wait until cards and answers are out. Raises the first error among them."""
        while self.tasks:
            done, self.tasks = self.tasks, set()
            await asyncio.gather(*done)

    async def say(self, text: str, thread: Conversation | None = None, *, hours_later: int = 0) -> Input:
        """A person writes to the bot, and it is recorded; `hours_later` by its own stamp."""
        slack = self.slack
        ts = await slack.say(slack.person, slack.general, text, thread_ts=thread.thread_ts if thread else None)
        item = Input(
            team=slack.team,
            channel=slack.general,
            thread_ts=thread.thread_ts if thread else ts,
            ts=f"{int(ts[:10]) + 3600 * hours_later}{ts[10:]}",
            user=slack.person,
            user_team=slack.team,
            text=text,
            event_id=f"Ev{ts}",
        )
        await self.journal.mark(item)
        await self.journal.record(item)
        return item

    async def close_run(self, conversation: Conversation, n: int) -> None:
        """Close run `n`, as a dispatcher does when its worker was killed."""
        await self.journal.close_run(conversation, n, RunClosed(reason=RunEnd.CRASHED))

    async def run(self, item: Input, n: int = 1) -> PlayedRun:
        """Reserve run `n` for `item` and start it, as its worker does."""
        secret = new_secret()
        run = Run(
            n=n,
            serves=[item.id],
            secret_hash=secret_hash(secret),
            repository="peerbot-community/user-ada",
            default_branch="main",
            branch=item.conversation.branch,
            reserved_by="tests",
        )
        assert await self.journal.reserve(item.conversation, run)
        gateway = await self._stack.enter_async_context(GatewayClient(self.url + run_path(item.conversation, n)))
        await gateway.start(secret)
        return PlayedRun(gateway, GatewaySessions(gateway, WORKSPACE))


async def _nothing(_newest: Input, _since: str) -> bool:
    """Find nothing: there is no dispatcher here whose events could hang."""
    return False
