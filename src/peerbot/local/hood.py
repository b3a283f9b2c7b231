"""Under the hood of a thread: the way of each message, as the journal has it, and what the gateway passed on for it."""

import json
import logging
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import Any

from peerbot.conversation.documents import Card, Input, Posted, Turn
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.journal import paths
from peerbot.journal.journal import Journal, RunRecord
from peerbot.local.world import World

MOST_OBJECTS = 200
MOST_BYTES = 64 * 1024
MOST_EXCHANGES = 300
"""So many requests of a thread are remembered …"""
MOST_THREADS = 100
"""… of so many threads."""

Object = dict[str, Any]


class Traffic(logging.Handler):
    """Remembers what the gateway passed on for each thread, from its log: requests to the model, and git's."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[str, deque[Object]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the log."""
        said = record.msg
        if not isinstance(said, dict) or not (conversation := said.get("conversation")):
            return
        match said.get("event"):
            case "model_replied":
                words = f"{said['model']}: {said['path']}"
            case "git_relayed":
                words = f"push {', '.join(said['refs'])}" if said["push"] else "fetch"
            case _:
                return
        seen = self._seen.setdefault(conversation, deque(maxlen=MOST_EXCHANGES))
        self._seen.move_to_end(conversation)
        if len(self._seen) > MOST_THREADS:
            self._seen.popitem(last=False)
        seen.append(
            {
                "what": "model" if said["event"] == "model_replied" else "git",
                "at": round(record.created * 1000),
                "words": words,
                "run": said.get("run"),
                "http": said["status"],
                "sent": said["sent_bytes"],
                "received": said.get("received_bytes"),
                "seconds": said.get("seconds"),
            }
        )

    def of(self, conversation: Conversation) -> list[Object]:
        """List what was passed on for a conversation since this start, oldest first."""
        return list(self._seen.get(str(conversation), ()))


class Hood:
    """Looks into the journal of a world, and listens to its gateway until it is closed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._traffic = Traffic()
        logging.getLogger("peerbot").addHandler(self._traffic)

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        logging.getLogger("peerbot").removeHandler(self._traffic)

    async def look(self, channel: str, thread_ts: str) -> Object:
        """Return the turns of a thread with their steps and times, its requests, and the journal's documents of it."""
        conversation = Conversation(self._world.slack.team, channel, thread_ts)
        journal = self._world.journal
        names = [key async for key in journal.keys(paths.folder(conversation))][:MOST_OBJECTS]
        inputs = [name.rpartition("/")[2].removesuffix(".json") for name in names if "/inputs/" in name]
        numbers = await journal.turn_numbers(conversation)
        turns = [turn for turn in [await journal.turn(conversation, k) for k in numbers] if turn]
        runs = await journal.runs(conversation)
        answered = {identity for turn in turns for identity in turn.inputs}
        shown = [await self._turn(conversation, turn, runs) for turn in turns]
        waiting = [await journal.input(conversation, identity) for identity in inputs if identity not in answered]
        following = max(numbers, default=0) + 1
        shown += [await self._waiting(conversation, said, following, runs) for said in waiting if said]
        return {
            "turns": shown,
            "exchanges": self._traffic.of(conversation),
            "documents": [await _document(journal, conversation, name) for name in names],
        }

    async def _turn(self, conversation: Conversation, turn: Turn, runs: list[RunRecord]) -> Object:
        journal = self._world.journal
        said = await journal.input(conversation, turn.inputs[0]) if turn.inputs else None
        posted = await journal.posted(conversation, turn.k)
        card = await journal.card(conversation, turn.k)
        ours = [run for run in runs if run.n == turn.run or set(run.run.serves) & set(turn.inputs)]
        times = turn.times
        work = [("The repository is cloned", times.cloned), ("The first request to the model", times.first_request)]
        kept = [("The branch is pushed", times.pushed), (_kept(turn), turn.ended_at)]
        watched = [_watched(run) for run in ours]
        if turn.pull_request:
            watched.append((f"Pull request #{turn.pull_request.number}, until it is merged or closed", None))
        steps = [
            *_received(said),
            *_placed(ours, [each for each in work if each[1]]),
            _presented(card),
            _step("keep", *[each for each in kept if each[1]]),
            _answered(posted),
            _step("watch", *watched),
        ]
        return {"n": turn.k, "heading": f"Turn {turn.k}: {turn.status.value}", "steps": steps}

    async def _waiting(self, conversation: Conversation, said: Input, turn: int, runs: list[RunRecord]) -> Object:
        card = await self._world.journal.card(conversation, turn)
        ours = [run for run in runs if said.id in run.run.serves] or runs[-1:]
        steps = [*_received(said), *_placed(ours, []), _presented(card), _step("keep"), _step("answer")]
        return {"n": said.id, "heading": "At work", "steps": [*steps, _step("watch", *map(_watched, ours))]}


Event = tuple[str, datetime | None]


def _step(name: str, *events: Event) -> Object:
    """A step of the way, with what happened in it; without that it is still to come."""
    told = [{"words": words, "at": round(at.timestamp() * 1000) if at else None} for words, at in events]
    return {"step": name, "events": told}


def _received(said: Input | None) -> list[Object]:
    if said is None:
        return []
    recorded = _step("record", (f"{said.id} is in the journal, and Slack is told", said.received_at))
    return [_step("receive", (f"{said.kind} by {said.user}", _slack_time(said.ts))), recorded]


def _placed(runs: list[RunRecord], work: list[Event]) -> list[Object]:
    placed = [(f"Run {run.n}, reserved by {run.run.reserved_by}", run.run.reserved_at) for run in runs]
    called = [(f"The worker of run {run.n} has called", run.started.started_at) for run in runs if run.started]
    return [_step("place", *placed), _step("work", *called, *work)]


def _presented(card: Card | None) -> Object:
    return _step("present", ("Progress, in one message", _slack_time(card.ts))) if card else _step("present")


def _watched(run: RunRecord) -> Event:
    if run.closed is None:
        return f"Run {run.n} is watched", None
    because = f": {run.closed.said}" if run.closed.said and run.closed.reason is not RunEnd.FINISHED else ""
    return f"Run {run.n} ended ({run.closed.reason.value}){because}", run.closed.closed_at


def _slack_time(ts: str) -> datetime:
    return datetime.fromtimestamp(float(ts), UTC)


def _kept(turn: Turn) -> str:
    parts = [f"commit {turn.commit[:7]} on {turn.branch}"] if turn.commit else ["nothing to push"]
    parts += ["session saved"] if turn.session else []
    parts += [f"${turn.cost_usd:.2f}"] if turn.cost_usd else []
    return ", ".join(parts)


def _answered(posted: Posted | None) -> Object:
    if posted is None:
        return _step("answer")
    return _step("answer", ("in Slack, with its receipt", posted.posted_at))


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
