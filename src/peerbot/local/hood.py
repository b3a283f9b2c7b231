"""Under the hood of a thread: the way of each message, as the journal has it, and what one may break."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from peerbot.conversation.documents import Input, Posted, RunStarted, Turn
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.local.slack import Fault
from peerbot.local.world import World

MOST_OBJECTS = 200
MOST_BYTES = 64 * 1024
AWAY_SECONDS = 15.0

Object = dict[str, Any]


class Hood:
    """Looks into the journal of a world, and breaks parts of it on purpose."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store_away: asyncio.Task[None] | None = None

    async def look(self, channel: str, thread_ts: str) -> Object:
        """Return the turns of a thread with their steps and times, and the journal's documents about it."""
        conversation = Conversation(self._world.slack.team, channel, thread_ts)
        journal = self._world.journal
        names = [key async for key in journal.keys(paths.folder(conversation))][:MOST_OBJECTS]
        inputs = [name.rpartition("/")[2].removesuffix(".json") for name in names if "/inputs/" in name]
        turns = [
            turn
            for turn in [await journal.turn(conversation, k) for k in await journal.turn_numbers(conversation)]
            if turn
        ]
        answered = {identity for turn in turns for identity in turn.inputs}
        shown = [await self._turn(conversation, turn) for turn in turns]
        waiting = [await journal.input(conversation, identity) for identity in inputs if identity not in answered]
        shown += [await self._waiting(conversation, said) for said in waiting if said]
        return {"turns": shown, "documents": [await _document(journal, conversation, name) for name in names]}

    async def _turn(self, conversation: Conversation, turn: Turn) -> Object:
        journal = self._world.journal
        said = await journal.input(conversation, turn.inputs[0]) if turn.inputs else None
        posted = await journal.posted(conversation, turn.k)
        card = await journal.card(conversation, turn.k)
        steps = [*_received(said), *await self._run(conversation, turn.run)]
        steps.append(_step("present", "Progress in one message" if card else "No progress was shown", None, bool(card)))
        steps.append(_step("keep", _kept(turn), turn.ended_at))
        steps.append(_answered(posted))
        if turn.pull_request:
            steps.append(_step("watch", f"Pull request #{turn.pull_request.number}", None, True))
        return {"n": turn.k, "heading": f"Turn {turn.k}: {turn.status.value}", "steps": steps}

    async def _waiting(self, conversation: Conversation, said: Input) -> Object:
        newest = await self._world.journal.newest_run(conversation)
        steps = [*_received(said), *await self._run(conversation, newest.run.n if newest else None)]
        steps += [_step(name, "to come", None, False) for name in ("present", "keep", "answer")]
        return {"n": said.id, "heading": "At work", "steps": steps}

    async def _run(self, conversation: Conversation, number: int | None) -> list[Object]:
        if number is None:
            return [_step("place", "No run: the dispatcher itself answers", None, True)]
        record = await self._world.journal.run(conversation, number)
        if record is None:
            return [_step("place", "to come", None, False)]
        started: RunStarted | None = record.started
        placed = _step("place", f"Run {number}, reserved by {record.run.reserved_by}", record.run.reserved_at)
        if started is None:
            return [placed, _step("work", "The worker has not called yet", None, False)]
        return [placed, _step("work", "The worker has called", started.started_at)]

    # Trouble

    def troubles(self) -> dict[str, tuple[str, str, Callable[[], Awaitable[str]]]]:
        """What one may break: by name its title, what it does, and the doing."""
        return {
            "twice": ("Deliver twice", "Slack sends every event twice, until you press it again.", self._twice),
            "slow": ("Delay", "Slack takes 5 s for each of its next 5 calls.", self._slow),
            "limited": ("429", "Slack refuses its next 5 calls, and says to wait a second.", self._limited),
            "lost": ("Drop after taking", "Slack does what its next call asks, and the reply is lost.", self._lost),
            "worker": ("Kill the worker", "Every worker is killed in the middle of its work.", self._kill),
            "dispatcher": ("Cut the dispatcher off", "All of its connections to Slack break.", self._cut),
            "store": ("Store away", f"The journal can't be reached for {AWAY_SECONDS:.0f} s.", self._no_store),
            "github": ("GitHub away", "GitHub answers its next 10 requests with 503.", self._no_github),
        }

    async def close(self) -> None:
        """Put back what is away."""
        if self._store_away:
            self._store_away.cancel()
            await asyncio.wait([self._store_away])

    async def _twice(self) -> str:
        faults = self._world.slack.faults
        faults.duplicate_events = not faults.duplicate_events
        return "Every event comes twice now." if faults.duplicate_events else "Every event comes once again."

    async def _slow(self) -> str:
        self._world.slack.faults.add("*", Fault(delay_seconds=5), times=5)
        return "Slack's next 5 calls take 5 s each."

    async def _limited(self) -> str:
        self._world.slack.faults.add("*", Fault(status=429, retry_after_seconds=1), times=5)
        return "Slack's next 5 calls are refused with 429."

    async def _lost(self) -> str:
        self._world.slack.faults.add("*", Fault(lost=True))
        return "The reply to Slack's next call is lost."

    async def _kill(self) -> str:
        killed = 0
        for pid in _workers():
            try:
                os.killpg(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                continue
        return f"Killed {killed} {'worker' if killed == 1 else 'workers'}." if killed else "No worker is at work."

    async def _cut(self) -> str:
        self._world.slack.drop_sockets()
        return "The dispatcher's connections are cut. It connects again, and catches up."

    async def _no_store(self) -> str:
        if self._store_away and not self._store_away.done():
            return "The journal is away already."
        self._store_away = asyncio.create_task(self._take_away(self._world.directory / "journal"))
        return f"The journal is away for {AWAY_SECONDS:.0f} s."

    async def _take_away(self, journal: Path) -> None:
        away = journal.with_name("journal-away")
        os.rename(journal, away)  # noqa: PTH104 (one step, which does not block)
        try:
            await asyncio.sleep(AWAY_SECONDS)
        finally:
            os.rename(away, journal)  # noqa: PTH104

    async def _no_github(self) -> str:
        self._world.github.faults.add(".", count=10, status=503)
        return "GitHub answers its next 10 requests with 503."


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


def _step(name: str, words: str, at: datetime | None, done: bool = True) -> Object:
    milliseconds = round(at.timestamp() * 1000) if at else None
    return {"step": name, "words": words, "at": milliseconds, "reached": done}


def _received(said: Input | None) -> list[Object]:
    if said is None:
        return []
    sent = datetime.fromtimestamp(float(said.ts), tz=said.received_at.tzinfo)
    recorded = _step("record", f"{said.id} is in the journal, and Slack is told", said.received_at)
    return [_step("receive", f"{said.kind} by {said.user}", sent), recorded]


def _kept(turn: Turn) -> str:
    parts = [f"commit {turn.commit[:7]} on {turn.branch}"] if turn.commit else ["nothing to push"]
    parts += ["session saved"] if turn.session else []
    parts += [f"${turn.cost_usd:.2f}"] if turn.cost_usd else []
    return ", ".join(parts)


def _answered(posted: Posted | None) -> Object:
    if posted is None:
        return _step("answer", "to come", None, False)
    return _step("answer", "in Slack, with its receipt", posted.posted_at)


async def _document(journal: Journal, conversation: Conversation, name: str) -> Object:
    short = name.removeprefix(paths.folder(conversation))
    try:
        data = await journal.get(name)
    except PeerBotError as error:
        return {"path": short, "content": str(error)}
    if data is None:
        return {"path": short, "content": "It is gone."}
    try:
        document = json.loads(data)
    except ValueError:
        return {"path": short, "content": f"{len(data)} bytes that are no JSON."}
    for secret in ("secret_hash", "supervisor_hash", "agent_hash"):
        if isinstance(document, dict) and secret in document:
            document[secret] = "…"
    return {"path": short, "content": json.dumps(document, indent=2, ensure_ascii=False)[:MOST_BYTES]}
