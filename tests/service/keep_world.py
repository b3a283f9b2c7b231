"""The worker's own parts around an agent that is played by shell commands: a real gateway, a local GitHub, real git."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from gateway_server import GatewayServer
from saved_state import SavedState

from peerbot.conversation.documents import Input
from peerbot.conversation.notes import Note
from peerbot.github.client import GitHub, Owner
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import PersonInput, TurnBegin, TurnFinished, TurnResult
from peerbot.worker.checkpoint import Checkpoints
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.git import git_environment, write_author
from peerbot.worker.keep import Keep, Kept
from peerbot.worker.start import Standing, Start
from peerbot.worker.submodules import Submodules
from peerbot.worker.upstream import Upstream
from peerbot.worker.workspace import Workspace

SHELL_SECONDS = 100.0
REPOSITORY = "peerbot-community/user-ada"
SEED = """
printf 'one\\ntwo\\nthree\\n' > shared.txt
echo kept > kept.txt
echo gone > gone.txt
mkdir -p docs src && echo page > docs/page.md && echo code > src/code.py
printf '*.log\\nbuild/\\n' > .gitignore
git add --all; git commit -qm Seed
"""


def shell(directory: Path, script: str, environment: dict[str, str]) -> str:
    """Run a script as an agent's Bash would; its output, whatever its exit code."""
    command = ["bash", "-c", script]
    done = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SHELL_SECONDS,
    )
    return done.stdout + done.stderr


@dataclass
class Run:
    """One run of a conversation: the parts that `worker/app.py` puts together, without a model."""

    gateway: GatewayClient
    workspace: Workspace
    upstream: Upstream
    start: Start
    checkpoints: Checkpoints
    keep: Keep
    environment: dict[str, str]
    world: "KeepWorld"
    item: Input
    begun: TurnBegin | None = None
    prepared: bool = False
    finished: TurnFinished | None = None

    @property
    def path(self) -> Path:
        return self.workspace.path

    async def begin(self) -> Standing:
        """Begin a turn: the workspace is ready for the agent."""
        if self.begun and self.begun.turn == len(await self.world.server.journal.turn_numbers(self.item.conversation)):
            self.item = await self.world.say()  # the turn before has ended
        self.begun = begun = await self.gateway.begin()
        if not self.prepared or self.workspace.spoiled:
            self.prepared = True
            await self.workspace.prepare()
        bundle = await self.gateway.work(begun.turn) if begun.saved and self.workspace.fresh else None
        base = begun.kept.base if begun.kept else None
        standing = await self.start.ready(begun.branch, bundle, base=base, since=begun.unfinished_since)
        self.upstream.sign_off = begun.sign_off or self.workspace.asks_for_sign_off()
        restored = standing.restored
        await self.keep.begin(begun.turn, restored.left if restored else None)
        return standing

    async def agent(self, script: str) -> str:
        """Let the agent run a script in the workspace."""
        return await asyncio.to_thread(shell, self.path, script, self.environment)

    async def save(self) -> None:
        """Save a checkpoint, as the worker does every few seconds."""
        assert self.begun
        await self.checkpoints.save(self.begun.turn)

    async def end(self, *wrote: str, text: str = "Add what was asked for") -> Kept:
        """End the turn: keep its work, and write it."""
        assert self.begun
        person = PersonInput(id=self.item.id, user="U1", name="Ada", text=text)
        kept = await self.keep.turn(self.begun.turn, [person], wrote)
        result = TurnResult(
            inputs=[self.item.id],
            status="done",
            text="Done.",
            notes=kept.notes,
            commit=kept.commit,
            kept=kept.part is not None,
            part=kept.part or 0,
            no_difference=kept.no_difference,
            base=self.workspace.pushed if kept.part is not None else None,
            files=kept.files,
            seconds=1,
        )
        self.finished = await self.gateway.finish(self.begun.turn, result)
        return kept


