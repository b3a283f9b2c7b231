"""`peerbot local`: plays a first conversation live in the terminal, then stays up so that a person can chat."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.local.slack import Change
from peerbot.local.slack.narrate import Narrator
from peerbot.local.talk import answer_to, introduce, say
from peerbot.local.world import World

FIRST_MESSAGE = "Create a simple Python script that prints the first ten primes, and run it"
HELP = "Write here to go on in this thread. /new begins another thread, /quit (or Ctrl-C) ends."


async def chat(
    directory: Path | None, *, repository: Path | None, unsafe_no_sandbox: bool, tell: Callable[[str], None]
) -> None:
    """Play, then chat until the person ends it (or, without a terminal, until cancelled).

    Raises `SettingsError` if the world can't be started.
    """
    async with World(directory, repository=repository, unsafe_no_sandbox=unsafe_no_sandbox) as world:
        introduce(world, tell)
        tell(f"Local Slack {world.slack.url} · local GitHub {world.github.url} · log {world.log_file}")
        changes = world.slack.watch()
        tell(f"\nAda> @peerbot {FIRST_MESSAGE}")
        conversation, identity = await say(world, FIRST_MESSAGE, None)
        narrator = Narrator(world.slack.bot_user, tell)
        await answer_to(world, changes, conversation, identity, narrator)
        narrating = asyncio.create_task(_narrate(changes, narrator))
        try:
            await _converse(world, conversation, tell)
        finally:
            narrating.cancel()
            await asyncio.wait([narrating])


async def _converse(world: World, conversation: Conversation, tell: Callable[[str], None]) -> None:
    """Take the person's lines until they end it."""
    if not sys.stdin.isatty():
        tell("\nThere is no terminal to chat in: staying up until Ctrl-C or SIGTERM.")
        await asyncio.Event().wait()
    tell(f"\n{HELP}")
    thread_ts: str | None = conversation.thread_ts
    lines = await _lines()
    while line := await lines.readline():
        match line.decode(errors="replace").strip():
            case "":
                continue
            case "/quit":
                return
            case "/new":
                thread_ts = None
                tell("   The next line begins a new thread.")
            case text:
                try:
                    said, _ = await say(world, text, thread_ts)
                    thread_ts = said.thread_ts
                except PeerBotError as error:
                    tell(f"   {error}")


async def _lines() -> asyncio.StreamReader:
    """Open standard input line by line, without a thread that can't be ended."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _narrate(changes: AsyncIterator[Change], narrator: Narrator) -> None:
    async for change in changes:
        narrator.take(change)
