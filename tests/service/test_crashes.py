"""A crash at every write: the dispatcher is killed before and after each write of a conversation, and it ends well.

A dry run of a first turn (which changes files) and of a follow-up lists the writes. Then each is played again with a
dispatcher that dies there, and another that is started. Writes that only a recovery makes are not crashed again.
"""

import asyncio
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_points import CrashSystem, Point, Write
from gcs_server import gcs_server, make_bucket

from peerbot import logs
from peerbot.conversation.keys import Conversation

FIRST = "Create a simple Python script that prints the first ten primes, and run it"
FOLLOW_UP = "what is in this repository?"
LANES = 4
"""Systems that play points side by side: most of a crash after the turn is written is waiting for the next poster."""

SETTLED_SECONDS = 150.0
"""From a crash until all is well again: a minute until a lost poster is followed, and a turn, on a busy machine."""

TRIES = 3
"""How often a point is played whose write did not come: how many edits and parts there are is a matter of time."""

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Outcome:
    """How a point went. `problems`: what was not well at the deadline; nothing, where it ended well."""

    point: Point
    reached: bool
    seconds: float  # from the crash until all was well
    runs: int  # that worked on the turn
    problems: tuple[str, ...]

    def __str__(self) -> str:
        if self.problems:
            return "; ".join(self.problems)
        return f"{self.seconds:.0f} s, {'a run' if self.runs == 1 else f'{self.runs} runs'}" if self.reached else "–"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with gcs_server() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield url


@pytest.fixture
async def lanes(google: str, tmp_path: Path) -> AsyncIterator[list["Lane"]]:
    async with AsyncExitStack() as stack:
        lanes = []
        for number in range(LANES):
            bucket = f"lane-{number}-{uuid.uuid4().hex}"
            make_bucket(google, bucket)
            system = CrashSystem(tmp_path / str(number), google=google, bucket=bucket)
            system.directory.mkdir()
            lanes.append(Lane(await stack.enter_async_context(system)))
        yield lanes


