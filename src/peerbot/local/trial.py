"""`peerbot try`: plays one turn in a local world, then ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from peerbot.conversation.documents import FileChange, PullRequest, Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.local.slack.narrate import Narrator
from peerbot.local.talk import Timeline, answer_to, introduce, say, thread_in
from peerbot.local.world import World
from peerbot.slack.render import turn_words


class Seconds(BaseModel):
    """Times in seconds since the message was sent. `total` is the whole command, with its start and end."""

    received: float | None
    first_model_request: float | None
    answer: float
    total: float


class Trial(BaseModel):
    """The facts that `--json` prints."""

    conversation: str
    runs: list[str]
    status: TurnStatus
    answer: str
    branch: str | None
    pull_request: PullRequest | None
    files: list[FileChange]
    session: str | None
    model: str
    cost_usd: float | None
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """The command line's options."""

    message: str
    directory: Path | None = None
    thread: str | None = None
    repository: Path | None = None
    unsafe_no_sandbox: bool = False


async def try_once(options: TrialOptions, tell: Callable[[str], None]) -> Trial:
    """Play one turn, and tell its progress line by line.

    Raises `SettingsError` for wrong use, and another `PeerBotError` if no answer came.
    """
    began = time.monotonic()
    timeline = Timeline()
    ours = logging.getLogger("peerbot")
    ours.addHandler(timeline)
    try:
        async with World(
            options.directory, repository=options.repository, unsafe_no_sandbox=options.unsafe_no_sandbox
        ) as world:
            introduce(world, tell)
            thread_ts = thread_in(world, options.thread) if options.thread else None
            changes = world.slack.watch()
            said_at = time.monotonic()
            conversation, identity = await say(world, options.message, thread_ts)
            narrator = Narrator(world.slack.bot_user, tell, answers=False)
            turn = await answer_to(world, changes, conversation, identity, narrator)
            seconds = Seconds(
                received=timeline.after(said_at, "input_recorded"),
                first_model_request=timeline.after(said_at, "model_request"),
                answer=round(time.monotonic() - said_at, 3),
                total=0,
            )
            trial = await _trial(world, conversation, turn, seconds)
        trial.seconds.total = round(time.monotonic() - began, 3)
        return trial
    finally:
        ours.removeHandler(timeline)


async def _trial(world: World, conversation: Conversation, turn: Turn, seconds: Seconds) -> Trial:
    return Trial(
        conversation=str(conversation),
        runs=[conversation.job_name(record.n) for record in await world.journal.runs(conversation)],
        status=turn.status,
        answer=turn_words(turn.text, turn.notes),
        branch=turn.branch if turn.commit else None,
        pull_request=turn.pull_request,
        files=turn.files,
        session=turn.session.id if turn.session else None,
        model=world.model_kind,
        cost_usd=turn.cost_usd,
        seconds=seconds,
    )
