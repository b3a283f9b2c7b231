"""`peerbot local`: the chat page; or a first conversation that plays live in the terminal, and a chat there."""

import asyncio
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, SettingsError
from peerbot.local.hood import Hood
from peerbot.local.slack import Change
from peerbot.local.slack.narrate import Narrator
from peerbot.local.talk import answer_to, introduce, say
from peerbot.local.trouble import Troubles
from peerbot.local.workspace import about, furnish
from peerbot.local.world import World
from peerbot.web.assets import pages_installed

FIRST_MESSAGE = "Create a simple Python script that prints the first ten primes, and run it"
HELP = "Write here to go on in this thread. /new begins another thread, /quit (or Ctrl-C) ends."


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line's options. `terminal`: chat there; `browse`: open the page in the person's browser."""

    directory: Path | None
    repository: Path | None
    unsafe_no_sandbox: bool
    terminal: bool
    browse: bool


async def chat(wanted: Wanted, tell: Callable[[str], None]) -> None:
    """Serve the page until the person ends it, or chat in the terminal; without one, play, and stay up.

    Raises `SettingsError` if the world can't be started.
    """
    there = sys.stdin.isatty()
    async with World(
        wanted.directory, repository=wanted.repository, unsafe_no_sandbox=wanted.unsafe_no_sandbox
    ) as world:
        introduce(world, tell)
        page = None if wanted.terminal else await serve_page(world, tell)
        if page and there:
            tell("Ctrl-C ends everything.")
            if wanted.browse:
                await asyncio.to_thread(webbrowser.open, page)
            await asyncio.Event().wait()
        await _play(world, tell)


async def serve_page(world: World, tell: Callable[[str], None]) -> str | None:
    """Make the page ready, and tell where it is; None if what it needs is not installed, which is told."""
    try:
        address = world.slack.page.address
    except SettingsError as error:
        tell(f"There is no page, and the chat is here: {error}")
        return None
    furnish(world.slack)
    hood, trouble = Hood(world), Troubles(world)
    world.at_end(hood.close)
    world.at_end(trouble.close)
    page = world.slack.page
    page.hood = hood.look
    page.troubles = {name: cause for name, (_, _, cause) in trouble.all().items()}
    troubles = [{"cause": name, "heading": title, "words": words} for name, (title, words, _) in trouble.all().items()]
    page.about = about(world) | {"troubles": troubles}
    tell(f"Chat: {address}")
    return address


async def _play(world: World, tell: Callable[[str], None]) -> None:
    """Play the first conversation in the terminal, then take the person's lines."""
    github = f"{world.github.url}/#key={world.github.door_secret}"
    tell(f"Local Slack {world.slack.url} · local GitHub {github} · log {world.log_file}")
    if pages_installed():
        tell(f"To view sessions in a browser, open {world.slack.page.address} there first.")
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
