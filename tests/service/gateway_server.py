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
from peerbot.conversation.documents import Input, Run
from peerbot.conversation.keys import Conversation
from peerbot.gateway.app import Gateway, Limits
from peerbot.gateway.git_relay import GitRelay
from peerbot.gateway.model_relay import ModelRelay
from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.journal.journal import Journal
from peerbot.journal.storage import Storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import new_secret, run_path, secret_hash
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.thread.inbox import Admission, Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.turns.branches import Branches
from peerbot.turns.turns import Turns
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

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.journal = Journal(self.storage)
        self._stack.push_async_callback(self.journal.close)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        client = await self._stack.enter_async_context(open_client(self.slack.api_url, self.slack.bot_token))
        runner = web.AppRunner(self._gateway(session, Outbound(client)).app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.push_async_callback(self.settled)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _gateway(self, session: aiohttp.ClientSession, outbound: Outbound) -> Gateway:
        people, poster = People(outbound), Poster(outbound)
        github = GitHub(session, token=self.github.token, api_url=self.github.api_url)
        repositories = Repositories(github)
        inbox = Inbox(
            journal=self.journal,
            people=people,
            outbound=outbound,
            us=Us(self.slack.team, self.slack.bot_user, "@peerbot"),
            admission=Admission(allow_direct_messages=True, allow_private_channels=False),
            overtaken=_nothing,
        )
        branches = Branches(journal=self.journal, github=github)
        return Gateway(
            journal=self.journal,
            inbox=inbox,
            branches=branches,
            turns=Turns(
                journal=self.journal, github=github, branches=branches, inbox=inbox, poster=poster, model_kind="demo"
            ),
            presenter=Presenter(
                journal=self.journal,
                poster=poster,
                repositories=repositories,
                people=people,
                style=Style(reactions=True, progress=True, limit_minutes=5),
                spawn=self.spawn,
            ),
            repositories=repositories,
            model=ModelRelay(
                session, base_url="http://127.0.0.1:1", credential=Credential("none"), budget_usd=1, turn_seconds=300
            ),
            git=GitRelay(session, github.git_authorization),
            limits=Limits(
                turn_seconds=300,
                idle_seconds=1,
                run_seconds=3600,
                budget_usd=1,
                checkpoint_seconds=30,
                model=None,
                model_kind="demo",
            ),
            started=lambda *_: None,
            closed=lambda _: None,
            spawn=self.spawn,
        )

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task

    async def settled(self) -> None:
        """Cards and answers are out. Raises what went wrong with them."""
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
    """There is no dispatcher here whose events could hang."""
    return False
