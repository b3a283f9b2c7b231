"""A system under chaos: two dispatchers that are replaced when they die, doors with weather, and people who write."""

import asyncio
import contextlib
import json
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blows import Blows
from doors import Door, Notes
from plan import CHANNELS, PEOPLE, Blow, Message, Plan, Talk
from processes import Found, processes_below
from system import System

from peerbot.conversation.keys import Conversation

CONVERSATIONS_AT_ONCE = 16
DISPATCHERS = 2
BOUND_SECONDS = 180.0
"""From the last fault until a conversation has ended: an answer whose poster died is followed after a minute, a sweep
comes each minute, and a turn takes its time."""

SETTINGS = {
    "PEERBOT_CHECKPOINT_SECONDS": "1",
    "WORKER_IDLE_SECONDS": "3",  # some replies find a worker that waits, some come too late
    "WORKER_MAX_CONCURRENT": "9",
}


@dataclass
class Said:
    """A message that was sent."""

    message: Message
    identity: str
    at: float


@dataclass
class Course:
    """How a conversation went."""

    talk: Talk
    conversation: Conversation | None = None
    said: list[Said] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)  # by input's id: when its answer was seen
    turns: set[int] = field(default_factory=set)  # whose answer was seen
    ended: float | None = None


class ChaosSystem(System):
    """A system whose dispatchers keep their journal in a bucket, and reach everything through doors."""

    def __init__(self, directory: Path, *, google: str, bucket: str) -> None:
        super().__init__(directory, {"PEERBOT_STORE": f"gs://{bucket}", **SETTINGS})
        self.google, self.bucket = google, bucket
        self.notes = Notes()
        self.courses: list[Course] = []
        self.died: list[str] = []  # dispatchers that ended and were not ended by us
        self.gave_up: list[str] = []  # those that could not even start, since what they need was away
        self._launched = 0
        self.alive: list[asyncio.subprocess.Process] = []
        self._ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ChaosSystem":
        await super().__aenter__()
        self._doors = await AsyncExitStack().__aenter__()
        enter = self._doors.enter_async_context
        self.store_door = await enter(Door("store", self.google))
        self.slack_door = await enter(Door("Slack", self.slack.url.rstrip("/")))
        self.github_door = await enter(Door("GitHub", self.github.url, self.notes.push))
        self.model_door = await enter(Door("model", self.model.url, self.notes.ask))
        self.settings |= {
            "STORAGE_EMULATOR_HOST": self.store_door.url,
            "SLACK_API_URL": f"{self.slack_door.url}/api/",
            "GITHUB_API_URL": f"{self.github_door.url}/api/v3",
            "ANTHROPIC_BASE_URL": self.model_door.url,
        }
        for number in range(PEOPLE):
            self.add_person(f"U{number:09d}", f"person-{number}")
        members = [self.slack.person, self.slack.bot_user, *self.people]
        self.channels = [f"C{number:09d}" for number in range(CHANNELS)]
        for number, channel in enumerate(self.channels):
            self.slack.add_channel(channel, f"team-{number}", members=members)
        self.blows = Blows(self)
        self._bells: dict[str, asyncio.Event] = {}
        self._spawn(self._ring())
        for _ in range(DISPATCHERS):
            self._spawn(self._keep_a_dispatcher())
        return self

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

    async def settle(self, seconds: float) -> None:
        """Wait until no process of a run is left, at most so long: what is left then is for the checker to see."""
        for _ in range(round(seconds / 0.5)):
            if not processes_below(self.runs_folder):
                return
            await asyncio.sleep(0.5)

    async def end_dispatchers(self) -> None:
        """SIGTERM to all; none is started again."""
        self._ending = True
        await asyncio.gather(*(self.end(dispatcher) for dispatcher in list(self.alive)))

    # People

    async def play(self, plan: Plan) -> None:
        """Carry out a plan, until every message has its answer or the bound after the last fault is over."""
        turns = asyncio.Semaphore(CONVERSATIONS_AT_ONCE)
        begun = 0
        due: dict[int, list[Blow]] = {}
        for blow in plan.blows:
            due.setdefault(blow.after, []).append(blow)

        async def one(talk: Talk) -> None:
            nonlocal begun
            async with turns:
                begun += 1
                for blow in due.get(begun, ()):
                    self.blows.strike(blow)
                course = Course(talk)
                self.courses.append(course)
                await self._converse(course)

        await asyncio.gather(*(one(talk) for talk in plan.talks))

    async def _converse(self, course: Course) -> None:
        for message in course.talk.messages:
            await self._moment(course, message)
            user = self.people[message.person]
            thread = course.conversation
            channel = self.channels[course.talk.number % CHANNELS]
            course.conversation, identity = await self.say(
                message.text, thread=thread, user=user, mention=not thread, channel=channel
            )
            self._bells.setdefault(course.conversation.thread_ts, asyncio.Event())
            course.said.append(Said(message, identity, time.time()))
        if await self._answered(course):
            course.ended = time.time()

    async def _moment(self, course: Course, message: Message) -> None:
        """Wait until it is time for a message."""
        if message.when == "during":
            began = self.notes.began(course.said[-1].message.token)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(began.wait(), 30)
        elif message.when == "after":
            await self._answered(course)
        if message.when != "first":
            await asyncio.sleep(message.seconds)

    async def _answered(self, course: Course) -> bool:
        """Wait until all that was said is answered in Slack; False where the bound after the last fault is over."""
        assert course.conversation
        bell = self._bells[course.conversation.thread_ts]
        while True:
            bell.clear()
            for k in {k for _, k in self.answers(course.conversation)} - course.turns:
                if turn := await self.journal.turn(course.conversation, k):
                    course.turns.add(k)
                    for identity in turn.answers:
                        course.answered.setdefault(identity, time.time())
            if all(said.identity in course.answered for said in course.said):
                return True
            last = max(self.blows.last_fault, course.said[-1].at)
            left = last + BOUND_SECONDS - time.time()
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), min(left, 5))

    async def _ring(self) -> None:
        """Tell a conversation that its thread has changed."""
        async for change in self.slack.watch():
            if change.kind == "posted" and (bell := self._bells.get(change.thread_ts or change.ts)):
                bell.set()

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
