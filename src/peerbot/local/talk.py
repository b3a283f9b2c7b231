"""Talking in a local world: write a message as the person, and wait for its answer."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from html import escape

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_id, input_ts
from peerbot.errors import Refused, SettingsError, Unavailable
from peerbot.journal.answers import settled
from peerbot.local.slack import Change
from peerbot.local.slack.narrate import Narrator, answered_turn, whispered
from peerbot.local.world import World

ANSWER_SLACK_SECONDS = 120.0
"""The time that an answer may take beyond one turn's limit, for start, checkout and push."""


class Timeline(logging.Handler):
    """Notes when each kind of our log events came first, by the event's stable name."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the event's time if it is the first of its kind."""
        if isinstance(record.msg, dict):
            self._first.setdefault(str(record.msg.get("event")), time.monotonic())

    def after(self, began: float, event: str) -> float | None:
        """Return the seconds from `began` to the first such event; None if there was none."""
        at = self._first.get(event)
        return None if at is None else round(at - began, 3)


def thread_in(world: World, name: str) -> str:
    """Return the `thread_ts` of the thread that a person names: by its `thread_ts`, or by its conversation.

    Raises `SettingsError` if there is no such thread in this world.
    """
    thread_ts = name.rpartition("/")[2]
    if not world.slack.thread(world.slack.general, thread_ts):
        raise SettingsError(
            f"There is no thread {name} here. Name a thread that an earlier turn printed, and give the same --in."
        )
    return thread_ts


async def say(world: World, text: str, thread_ts: str | None) -> tuple[Conversation, str]:
    """Write `text` to the bot as the person; returns the conversation and the input's id."""
    escaped = escape(text, quote=False)
    ts = await world.slack.say(
        world.slack.person, world.slack.general, f"{world.slack.mention()} {escaped}", thread_ts=thread_ts
    )
    return world.conversation(thread_ts or ts), input_id(ts, "message")


async def answer_to(
    world: World, changes: AsyncIterator[Change], conversation: Conversation, identity: str, narrator: Narrator | None
) -> Turn:
    """Wait for the answer to an input, and tell what happens meanwhile.

    Begin to watch `changes` before you say the input. Raises `Refused` if it had no effect and its author was told why,
    and `Unavailable` if no answer comes in time.
    """
    stop = input_id(input_ts(identity), "stop")  # the word alone
    settings = world.settings
    minutes = settings.session_timeout_minutes + (settings.peerbot_question_minutes or settings.session_timeout_minutes)
    limit = minutes * 60 + ANSWER_SLACK_SECONDS
    try:
        async with asyncio.timeout(limit):
            async for change in changes:
                if narrator:
                    narrator.take(change)
                said = whispered(change)
                if said and await settled(world.journal, conversation, stop):
                    raise Refused(said)
                found = answered_turn(change.message) if change.kind == "posted" else None
                if found and found[0] == conversation:
                    turn = await world.journal.turn(*found)
                    if turn and identity in turn.inputs:
                        return turn
    except TimeoutError as error:
        raise Unavailable(f"No answer came within {limit:.0f} seconds. The log is in {world.log_file}.") from error
    raise Unavailable("The local Slack was closed before the answer came.")


def introduce(world: World, tell: Callable[[str], None]) -> None:
    """Tell which model answers in this world, what it works on, and whether the agent is in a sandbox."""
    if world.model:
        tell(
            "Model: the demo model (set ANTHROPIC_API_KEY to talk to Claude). It plays fixed pieces; the work is real."
        )
    else:
        tell("Model: Claude, with your ANTHROPIC_API_KEY.")
    if world.copy:
        tell(f"Repository: {world.copy.full_name}, a copy of {world.copy.origin}.")
    if not world.sandboxed:
        tell(
            "Sandbox: none. The agent may do everything that your user may do. (On Linux, apt-get install bubblewrap "
            "gives it one.)"
        )
