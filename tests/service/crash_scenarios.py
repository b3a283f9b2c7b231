"""The crash scenarios: how each begins, what has gone wrong in it before, and how it has to end.

Most scenarios crash at writes of their own way. If a process is ended `first`, they crash at writes of the recovery, so
that is the second crash.
"""

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from crash_points import CHECKPOINT, GATEWAY, STATE, Point, Strike, Write
from system import ANSWER_SECONDS, System, eventually

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Input, Marker, Started, Turn, TurnStatus, now
from peerbot.conversation.keys import AUTHOR, Conversation
from peerbot.journal import paths
from peerbot.journal.storage import Storage
from peerbot.local.slack import NotOk
from peerbot.slack.controls import CHOICE
from peerbot.slack.questions import ANSWER

Status = Literal["done", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How one message ends. `answers`: its turn; none if nothing is left to answer. `file`: it is on the branch.

    `shows`: what its answer says of its pull request.
    """

    status: Status = "done"
    says: str = ""
    run: bool = True  # whether a run answered it
    messages: int = 1
    files: int = 0  # shared with the answer
    file: str = ""
    shows: str = ""
    asks: bool = False  # the agent asks, and somebody answers
    chosen: bool = False  # it is no message but a choice below the answer before


@dataclass(frozen=True, slots=True)
class Began:
    """A conversation, and its message that needs an answer; none if the message is gone."""

    conversation: Conversation
    identity: str | None


Begin = Callable[[System, Storage, str], Awaitable[Began]]
"""Lets a person (a user id) write something. `Storage` is the journal's, for objects that are there before."""


Then = Callable[[System, Conversation, str], Coroutine[Any, Any, None]]
"""Lets a person press something as soon as they see it."""


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """`planted`: it begins while no dispatcher is there. `settings`: of its dispatchers.

    `then`: what somebody does meanwhile. `after`: how that ends, if it has a turn of its own. `later`: what happens
    once it has begun; only the writes from there on are crashed.
    """

    name: str
    begin: Begin
    ending: Ending
    first: tuple[Strike, ...] = ()
    planted: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    then: Then | None = None
    after: Ending | None = None
    later: Callable[[System, Conversation], Awaitable[None]] | None = None

    def __str__(self) -> str:
        return self.name


PRIMES = "Create a simple Python script that prints the first ten primes, and run it"
FOLLOW_UP = "what is in this repository?"
LONG = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(200))  # three messages and a file
WORK = """run ```
python3 - <<'END'
import pathlib, time

def write(name, text, seconds):
    new = pathlib.Path('.git/half')
    new.write_text(text)
    new.rename(name)  # whole, whenever a checkpoint looks
    time.sleep(seconds)

file = pathlib.Path('half.txt')
if file.exists():
    print('went on with', file.read_text())
    write('second.txt', 'the second half', 2)
    write('third.txt', 'and more', 2)
else:
    write('half.txt', 'the first half', 40)
END
```"""
_WENT_ON = Ending(says="went on with the first half", file="half.txt")
_OFFERED = Ending("failed", "waited for more than 2 hours", run=False)
_SAVED = Point(Write(GATEWAY, CHECKPOINT), "after")
_SAVING = {"PEERBOT_CHECKPOINT_SECONDS": "0.3"}


def said(text: str, *, mention: bool = True) -> Begin:
    """Somebody begins a thread with these words."""

    async def begin(system: System, _storage: Storage, user: str) -> Began:
        return Began(*await system.say(text, user=user, mention=mention))

    return begin


def said_before(text: str, hours: float, *, left: Literal["", "marker", "all"] = "", gone: bool = False) -> Begin:
    """Write a message while nobody listens. `left`: the part that was recorded. `gone`: it was deleted since."""

    async def begin(system: System, storage: Storage, user: str) -> Began:
        text_sent = f"{system.slack.mention()} {text}".strip()
        ts = await system.slack.remember(user, system.slack.general, text_sent, seconds_ago=hours * 3600)
        conversation = Conversation(system.slack.team, system.slack.general, ts)
        item = _input(conversation, user, text_sent)
        if left == "marker":
            marker = Marker(recorded_at=now() - timedelta(minutes=11))
            await storage.put_if_absent(paths.marker(conversation, item.id), marker.model_dump_json().encode())
        elif left == "all":
            await system.journal.mark(item)
            await system.journal.record(item)
        if gone:
            await system.slack.delete(user, conversation.channel, ts)
        return Began(conversation, None if gone else item.id)

    return begin


async def answered_before(system: System, _storage: Storage, user: str) -> Began:
    """A long answer is written; its poster died over a minute ago, before it had posted anything."""
    ts = await system.slack.remember(user, system.slack.general, f"{system.slack.mention()} hello", seconds_ago=120)
    conversation = Conversation(system.slack.team, system.slack.general, ts)
    item = _input(conversation, user, "hello")
    await system.journal.mark(item)
    await system.journal.record(item)
    ended = now() - timedelta(seconds=61)
    turn = Turn(k=1, run=None, inputs=[item.id], status=TurnStatus.DONE, text=LONG, ended_at=ended)
    assert await system.journal.write_turn(conversation, turn)
    return Began(conversation, item.id)


async def shown_as_open(system: System, _storage: Storage, user: str) -> Began:
    """An answer shows how its pull request stands."""
    conversation, identity = await system.say(PRIMES, user=user)
    await eventually(lambda: "🟢 open" in str(system.answers(conversation)), 2 * ANSWER_SECONDS)
    async with asyncio.timeout(60):  # until the writes of its run are over
        while (run := await system.journal.newest_run(conversation)) is None or run.closed is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return Began(conversation, identity)


