"""The whole product as a production operator runs it: `peerbot dispatcher` as a process of its own, given nothing but
settings, against a Slack, a GitHub and a model that were started separately."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from html import escape
from pathlib import Path
from typing import Any, Self

import aiohttp

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_id
from peerbot.errors import PeerBotError
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.model import DemoModel
from peerbot.local.slack import Fault, LocalSlack
from peerbot.local.slack.narrate import answered_turn
from peerbot.local.slack.shapes import UserKind
from peerbot.runs.processes.sandbox import Sandbox, SandboxMissing
from peerbot.slack.render import turn_words

ANSWER_SECONDS = 90.0  # a machine that is busy with other tests takes many times as long as a quiet one
START_SECONDS = 60.0


def sandbox_setting() -> str:
    """On if this machine has one; CI has one."""
    try:
        Sandbox.find()
    except SandboxMissing:
        if os.environ.get("CI"):
            raise
        return "off"
    return "on"


@dataclass
class System:
    """Servers, and dispatchers that may be started, ended and killed."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    dispatchers: list[asyncio.subprocess.Process] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    old_work: set[Path] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.slack = await self._stack.enter_async_context(LocalSlack(self.directory / "slack"))
        self.github = await self._stack.enter_async_context(LocalGitHub(self.directory / "github"))
        self.model = await self._stack.enter_async_context(DemoModel())
        self.journal = Journal(await open_storage(self.environment["PEERBOT_STORE"]))
        self._stack.push_async_callback(self.journal.close)
        self.changed = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        alive = [dispatcher for dispatcher in self.dispatchers if dispatcher.returncode is None]
        await asyncio.gather(*(self.end(dispatcher) for dispatcher in alive))
        self.changed.cancel()
        await asyncio.wait([self.changed])
        await self._stack.aclose()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "SLACK_BOT_TOKEN": self.slack.bot_token,
            "SLACK_APP_TOKEN": self.slack.app_token,
            "SLACK_API_URL": self.slack.api_url,
            "GITHUB_TOKEN": self.github.token,
            "GITHUB_API_URL": self.github.api_url,
            "ANTHROPIC_API_KEY": self.model.api_key,
            "ANTHROPIC_BASE_URL": self.model.url,
            "PEERBOT_STORE": (self.directory / "journal").as_uri(),
            "PEERBOT_DATA_DIR": str(self.directory / "data"),
            "PEERBOT_SANDBOX": sandbox_setting(),
            "WORKER_IDLE_SECONDS": "1",
            "PORT": "0",
            "GATEWAY_PORT": "0",
            "PEERBOT_METRICS_PORT": "0",
            "LOG_LEVEL": "DEBUG",
            **self.settings,
        }

    @property
    def log_file(self) -> Path:
        return self.directory / "dispatcher.log"

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Read the dispatcher's log lines of one kind. A line that is just being written is left out."""
        if not self.log_file.exists():
            return []
        whole = self.log_file.read_text().rpartition("\n")[0].splitlines()
        lines = (json.loads(line) for line in whole if line.startswith("{"))
        return [line for line in lines if line.get("event") == event]

    async def launch(self, **settings: str) -> asyncio.subprocess.Process:
        """Start a dispatcher."""
        with self.log_file.open("ab") as log:
            dispatcher = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "peerbot", "dispatcher", env=self.environment | settings, stderr=log
            )
        self.dispatchers.append(dispatcher)
        return dispatcher

    async def start(self, **settings: str) -> asyncio.subprocess.Process:
        """Start a dispatcher, and wait until it receives."""
        before = len(self.logged("dispatcher_started"))
        dispatcher = await self.launch(**settings)
        await eventually(lambda: len(self.logged("dispatcher_started")) > before, START_SECONDS)
        return dispatcher

    async def end(self, dispatcher: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code. If it does not end in time, the test fails, and it is killed."""
        dispatcher.send_signal(number)
        try:
            return await asyncio.wait_for(dispatcher.wait(), 30)
        finally:
            if dispatcher.returncode is None:
                dispatcher.kill()
                await dispatcher.wait()

    def no_history(self) -> None:
        """Let Slack refuse, from here on, to tell what people wrote."""
        for method in ("conversations.replies", "conversations.history", "users.conversations"):
            self.slack.faults.add(method, Fault(error="internal_error"), times=10_000)

    async def port(self, name: str = "port") -> int:
        return int(self.logged("dispatcher_started")[-1][name])

    async def say(
        self,
        text: str,
        *,
        thread: Conversation | None = None,
        user: str | None = None,
        mention: bool = True,
        channel: str | None = None,
    ) -> tuple[Conversation, str]:
        """Write something to the bot; returns the conversation and the input's id."""
        channel = thread.channel if thread else channel or self.slack.general
        text = f"{self.slack.mention()} {escape(text, quote=False)}" if mention else escape(text, quote=False)
        ts = await self.slack.say(
            user or self.slack.person,
            channel,
            text,
            thread_ts=thread.thread_ts if thread else None,
        )
        conversation = thread or Conversation(self.slack.team, channel, ts)
        return conversation, input_id(ts, "message")

    async def answer(self, conversation: Conversation, identity: str, seconds: float = ANSWER_SECONDS) -> Turn:
        """Wait until an input's answer is in Slack and its receipt in the journal; returns the turn."""
        found: Turn | None = None
        deadline = asyncio.get_running_loop().time() + seconds
        while found is None:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise AssertionError(f"no answer to {identity}\n{self.log_file.read_text()[-6000:]}")
            for k in [k for _, k in self.answers(conversation)]:
                turn = await self.journal.turn(conversation, k)
                if turn and identity in turn.inputs:
                    found = turn
            if found is None:
                await self._changed(min(left, 1.0))
        k = found.k
        await eventually(lambda: (self.posted_file(conversation, k)).exists())
        return found

    async def ask(self, text: str, **how: Any) -> Turn:
        """Write something and wait for its answer."""
        return await self.answer(*await self.say(text, **how))

    def add_person(self, user: str, name: str, *, kind: UserKind = "member") -> str:
        """Add somebody to the workspace and to #general."""
        self.slack.add_user(user, name, kind=kind)
        self.people.append(user)
        members = [self.slack.person, self.slack.bot_user, *self.people]
        self.slack.add_channel(self.slack.general, "general", members=members)
        return user

    async def delivered(self) -> None:
        """Wait until every event of Slack was acknowledged."""
        await self.slack.wait_for(lambda: self.slack.undelivered == 0, 15)

    def read_by_model(self, requests: int = 50) -> str:
        """Return all that the last requests to the model say in the name of its user."""
        messages = [message for body in self.model.seen[-requests:] for message in body["messages"]]
        contents = [message["content"] for message in messages if message["role"] == "user"]
        blocks = [b for c in contents for b in ([{"text": c}] if isinstance(c, str) else c)]
        return "\n".join(str(block.get("text", "")) for block in blocks)

    def files(self, conversation: Conversation) -> list[str]:
        """List the journal's objects of a conversation, with its markers."""
        journal = self.directory / "journal"
        found = (journal / kind / str(conversation) for kind in ("conversations", "pending"))
        return [str(file.relative_to(journal)) for folder in found for file in below(folder, "*")]

    async def settled(self, conversation: Conversation) -> None:
        """Wait until nothing of a conversation is marked as unanswered."""
        await eventually(lambda: not any(file.startswith("pending/") for file in self.files(conversation)))

    def posted_file(self, conversation: Conversation, k: int) -> Path:
        return self.directory / "journal" / "conversations" / str(conversation) / "turns" / f"{k}.posted"

    def answers(self, conversation: Conversation) -> list[tuple[dict[str, Any], int]]:
        """The final answers in the thread, with their turn."""
        messages = self.slack.thread(conversation.channel, conversation.thread_ts)
        found = [(message, answered_turn(message)) for message in messages]
        return [(message, turn[1]) for message, turn in found if turn]

    def cards(self, conversation: Conversation) -> list[dict[str, Any]]:
        """The progress messages in the thread."""
        messages = self.slack.thread(conversation.channel, conversation.thread_ts)
        ours = [message for message in messages if message.get("user") == self.slack.bot_user]
        return [message for message in ours if answered_turn(message) is None]

    def reactions(self, conversation: Conversation, identity: str) -> set[str]:
        message = self.slack.message(conversation.channel, identity.partition("-")[0])
        return {reaction["name"] for reaction in message.get("reactions", [])}

    def told(self, user: str, channel: str, words: str) -> list[str]:
        """What the bot told somebody alone in a channel, where it has these words."""
        whispers = (each for each in self.slack.whispers(user) if each["channel"] == channel)
        return [each["text"] for each in whispers if words in each["text"]]

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{await self.port()}{path}") as reply,
        ):
            return reply.status, await reply.json()

    def worker_pids(self) -> list[int]:
        """The worker processes of this system's runs, found by their working directory."""
        import psutil

        mine = str(self.directory)
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "peerbot.worker" in line and any(mine in part for part in [*line, _cwd(process)]):
                found.append(process.pid)
        return found

    def kill_workers(self) -> None:
        """Kill the workers and the sandboxes around them. When one of these processes ends, others may end with it."""
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze_workers(self) -> None:
        """Stop the workers in their tracks, as a machine that swaps does."""
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGSTOP)

    def work_file(self, name: str) -> Path | None:
        """Find a file that an agent made in its workspace; None if there is none."""
        found = [path for path in below(self.directory / "data", name) if path not in self.old_work]
        return found[0] if found else None

    def forget_work(self) -> None:
        """Overlook the files that are there now."""
        self.old_work = set(below(self.directory / "data", "*"))

    def supervisors(self) -> list[int]:
        """List the workers themselves, without the sandboxes around them."""
        import psutil

        found = set()
        for pid in self.worker_pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                for child in (process, *process.children(recursive=True)):
                    if child.cmdline()[1:] == ["-I", "-m", "peerbot.worker"]:
                        found.add(child.pid)
        return sorted(found)

    async def _follow(self) -> None:
        self._bell = asyncio.Event()
        async for _ in self.slack.watch():
            self._bell.set()
            self._bell = asyncio.Event()

    async def _changed(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._bell.wait(), seconds)
        except TimeoutError:
            return


def _cwd(process: Any) -> str:
    try:
        return str(process.cwd())
    except Exception:
        return ""


async def eventually(condition: Any, seconds: float = 30.0) -> None:
    """Wait until `condition()` is true; a condition that raises is not true yet."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if condition():
                    return
            except (PeerBotError, OSError, KeyError):
                pass
            await asyncio.sleep(0.02)


def below(directory: Path, name: str) -> list[Path]:
    """Find the files of a name below a directory that others change meanwhile: `rglob` fails there."""
    return [Path(root) / file for root, _, files in os.walk(directory) for file in files if fnmatch(file, name)]


@contextlib.contextmanager
def away(journal: Path) -> Iterator[None]:
    """Take the journal's directory away, as a disk that is not mounted; nobody changes its content meanwhile."""
    journal.rename(journal.with_name("away"))
    before = _contents(journal.with_name("away"))
    yield
    assert not journal.exists(), "nobody made another journal in its place"
    assert _contents(journal.with_name("away")) == before
    journal.with_name("away").rename(journal)


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def full_text(turn: Turn) -> str:
    """Return a turn's text as people read it: the agent's own words, and ours."""
    return turn_words(turn.text, turn.notes)