class Lane:
    """One system: conversations with a crash each, one after the other."""

    def __init__(self, system: CrashSystem) -> None:
        self.system = system
        self.dispatcher: asyncio.subprocess.Process
        self.conversations: dict[Conversation, list[str]] = {}
        self._going: Conversation | None = None

    async def start(self) -> None:
        self.dispatcher = await self.system.start()

    async def writes(self, turn: str) -> list[Write]:
        """Play a turn without a crash; what it wrote."""
        assert (problems := await self._turn(turn, None)) == [], problems
        return list(self.system.trap.writes)

    async def play(self, turn: str, point: Point) -> Outcome:
        """Play one point, in a first turn or in a follow-up; another message then shows that the conversation goes on.

        After a follow-up that is the next point's message.
        """
        problems = await self._turn(turn, point)
        reached, seconds = self.system.trap.sprung.is_set(), self._seconds
        assert self._going
        runs = [run for run in await self.system.journal.runs(self._going) if self._asked in run.run.serves]
        if turn == FIRST and not problems:
            problems = await self._turn(FOLLOW_UP, None)
        if turn == FIRST or problems:
            self._going = None
        return Outcome(point, reached, seconds, len(runs), tuple(problems))

    async def end(self) -> None:
        """Nothing came late, and who was in a conversation is answered there again."""
        if self._going:
            assert await self._turn(FOLLOW_UP, None) == []
        for conversation in self.conversations:
            assert await self.problems(conversation) == []

    async def _turn(self, turn: str, point: Point | None) -> list[str]:
        """Say something, with a crash at `point`; waits until all is well and returns what is not."""
        if turn == FIRST:
            self._going = None
        elif self._going is None:
            assert (problems := await self._turn(FIRST, None)) == [], problems
        system = self.system
        system.trap.set(point, self.dispatcher)
        if self._going is None:
            user = system.add_person(f"U{len(self.conversations):09d}", f"person-{len(self.conversations)}")
            self._going, self._asked = await system.say(FIRST, user=user)
            self.conversations[self._going] = []
        else:
            _, self._asked = await system.say(FOLLOW_UP, thread=self._going, mention=False)
        self.conversations[self._going].append(self._asked)
        well = asyncio.create_task(self._well(self._going))
        sprung = asyncio.create_task(system.trap.sprung.wait())
        try:
            await asyncio.wait([well, sprung], return_when=asyncio.FIRST_COMPLETED)
            began = time.monotonic()
            if sprung.done():
                await self.dispatcher.wait()
                await self.start()
            problems = await well
            self._seconds = time.monotonic() - began
            return problems
        finally:
            sprung.cancel()
            await asyncio.wait([sprung])

    async def _well(self, conversation: Conversation) -> list[str]:
        """Wait until all is well with a conversation; what is not, at the deadline."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while problems := await self.problems(conversation):
            if time.monotonic() > deadline:
                return problems
            await asyncio.sleep(0.2)
        return []

    async def problems(self, conversation: Conversation) -> list[str]:
        """What is not well with a conversation, seen from outside: Slack, the journal, GitHub, the processes."""
        system, identities = self.system, self.conversations[conversation]
        found = []
        if left := await system.journal.pending_in(conversation):
            found.append(f"markers are left: {left}")
        turns = {
            files.k: await system.journal.turn(conversation, files.k)
            for files in await system.journal.turn_files(conversation)
            if files.written
        }
        if [turn.answers for turn in turns.values() if turn] != [[identity] for identity in identities]:
            found.append(f"turns answer {[turn.answers for turn in turns.values() if turn]}, asked was {identities}")
        answers = [k for _, k in system.answers(conversation)]
        if answers != list(turns) or len(answers) != len(identities):
            found.append(f"answers of turns {answers} are in the thread, {list(turns)} are written")
        for k, turn in turns.items():
            if await system.journal.posted(conversation, k) is None:
                found.append(f"turn {k} has no receipt")
            if turn and turn.status != "done":
                found.append(f"turn {k} is {turn.status}: {turn.text[:200]}")
            card = await system.journal.card(conversation, k)
            shown = str(system.slack.message(card.channel, card.ts)["blocks"]) if card else ""
            if "'title': 'Worked for" not in shown and "'title': 'Done'" not in shown:
                found.append(f"the card of turn {k} does not show its end")
        found += [
            f"{identity} has the reactions {sorted(names)}"
            for identity in identities
            if (names := system.reactions(conversation, identity)) != {"white_check_mark"}
        ]
        if len(cards := system.cards(conversation)) != len(turns):
            found.append(f"{len(cards)} cards for {len(turns)} turns")
        newest = await system.journal.newest_run(conversation)
        # A run that died with its dispatcher after its last turn is closed when somebody writes again.
        if newest is None or (newest.closed is None and not system.trap.sprung.is_set()):
            found.append(f"run {newest.n if newest else 0} is not closed")
        return found or await self._work(conversation)

    async def _work(self, conversation: Conversation) -> list[str]:
        """What is not well with the work, and what still runs."""
        found = []
        begun = await self.system.journal.conversation(conversation)
        assert begun
        pulls = await self.system.github.pull_requests(begun.repository)
        heads = [pull["head"]["ref"] for pull in pulls]
        if heads.count(begun.branch) != 1:
            found.append(f"pull requests of {heads}")
        path = self.system.github.repository_path(begun.repository)
        shown = await asyncio.to_thread(
            subprocess.run, ["git", "-C", str(path), "show", f"{begun.branch}:primes.py"], capture_output=True
        )
        if shown.returncode:
            found.append("primes.py is not on the branch")
        if pids := self.system.worker_pids():
            found.append(f"workers still run: {pids}")
        return found


@pytest.mark.parametrize("turn", [FIRST, FOLLOW_UP], ids=["first", "follow-up"])
async def test_a_crash_before_and_after_each_write_of_a_turn_ends_well(lanes: list[Lane], turn: str) -> None:
    logs.configure("WARNING")  # the table is what one reads
    began = time.monotonic()
    await asyncio.gather(*(lane.start() for lane in lanes))
    writes = await lanes[0].writes(turn)
    points = [Point(write, side) for write in writes for side in ("before", "after")]
    waiting = deque((point, 1) for point in points)
    outcomes: dict[Point, Outcome] = {}

    async def play(lane: Lane) -> None:
        while waiting:
            point, tries = waiting.popleft()
            outcome = await lane.play(turn, point)
            _tell(f"{point}: {outcome}")
            if not outcome.reached and not outcome.problems and tries < TRIES:
                waiting.append((point, tries + 1))
            else:
                outcomes[point] = outcome
        await lane.end()

    await asyncio.gather(*(play(lane) for lane in lanes))
    _tell(f"\n{turn}: {len(outcomes)} points in {time.monotonic() - began:.0f} s\n")
    _tell("| write | before | after |\n|---|---|---|")
    for write in writes:
        _tell(f"| {write} | {outcomes[Point(write, 'before')]} | {outcomes[Point(write, 'after')]} |")

    assert set(outcomes) == set(points)
    assert [f"{point}: {outcome}" for point, outcome in outcomes.items() if outcome.problems] == []
    assert [point for point, outcome in outcomes.items() if not outcome.reached and _must_come(point.write)] == []


def _tell(line: str) -> None:
    """What `make crashes` shows while it goes on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _must_come(write: Write) -> bool:
    """How many edits of a card and parts of a transcript there are depends on how fast the machine is."""
    return write.number == 1 or write.what not in ("chat.update (card)", "create sessions/…/part")
