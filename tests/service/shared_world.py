"""The whole product with a model that a test scripts, in a Slack where people share files."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from relay_world import BODY, serve
from scripted_api import Script
from system import System

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_id
from peerbot.local.slack.files import FilePart


@dataclass
class World:
    """The whole product, and a model that says what a test says and keeps what it was asked."""

    system: System
    script: Script
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def share(
        self, parts: Sequence[FilePart], text: str | None = None, *, thread: Conversation | None = None, **how: Any
    ) -> tuple[Conversation, str]:
        """Write a message with files; it mentions the bot unless `text` says otherwise."""
        slack = self.system.slack
        text = slack.mention() if text is None else text
        channel = thread.channel if thread else how.get("channel", slack.general)
        thread_ts = thread.thread_ts if thread else None
        ts = slack.share_files(slack.person, channel, text, parts, thread_ts=thread_ts)
        return thread or Conversation(slack.team, channel, ts), input_id(ts, "message")

    async def ask(self, parts: Sequence[FilePart], text: str | None = None, **how: Any) -> Turn:
        return await self.system.answer(*await self.share(parts, text, **how))

    def blocks(self, kind: str) -> list[dict[str, Any]]:
        """The blocks of a kind in the last request of the conversation."""
        asked = [body for body in self.bodies if body.get("tools")]
        contents = [message["content"] for message in asked[-1]["messages"]]
        whole = [b for c in contents for b in ([{"type": "text", "text": c}] if isinstance(c, str) else c)]
        return [block for block in whole if block["type"] == kind]

    @property
    def prompt(self) -> str:
        return "\n".join(block["text"] for block in self.blocks("text"))

    @property
    def results(self) -> str:
        return json.dumps(self.blocks("tool_result"))


@asynccontextmanager
async def shared_world(directory: Path) -> AsyncIterator[World]:
    """Start all of it in a directory."""
    script, bodies = Script(), list[dict[str, Any]]()

    async def api(request: web.Request) -> web.StreamResponse:
        request[BODY] = await request.content.read()
        bodies.append(json.loads(request[BODY]))
        return await script.answer(request)

    async with AsyncExitStack() as stack:
        url = await serve(stack, api)
        system = await stack.enter_async_context(System(directory, {"ANTHROPIC_BASE_URL": url}))
        await system.start()
        yield World(system, script, bodies)