@dataclass
class KeepWorld:
    """A conversation in a repository on a local GitHub, and its runs."""

    directory: Path
    server: GatewayServer
    github: LocalGitHub
    items: list[Input] = field(default_factory=list)
    runs: int = 0
    homes: Path | None = None

    @property
    def bare(self) -> Path:
        return self.github.repository_path(REPOSITORY)

    @property
    def branch(self) -> str:
        return self.items[0].conversation.branch

    @property
    def ref(self) -> str:
        """The conversation's branch, or the default branch as long as there is none."""
        return self.branch if self.git("branch", "--list", self.branch) else "main"

    def git(self, *arguments: str) -> str:
        """Run git in the repository on GitHub."""
        command = ["git", "-C", str(self.bare), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip("\n")

    def files(self, ref: str) -> dict[str, bytes]:
        """The files of a branch on GitHub, and their contents."""
        return SavedState(self.bare, {}).tree(ref)

    def subjects(self) -> list[str]:
        """The subjects of the branch's commits that the default branch does not have, newest first."""
        return self.git("log", "--format=%s", f"main..{self.branch}").splitlines()

    def person(self, script: str, branch: str | None = None) -> None:
        """A person checks out the branch, runs a script and pushes."""
        place = self.directory / f"person-{len(list(self.directory.glob('person-*')))}"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1"}
        name = branch or self.branch
        said = shell(
            self.directory,
            f"set -e; git clone -q {self.bare} {place} && cd {place} && git config user.name Grace && "
            f"git config user.email grace@example.com && git checkout -q -B {name} origin/{name}\n{script}\n"
            f"git push -q --force origin {name}; echo pushed",
            environment,
        )
        assert said.endswith("pushed\n"), said

    async def say(self, text: str = "Do it") -> Input:
        item = await self.server.say(text, self.items[0].conversation if self.items else None)
        self.items.append(item)
        return item

    async def run(self, item: Input) -> Run:
        """Start the next run for `item`."""
        self.runs += 1
        if self.runs > 1:
            await self.server.close_run(item.conversation, self.runs - 1)
        gateway = (await self.server.run(item, self.runs)).gateway
        place = self.homes or self.directory
        home, path = place / f"home-{self.runs}", place / f"run-{self.runs}" / "workspace"
        home.mkdir()
        path.mkdir(parents=True)
        base = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        environment = git_environment(gateway.url, gateway.agent_token, base, path)
        write_author(home)
        workspace = Workspace(
            path,
            own=home / ".peerbot" / "git",
            url=f"{gateway.url}/git",
            branch=item.conversation.branch,
            default_branch="main",
            environment=environment,
        )
        upstream = Upstream(workspace)
        old = item.conversation.checkpoint_ref(self.runs).rpartition("/")[0]
        checkpoints = Checkpoints(workspace, gateway, every_seconds=3)
        keep = Keep(workspace, upstream, checkpoints, gateway, idle_seconds=60)
        start = Start(workspace, upstream, Submodules(workspace, gateway), old)
        return Run(gateway, workspace, upstream, start, checkpoints, keep, environment, self, item)

    async def begun(self, text: str = "Do it") -> Run:
        """A run whose first turn has begun."""
        run = await self.run(await self.say(text))
        await run.begin()
        return run


@asynccontextmanager
async def keep_world(directory: Path, seed: str = SEED) -> AsyncIterator[KeepWorld]:
    """Make the world, and the repository with what `seed` writes on its default branch."""
    async with LocalSlack() as slack, LocalGitHub(directory / "github") as github:
        storage = await open_storage((directory / "journal").as_uri())
        async with GatewayServer(storage, slack, github) as server, aiohttp.ClientSession() as session:
            client = GitHub(session, token=github.token, api_url=github.api_url)
            await client.ensure_repository(Owner("peerbot-community", True), "user-ada", description="Ada's")
            world = KeepWorld(directory, server, github)
            await asyncio.to_thread(world.person, f"{seed}", "main")
            yield world


def kinds(notes: list[Note]) -> list[str]:
    """The kinds of some notes."""
    return [note.kind for note in notes]
