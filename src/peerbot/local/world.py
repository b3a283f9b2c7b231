"""The laptop's world: the real dispatcher and worker, with our own servers as Slack and GitHub (decision 0005).

If there is no key, the demo model takes Claude's place. The production code is the same, and can't tell the difference.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Literal, Self

from peerbot import logs
from peerbot.conversation.chosen import Choice
from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.app import Dispatcher
from peerbot.errors import SettingsError
from peerbot.journal import choices
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local import ports
from peerbot.local.github import LocalGitHub
from peerbot.local.github.imports import Copy
from peerbot.local.model import DemoModel
from peerbot.local.slack import LocalSlack
from peerbot.runs.open import open_processes
from peerbot.settings import Settings, load
from peerbot.tasks import undisturbed
from peerbot.web.assets import pages_installed

CARD_SECONDS = 0.3
"""How often a card may change. The local Slack has no rate budget, so this is faster than in a real workspace."""
PULL_SECONDS = 2.0
"""How often PeerBot looks at a pull request: the local GitHub has no rate budget either."""


class World:
    """All that a local conversation needs. An async context manager, which leaves nothing running.

    `directory` keeps journal, Slack and GitHub, and the next world on it goes on from there. Without it, the world uses
    a temporary directory and removes it. `repository` is a person's own git repository: the channel works on a copy.
    Entering raises `SettingsError` if the directory or the repository can't be used.
    """

    def __init__(
        self, directory: Path | None = None, *, repository: Path | None = None, unsafe_no_sandbox: bool = False
    ) -> None:
        self._kept = directory
        self._repository = repository.resolve() if repository else None
        self._unsafe_no_sandbox = unsafe_no_sandbox
        self._stack = AsyncExitStack()
        self.model_kind: Literal["claude", "demo"] = "claude" if os.environ.get("ANTHROPIC_API_KEY") else "demo"
        self.directory: Path
        self.log_file: Path
        self.slack: LocalSlack
        self.github: LocalGitHub
        self.model: DemoModel | None = None
        self.copy: Copy | None = None
        self.journal: Journal
        self.settings: Settings
        self.sandboxed = False
        self._dispatcher: Dispatcher
        self._replacing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await undisturbed(self._stack.aclose())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await undisturbed(self._stack.aclose())

    async def _start(self) -> None:
        if shutil.which("git") is None:
            raise SettingsError("git is missing. Install it (apt-get install git) and start again.")
        try:
            self.directory = self._directory()
            self.log_file = self.directory / "peerbot.log"
            log_stream = self._stack.enter_context(self.log_file.open("a", buffering=1))
            for part in ("slack", "github", "journal"):
                (self.directory / part).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise SettingsError(
                f"PeerBot can't keep anything in {self._kept or tempfile.gettempdir()}: {why}. "
                "Name a directory that you may write to (--in)."
            ) from error
        logs.configure(os.environ.get("LOG_LEVEL", "DEBUG"), stream=log_stream)
        self.slack = await self._stack.enter_async_context(LocalSlack(self.directory / "slack"))
        self.github = await self._stack.enter_async_context(LocalGitHub(self.directory / "github"))
        if self.model_kind == "demo":
            self.model = await self._stack.enter_async_context(DemoModel())
        self.settings = self._settings()
        self.journal = Journal(await open_storage(self.settings.store_url))
        self._stack.push_async_callback(self.journal.close)
        if self._repository:
            self.copy = await self._use(self._repository)
        if chosen := await choices.choice(self.journal, "channel", f"{self.slack.team}-{self.slack.general}"):
            # Everything here is the person's own: what they brought, in an earlier start, too, may be worked in.
            self.settings = self.settings.model_copy(update={"peerbot_repositories": ",".join(chosen.repositories)})
        await self._dispatch()
        self._stack.push_async_callback(self._end)

    async def _dispatch(self) -> None:
        """Start a dispatcher."""
        runs = open_processes(self.settings, demo=self.model is not None)
        self.sandboxed = runs.sandboxed
        self._dispatcher = Dispatcher(self.settings, runs, model_kind=self.model_kind, card_seconds=CARD_SECONDS)
        ports = await self._dispatcher.start()
        # Another one has the same addresses, since messages link to them.
        self.settings = self.settings.model_copy(update={"port": ports.health, "gateway_port": ports.gateway})

    async def _end(self) -> None:
        async with self._replacing:
            await self._dispatcher.close()

    async def kill_dispatcher(self) -> None:
        """End the dispatcher at once, with its workers and with all that it has in memory, and start another one.

        It is a part of this process. So this is the nearest thing to a signal: its connections break, and work under
        way is cancelled wherever it is.
        """
        async with self._replacing:
            await undisturbed(self._replace())

    async def _replace(self) -> None:
        self.slack.drop_sockets()
        ending = asyncio.create_task(self._dispatcher.close(at_once=True))
        await asyncio.sleep(0)  # the runs know now that they end with it
        self.kill_workers()
        await ending
        await self._dispatch()

    def kill_workers(self) -> int:
        """Kill every worker; returns how many there were."""
        killed = 0
        for pid in _workers():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                killed += 1
        return killed

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close something when the world ends, before its parts are closed."""
        self._stack.push_async_callback(close)

    def _directory(self) -> Path:
        if self._kept is None:
            made = Path(tempfile.mkdtemp(prefix="peerbot-"))
            self._stack.callback(shutil.rmtree, made, ignore_errors=True)
            return made
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._kept.resolve()

    def _settings(self) -> Settings:
        values: dict[str, object] = {
            "slack_bot_token": self.slack.bot_token,
            "slack_app_token": self.slack.app_token,
            "slack_api_url": self.slack.api_url,
            "github_token": self.github.token,
            "github_api_url": self.github.api_url,
            "github_organization": self.github.organization,
            "peerbot_pull_request_seconds": PULL_SECONDS,
            "peerbot_store": (self.directory / "journal").as_uri(),
            "peerbot_data_dir": self.directory,
            "port": ports.free("127.0.0.1", self.directory / "port"),
            "gateway_port": 0,
            "peerbot_metrics_port": 0,
        }
        if pages_installed():
            values |= {
                "peerbot_public_url": f"http://127.0.0.1:{values['port']}",
                "slack_client_id": self.slack.page.openid.client_id,
                "slack_client_secret": self.slack.page.openid.client_secret,
            }
        if self.model:
            values |= {"anthropic_api_key": self.model.api_key, "anthropic_base_url": self.model.url}
            values["https_proxy"] = None  # nothing leaves this machine, so one that we can't use is no fault
        if self._unsafe_no_sandbox:
            values["peerbot_sandbox"] = "off"
        return load(**values)

    async def _use(self, source: Path) -> Copy:
        """Copy a person's repository, and make the copy the channel's repository."""
        copy = await self.github.import_by_path(source, branch_prefix=self.settings.peerbot_branch_prefix)
        await choices.choose(
            self.journal,
            "channel",
            f"{self.slack.team}-{self.slack.general}",
            Choice(repository=copy.full_name, chosen_by=self.slack.person),
        )
        return copy

    def conversation(self, thread_ts: str) -> Conversation:
        """Return the conversation of a thread in the world's one channel."""
        return Conversation(self.slack.team, self.slack.general, thread_ts)


def _workers() -> list[int]:
    """The processes that our dispatcher has started for workers."""
    found = []
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in children.read_text().split():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"peerbot.worker" in line:
                found.append(int(pid))
    return found
