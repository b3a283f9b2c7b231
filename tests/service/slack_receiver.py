"""A receiver on the local Slack, and a recorder behind it, for the tests of incoming events."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from peerbot.errors import Unavailable
from peerbot.local.slack import LocalSlack
from peerbot.slack.api import open_client
from peerbot.slack.events import Candidate, Other
from peerbot.slack.interactions import Interaction, Reply
from peerbot.slack.outbound import Outbound
from peerbot.slack.receive import Receiver
from peerbot.slack.sockets import Pace
from peerbot.slack.tokens import identify

SOON = 30.0  # seconds; more than a slow machine needs


@dataclass
class Recorder:
    """Records and answers in a dispatcher's place; `trouble` happens first, as long as there is some."""

    recorded: list[Candidate] = field(default_factory=list)
    others: list[Interaction | Other] = field(default_factory=list)
    trouble: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    reply: Reply | None = None
    calls: int = 0

    async def on_input(self, candidate: Candidate) -> bool:
        self.calls += 1
        if self.trouble:
            await self.trouble.pop()()
        self.recorded.append(candidate)
        return candidate.sure

    async def on_other(self, incoming: Interaction | Other) -> Reply | None:
        self.calls += 1
        if self.trouble:
            await self.trouble.pop()()
        self.others.append(incoming)
        return self.reply

    @property
    def texts(self) -> list[str]:
        return [candidate.input.text for candidate in self.recorded]


@asynccontextmanager
async def a_receiver(slack: LocalSlack, recorder: Recorder, **options: Any) -> AsyncIterator[Receiver]:
    """Yield a receiver that is not started, and close it in the end."""
    async with open_client(slack.api_url, slack.bot_token) as client:
        outbound = Outbound(client)
        receiver = Receiver(
            outbound=outbound,
            app_token=options.get("app_token", slack.app_token),
            us=await identify(outbound, "@peerbotai"),
            on_input=recorder.on_input,
            on_other=options.get("on_other", recorder.on_other),
            on_gap=options.get("on_gap", lambda _: None),
            pace=options.get("pace", Pace()),
        )
        try:
            yield receiver
        finally:
            await receiver.close()


@asynccontextmanager
async def receiving(slack: LocalSlack, recorder: Recorder, **options: Any) -> AsyncIterator[Receiver]:
    try:
        async with a_receiver(slack, recorder, **options) as receiver:
            await receiver.start()
            await slack.wait_for(lambda: slack.connections == 2, SOON)
            yield receiver
    finally:
        assert not [task for task in asyncio.all_tasks() if re.search("slack_sdk|slack_bolt|peerbot/slack", str(task))]


async def fail_as_a_store() -> None:
    raise Unavailable("The journal did not answer.")


async def fail_as_a_bug() -> None:
    raise ValueError("secret words of a message")
