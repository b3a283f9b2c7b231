"""What people do with settings, and what tests look at."""

import asyncio
import subprocess
from typing import Any

from system import System, eventually

from peerbot.slack.controls import COMMAND


async def brought(system: System, name: str) -> None:
    """Put a repository with a branch `next` on GitHub."""
    source = system.directory / name.replace("/", "-")
    script = f"git init -q -b main {source} && cd {source} && echo {name} > README.md && git add . && {COMMIT} && "
    script += f"git checkout -q -b next && echo next > NEXT.md && git add . && {COMMIT} && git checkout -q main"
    await asyncio.to_thread(subprocess.run, ["sh", "-c", script], check=True)
    await system.github.import_repository(name, source)


COMMIT = "git -c user.name=T -c user.email=t@example.com commit -q -m one"


def channel_of(system: System, name: str) -> str:
    """Make a channel of its own for a test."""
    channel = f"C0{name.upper()}"
    system.slack.add_channel(channel, name, members=[system.slack.person, system.slack.bot_user, *system.people])
    return channel


async def opened(system: System, channel: str, user: str | None = None, text: str = "settings") -> dict[str, Any]:
    """Use the command, and wait for the form."""
    user = user or system.slack.person
    before = len(system.slack.views.opened(user))
    assert not await system.slack.command(user, channel, COMMAND, text)
    await eventually(lambda: len(system.slack.views.opened(user)) > before)
    return system.slack.views.opened(user)[-1]


async def changed(system: System, channel: str, user: str | None = None, **values: Any) -> Any:
    """Open the form and fill it in; returns what came with the ack."""
    await opened(system, channel, user)
    return await system.slack.client.fill_in(user or system.slack.person, values)


def said_in(system: System, channel: str) -> list[str]:
    """What PeerBot said in the channel itself, oldest first."""
    return [
        message["text"]
        for message in system.slack._world.history(channel)
        if message.get("user") == system.slack.bot_user
    ]


def initial(view: dict[str, Any], field: str) -> Any:
    """What stands in a field of a form."""
    [element] = [block["element"] for block in view["blocks"] if block["block_id"] == field]
    return next((value for name, value in element.items() if name.startswith("initial_")), None)
