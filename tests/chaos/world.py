"""A system under chaos: two dispatchers that are replaced when they die, doors with weather, and people who write."""

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from blows import Blows
from crowd import Crowd
from doors import Door
from plan import REPOSITORIES
from processes import Found, processes_below
from settings_world import brought
from system import System

from peerbot.conversation.chosen import Choice
from peerbot.journal import choices

DISPATCHERS = 2
SETTLE_SECONDS = 90.0  # more than the minute between two sweeps
SETTINGS = {
    "PEERBOT_CHECKPOINT_SECONDS": "1",
    "PEERBOT_REPOSITORIES": ",".join(REPOSITORIES),
    "PEERBOT_QUESTIONS_FOR": "everyone",  # so that two people may answer at once
    "WORKER_IDLE_SECONDS": "3",  # some replies find a worker that waits, some come too late
    "WORKER_MAX_CONCURRENT": "9",
}


class ChaosSystem(System, Crowd):
    """A system whose dispatchers keep their journal in a bucket, and reach everything through doors."""

    blows: Blows

    def __init__(self, directory: Path, *, google: str, bucket: str) -> None:
        System.__init__(self, directory, {"PEERBOT_STORE": f"gs://{bucket}", **SETTINGS})
        Crowd.__init__(self)
        self.google, self.bucket = google, bucket
        self.died: list[str] = []  # dispatchers that ended and were not ended by us
        self.gave_up: list[str] = []  # dispatchers that could not even start, since a service was away
        self._launched = 0
        self.alive: list[asyncio.subprocess.Process] = []
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ChaosSystem":
        await super().__aenter__()
        self._doors = await AsyncExitStack().__aenter__()
        enter = self._doors.enter_async_context
        self.store_door = await enter(Door("store", self.google, self.notes.store))
        self.slack_door = await enter(Door("Slack", self.slack.url.rstrip("/")))
        self.github_door = await enter(Door("GitHub", self.github.url, self.notes.push))
        self.model_door = await enter(Door("model", self.model.url, self.notes.ask))
        self.settings |= {
            "STORAGE_EMULATOR_HOST": self.store_door.url,
            "SLACK_API_URL": f"{self.slack_door.url}/api/",
            "GITHUB_API_URL": f"{self.github_door.url}/api/v3",
            "ANTHROPIC_BASE_URL": self.model_door.url,
        }
        self.populate()
        await self._let_choose()
        self.blows = Blows(self)
        self._spawn(self.ring())
        for _ in range(DISPATCHERS):
            self._spawn(self._keep_a_dispatcher())
        return self

    async def _let_choose(self) -> None:
        """Set several repositories for some channels, as a member did in their form."""
        for name in REPOSITORIES:
            await brought(self, name)
        first, *others = REPOSITORIES
        for channel in self.menu_channels:
            choice = Choice(repository=first, others=others, chosen_by=self.slack.person)
            await choices.choose(self.journal, "channel", f"{self.slack.team}-{channel}", choice)

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        await self.blows.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().__aexit__(*_)
        await self._doors.aclose()

    @property
    def doors(self) -> tuple[Door, ...]:
        """All of them."""
        return (self.store_door, self.slack_door, self.github_door, self.model_door)

    @property
    def log_file(self) -> Path:
        return self.directory / f"dispatcher-{self._launched}.log"

    @property
    def log_files(self) -> list[Path]:
        return sorted(self.directory.glob("dispatcher-*.log"))

    @property
    def runs_folder(self) -> Path:
        return (self.directory / "data" / "runs").resolve()

    # Dispatchers

    async def _keep_a_dispatcher(self) -> None:
        """One of the replicas: started again whenever it ends, as an init system does it."""
        while not self._ending:
            self._launched += 1
            log = self.log_file.name
            dispatcher = await self.launch()
            self.alive.append(dispatcher)
            code = await dispatcher.wait()
            self.alive.remove(dispatcher)
            if dispatcher.pid not in self.blows.ended and not self._ending:
                began = "dispatcher_started" in (self.directory / log).read_text()
                (self.died if began else self.gave_up).append(f"{log}: exit code {code}")
                await asyncio.sleep(1)

    @property
    def launched(self) -> int:
        """How many dispatchers were started."""
        return self._launched

    async def settle(self) -> None:
        """Wait until no process of a run and no marker is left, for a bounded time. The checker reports the rest.

        A worker waits a little for the next message, then closes its run. A marker goes when its card is drawn, which
        waits for Slack's budget, or with the sweep of a minute.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while processes_below(self.runs_folder) or await self.journal.pending():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.5)

    async def end_dispatchers(self) -> None:
        """SIGTERM to all; none is started again."""
        self._ending = True
        await asyncio.gather(*(self.end(dispatcher) for dispatcher in list(self.alive)))

    def left(self) -> list[str]:
        """The processes of runs that are left, as they were started."""
        return [" ".join(found.command)[:200] for found in processes_below(self.runs_folder)]

    def workers(self) -> list[Found]:
        """The workers that live."""
        return sorted((w for w in processes_below(self.runs_folder) if w.is_worker), key=lambda w: w.run)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def logged_of(self, conversation: str) -> list[str]:
        """The log lines of one conversation, of all dispatchers, in order."""
        found = []
        for file in self.log_files:
            for line in file.read_text(errors="replace").splitlines():
                if conversation in line and line.startswith("{"):
                    entry = json.loads(line)
                    found.append((str(entry.pop("timestamp", "")), file.stem, entry))
        return [f"{at} {file} {json.dumps(entry, ensure_ascii=False)}" for at, file, entry in sorted(found, key=str)]
