"""A lane: one system that plays one crash point after the other. Its dispatcher is started again whenever it ended."""

import asyncio
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from crash_points import CrashSystem, Point, Strike, Trap, Write
from crash_scenarios import FIRST_TURN, FOLLOW_UP, FOLLOWING_TURN, Began, Ending, Scenario
from system import START_SECONDS, eventually, full_text

from peerbot.conversation.deadlines import REPOST_AFTER
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_kind, undone_branch
from peerbot.journal import paths
from peerbot.journal.open import open_storage
from peerbot.journal.pulls import all_watched
from peerbot.thread.present import CARD_EVENT
from peerbot.thread.questions import QUESTION_EVENT

SETTLED_SECONDS = 180.0
"""From a crash until all is well again, on a busy machine."""

CONVERSATIONS = 12
"""The number of points that one system plays."""


@dataclass(frozen=True)
class Outcome:
    """The result of a point. `problems`: all that was not well at the deadline; empty if it ended well."""

    reached: bool
    seconds: float  # from the last crash until all was well
    runs: int  # that worked on the turn
    problems: tuple[str, ...]

    def __str__(self) -> str:
        if self.problems:
            return "; ".join(self.problems)
        return f"{self.seconds:.0f} s" if self.reached else "–"


class Lane:
    """Conversations with a crash each, one after the other. An async context manager."""

    def __init__(self, directory: Path, *, google: str, bucket: str) -> None:
        self.trap = Trap(self._end)
        self.late: list[str] = []  # not well any more when we looked again
        self.system: CrashSystem
        self._directory, self._google, self._bucket = directory, google, bucket
        self._opened = 0
        self._settings: dict[str, str] = {}
        self._dispatcher: asyncio.subprocess.Process | None = None
        self._up = False
        self._wanted = asyncio.Event()  # a dispatcher should be running
        self._real_wait = False
        self._struck_at = 0.0
        self._people = 0
        self._asked: dict[Conversation, list[tuple[str, Ending]]] = {}
        self.going: Conversation | None = None  # a thread that a follow-up may go into

    async def __aenter__(self) -> Self:
        await self._open()
        self._keeper = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        await self._close()

    async def _open(self) -> None:
        """Begin a system: a start of its dispatcher looks at every conversation of the last hours."""
        self._opened += 1
        store = f"gs://{self._bucket}/{self._opened}"
        directory = self._directory / str(self._opened)
        directory.mkdir(parents=True)
        self._storage = await open_storage(store)
        self.system = CrashSystem(directory, self.trap, google=self._google, store=store)
        await self.system.__aenter__()
        self._people, self._asked, self.going = 0, {}, None

    async def _close(self) -> None:
        await self.system.__aexit__()
        await self._storage.close()

    async def writes(self, scenario: Scenario) -> list[Write]:
        """Play it without a crash of its own; returns its writes after the last fault that it begins with."""
        assert (problems := (await self.play(scenario, None)).problems) == (), problems
        return list(self.trap.writes)

    async def play(self, scenario: Scenario, point: Point | None, *, real_wait: bool = False) -> Outcome:
        """Play a scenario with a crash at `point`. `real_wait`: wait for a real minute, and make nothing older."""
        if self._people >= CONVERSATIONS and scenario is not FOLLOWING_TURN:
            await self.end()
            await self._down()
            await self._close()
            await self._open()
        if scenario.settings != self._settings or scenario.planted:
            await self._down()
            self._settings = dict(scenario.settings)
        if not scenario.planted:
            await self._start()
        self._real_wait = real_wait
        plan = [*scenario.first, *([Strike(point)] if point else [])]
        self._struck_at = time.monotonic()
        if scenario is FOLLOWING_TURN:
            assert self.going
            self.trap.set(plan)
            _, identity = await self.system.say(FOLLOW_UP, thread=self.going, mention=False)
            began = Began(self.going, identity)
        else:
            self._people += 1
            user = self.system.add_person(f"U{self._people:09d}", f"person-{self._people}")
            self.trap.set([] if scenario.later else plan)
            began = await scenario.begin(self.system, self._storage, user)
            self.going = began.conversation if scenario is FIRST_TURN else None
        asked = self._asked.setdefault(began.conversation, [])
        if began.identity:
            asked.append((began.identity, scenario.ending))
        if scenario.later:
            self.trap.set(plan)
            await scenario.later(self.system, began.conversation)
        if scenario.after:
            asked.append(("", scenario.after))
        acting = asyncio.create_task(scenario.then(self.system, began.conversation, user)) if scenario.then else None
        await self._start()
        problems = await self._well(began.conversation)
        if acting:
            acting.cancel()
            await asyncio.wait([acting])
        if problems:
            self.going = None
        runs = [run for run in await self.system.journal.runs(began.conversation) if began.identity in run.run.serves]
        return Outcome(self.trap.is_sprung, time.monotonic() - self._struck_at, len(runs), tuple(problems))

    async def end(self) -> None:
        """Look at all conversations once more: nothing came late."""
        self.trap.set([])
        await self._start()
        for conversation in self._asked:
            self.late += await self.problems(conversation)

    # The dispatcher

    async def _start(self) -> None:
        self._wanted.set()
        await eventually(lambda: self._up or self._keeper.done(), 3 * START_SECONDS)
        if self._keeper.done():
            self._keeper.result()

    async def _down(self) -> None:
        """End the dispatcher as a deployment does."""
        self._wanted.clear()
        if self._dispatcher and self._dispatcher.returncode is None:
            self._up = False
            await self.system.end(self._dispatcher)

    async def _keep_up(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                self._dispatcher = await self.system.start(**self._settings)
            except TimeoutError:  # the machine is too busy; an operator starts it again
                if (late := self.system.dispatchers[-1]).returncode is None:
                    late.kill()
                    await late.wait()
                continue
            self._up = True
            await self._dispatcher.wait()
            self._up = False
            if self._wanted.is_set() and not self._real_wait:
                await self._a_minute_later()

    async def _end(self, strike: Strike) -> None:
        """End the writer, and return when it is dead. If it is only asked to end, do not wait."""
        self._struck_at = time.monotonic()
        if strike.worker:
            [pid] = self.system.supervisors()
            os.kill(pid, strike.sent)
            await eventually(lambda: pid not in self.system.supervisors())
            return
        assert self._dispatcher
        self._up = False
        self._dispatcher.send_signal(strike.sent)
        if strike.sent is signal.SIGKILL:
            await self._dispatcher.wait()

    async def _a_minute_later(self) -> None:
        """Make unposted answers a minute older while no dispatcher is there, instead of waiting for the minute."""
        conversation = list(self._asked)[-1]
        for files in await self.system.journal.turn_files(conversation):
            if not files.posted:
                await self._older(paths.turn_document(conversation, files.k), "ended_at")
                for claim in range(1, files.claims + 1):
                    await self._older(paths.turn_document(conversation, files.k, f"repost-{claim}"), "claimed_at")

    async def _older(self, key: str, name: str) -> None:
        if (data := await self._storage.get(key)) is None:
            return
        document = json.loads(data)
        document[name] = (datetime.fromisoformat(document[name]) - REPOST_AFTER - timedelta(seconds=1)).isoformat()
        await self._storage.delete(key)
        assert await self._storage.put_if_absent(key, json.dumps(document).encode())

    # How it ended

    async def _well(self, conversation: Conversation) -> list[str]:
        """Wait until all is well with a conversation; returns the problems that there are at the deadline."""
        while problems := await self.problems(conversation):
            if time.monotonic() > self._struck_at + SETTLED_SECONDS:
                return problems
            await asyncio.sleep(0.2)
        return []

    async def problems(self, conversation: Conversation) -> list[str]:
        """List the problems of a conversation, seen from outside: Slack, the journal, GitHub, the processes."""
        system, asked = self.system, self._asked[conversation]
        found = [] if self._up else ["no dispatcher is there"]
        if left := [
            i for i in await system.journal.pending_in(conversation) if not await self._never_came(conversation, i)
        ]:
            found.append(f"markers are left: {left}")
        turns = {
            files.k: turn
            for files in await system.journal.turn_files(conversation)
            if files.written and (turn := await system.journal.turn(conversation, files.k))
        }
        if len(turns) != len(asked) or not all(
            _names(turn, *each) for turn, each in zip(turns.values(), asked, strict=True)
        ):
            found.append(f"turns answer {[turn.inputs for turn in turns.values()]}, asked was {asked}")
            return found
        found += self._answers(conversation, list(turns))
        for turn, (identity, ending) in zip(turns.values(), asked, strict=True):
            found += await self._turn(conversation, turn, identity, ending)
        found += self._questions(conversation)
        newest = await system.journal.newest_run(conversation)
        if newest and newest.closed is None:
            found.append(f"run {newest.n} is not closed")
        if pids := system.worker_pids():
            found.append(f"workers still run: {pids}")
        return found or [*await self._work(conversation), *await self._shown(conversation)]

    async def _never_came(self, conversation: Conversation, identity: str) -> bool:
        """Whether a marker is of a press whose writer died before its input. Slack showed an error; sweeps mend it."""
        pressed = input_kind(identity) in ("answer", "choice")
        return pressed and await self.system.journal.input(conversation, identity) is None

    def _answers(self, conversation: Conversation, turns: list[int]) -> list[str]:
        """Every part of every answer is in the thread once, in order, and its file after it."""
        expected = []
        for k, (_, ending) in zip(turns, self._asked[conversation], strict=True):
            expected += [(k, part) for part in range(1, ending.messages + 1)]
            expected += [(k, 0)] * ending.files
        there = []
        for message in self.system.slack.thread(conversation.channel, conversation.thread_ts):
            if message.get("files"):
                there += [(int(file["name"].split("-")[2]), 0) for file in message["files"]]
            elif (metadata := message.get("metadata") or {}).get("event_type") == "peerbot_turn":
                there.append((metadata["event_payload"]["turn"], metadata["event_payload"]["part"]))
        return [] if there == expected else [f"in the thread are the parts {there}, not {expected}"]

    async def _turn(self, conversation: Conversation, turn: Turn, identity: str, ending: Ending) -> list[str]:
        found, journal = [], self.system.journal
        if await journal.posted(conversation, turn.k) is None:
            found.append(f"turn {turn.k} has no receipt")
        if turn.status != ending.status or ending.says not in full_text(turn) or (turn.run is not None) != ending.run:
            found.append(f"turn {turn.k} of run {turn.run} is {turn.status}: {full_text(turn)[:200]}")
        cards = [
            message
            for message in self.system.cards(conversation)
            if (metadata := message.get("metadata") or {}).get("event_type") == CARD_EVENT
            and metadata["event_payload"]["turn"] == turn.k
        ]
        titles = [card["blocks"][0].get("title", "") for card in cards]
        ended = [title.startswith(("Worked for", "Done", "Ended without")) for title in titles]
        if not all(ended) or len(ended) > 1 or (ending.run and not ended):
            found.append(f"the cards of turn {turn.k} show {titles}")
        wanted = {"white_check_mark" if ending.status == "done" else "warning"}
        if identity and (names := self.system.reactions(conversation, identity)) != wanted:
            found.append(f"{identity} has the reactions {sorted(names)}")
        return found

    async def _shown(self, conversation: Conversation) -> list[str]:
        """List the problems of what answers show of their pull requests."""
        found = []
        for message, k in self.system.answers(conversation):
            shows = self._asked[conversation][k - 1][1].shows
            if shows not in message["text"]:
                found.append(f"the answer of turn {k} does not show {shows!r}: {message['text'][-300:]}")
            if shows and (left := await all_watched(self.system.journal, conversation)):
                found.append(f"still watched: {left}")
        return found

    def _questions(self, conversation: Conversation) -> list[str]:
        """What the agent asked is in the thread once, and shows what somebody answered."""
        thread = self.system.slack.thread(conversation.channel, conversation.thread_ts)
        there = [m for m in thread if (m.get("metadata") or {}).get("event_type") == QUESTION_EVENT]
        expected = sum(ending.asks for _, ending in self._asked[conversation])
        found = [] if len(there) == expected else [f"the agent asks {len(there)} times, not {expected}"]
        if [m for m in there if "Chosen by" not in str(m["blocks"]) or '"actions"' in json.dumps(m["blocks"])]:
            found.append("a question does not show its answer")
        return found

    async def _work(self, conversation: Conversation) -> list[str]:
        """List the problems of the work on GitHub."""
        if any(ending.chosen for _, ending in self._asked[conversation]):
            return await self._undone(conversation)
        wanted = {ending.file for _, ending in self._asked[conversation] if ending.file}
        if not wanted:
            return []
        begun = await self.system.journal.conversation(conversation)
        assert begun
        heads = [pull["head"]["ref"] for pull in await self.system.github.pull_requests(begun.repository)]
        found = [] if heads.count(begun.branch) == 1 else [f"pull requests of {heads}"]
        path = self.system.github.repository_path(begun.repository)
        for file in sorted(wanted):
            command = ["git", "-C", str(path), "show", f"{begun.branch}:{file}"]
            if (await asyncio.to_thread(subprocess.run, command, capture_output=True)).returncode:
                found.append(f"{file} is not on the branch")
        return found

    async def _undone(self, conversation: Conversation) -> list[str]:
        """The branch is as it was before the turn, and another has what was there."""
        turn = await self.system.journal.turn(conversation, 1)
        assert turn
        assert turn.branch
        path = self.system.github.repository_path(turn.repository or "")
        found = []
        for branch, wanted in ((turn.branch, turn.before), (undone_branch(turn.branch, 1), turn.commit)):
            command = ["git", "-C", str(path), "rev-parse", f"refs/heads/{branch}"]
            there = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
            if there.stdout.strip() != wanted:
                found.append(f"{branch} is at {there.stdout.strip()}, not at {wanted}")
        return found


def _names(turn: Turn, identity: str, ending: Ending) -> bool:
    """Whether a turn answers what it should, once."""
    kinds = [input_kind(each) for each in turn.inputs]
    if ending.chosen:
        return kinds == ["choice"]
    return turn.inputs[:1] == [identity] and kinds[1:] == ["answer"] * ending.asks