async def merge(system: System, conversation: Conversation) -> None:
    """Somebody merges the pull request of the first turn."""
    turn = await system.journal.turn(conversation, 1)
    assert turn
    assert turn.pull_request
    await system.github.merge(turn.repository or "", turn.pull_request.number)


def _input(conversation: Conversation, user: str, text: str) -> Input:
    ts = conversation.thread_ts
    return Input(
        team=conversation.team, channel=conversation.channel, thread_ts=ts, ts=ts, user=user, text=text, event_id="Ev1"
    )


async def worked_before(system: System, storage: Storage, user: str) -> Began:
    """A turn has put a commit on its branch; its poster died over a minute ago, before it had posted anything."""
    ts = await system.slack.remember(user, system.slack.general, f"{system.slack.mention()} hello", seconds_ago=120)
    conversation = Conversation(system.slack.team, system.slack.general, ts)
    repository, branch = f"somebody/{user.lower()}", f"refs/heads/{conversation.branch}"
    source = system.directory / "sources" / user
    source.mkdir(parents=True)
    _git(source, "init", "--quiet")
    _git(source, *_OURS, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    await system.github.import_repository(repository, source)
    path = system.github.repository_path(repository)
    before, tree = _git(path, "rev-parse", "HEAD"), _git(path, "rev-parse", "HEAD^{tree}")
    commit = _git(path, *_OURS, "commit-tree", tree, "-p", before, "-m", "Work")
    _git(path, "update-ref", branch, commit)
    default = _git(path, "symbolic-ref", "--short", "HEAD")
    item = _input(conversation, user, "hello")
    await system.journal.mark(item)
    await system.journal.record(item)
    begun = Started(began_by=user, repository=repository, default_branch=default, branch=conversation.branch)
    await storage.put_if_absent(paths.conversation_document(conversation), begun.model_dump_json().encode())
    turn = Turn(
        k=1, run=None, inputs=[item.id], status=TurnStatus.DONE, text="I did it.", repository=repository,
        branch=conversation.branch, before=before, commit=commit, ended_at=now() - timedelta(seconds=61),
    )  # fmt: skip
    assert await system.journal.write_turn(conversation, turn)
    return Began(conversation, item.id)


_OURS = ("-c", f"user.name={AUTHOR[0]}", "-c", f"user.email={AUTHOR[1]}")


def _git(path: Path, *arguments: str) -> str:
    return subprocess.run(("git", "-C", path, *arguments), check=True, text=True, capture_output=True).stdout.strip()


async def answers(system: System, conversation: Conversation, user: str) -> None:
    """Somebody presses the first button of what the agent asks."""
    await _presses(system, conversation, user, f"{ANSWER}_0")


async def undoes(system: System, conversation: Conversation, user: str) -> None:
    """Somebody presses Undo below the answer."""
    await _presses(system, conversation, user, f"{CHOICE}{Act.UNDO}")


async def _presses(system: System, conversation: Conversation, user: str, action: str) -> None:
    """Press as soon as a message has the button, and again while Slack shows an error: the dispatcher was ended."""
    while True:
        for message in system.slack.thread(conversation.channel, conversation.thread_ts):
            with suppress(LookupError, NotOk):
                await system.slack.press_shown(user, conversation.channel, message, action)
                return
        await asyncio.sleep(0.2)


def _ends_three_workers() -> tuple[Strike, ...]:
    return (Strike(Point(Write(GATEWAY, "start"), "after")),) * 3


FIRST_TURN = Scenario(
    "a first turn",
    said(PRIMES),
    Ending(file="primes.py"),
)
FOLLOWING_TURN = Scenario("a follow-up", said(FOLLOW_UP), Ending(file="primes.py"))  # in a conversation that exists

OTHERS = (
    Scenario("a worker killed in its turn", said(WORK), _WENT_ON, (Strike(_SAVED),), settings=_SAVING),
    Scenario(
        "a dispatcher drained in a turn",
        said(WORK),
        _WENT_ON,
        (Strike(Point(Write("journal", f"create {STATE}"), "after"), signal.SIGTERM),),
        settings=_SAVING,
    ),
    Scenario(
        "a poster killed",
        said("what can you do?"),
        Ending(says="That is not among my pieces"),
        (Strike(Point(Write("journal", "create turns/{n}.json"), "after")),),
    ),
    Scenario("a question", said("ask me which colour"), Ending(says="Red", asks=True), then=answers),
    Scenario(
        "an undo",
        worked_before,
        Ending(run=False),
        planted=True,
        then=undoes,
        after=Ending(says="undid turn 1", run=False, chosen=True),
    ),
    Scenario(
        "three workers killed", said("hello"), Ending("failed", "several times", run=False), _ends_three_workers()
    ),
    Scenario(
        "a pull request that somebody merges",
        shown_as_open,
        Ending(file="primes.py", shows="🔀 merged"),
        later=merge,
        settings={"PEERBOT_PULL_REQUEST_SECONDS": "0.5"},
    ),
    Scenario(
        "a long answer posted by another",
        answered_before,
        Ending(run=False, messages=3, files=1),
        planted=True,
    ),
    Scenario("help", said(""), Ending("refused", "Tell me what to do", run=False)),
    Scenario("what waited for three hours", said_before("hello", 3, left="all"), _OFFERED, planted=True),
    Scenario("a marker without its input", said_before("hello", 2.5, left="marker"), _OFFERED, planted=True),
    Scenario(
        "a marker of a deleted message", said_before("hello", 0.5, left="marker", gone=True), Ending(), planted=True
    ),
    Scenario(
        "what nobody heard", said_before("", 0.5), Ending("refused", "Tell me what to do", run=False), planted=True
    ),
)
