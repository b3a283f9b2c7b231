"""People answer what they see, before the journal knows that they see it."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from crash_points import JournalWrites, Proxy, Strike, Trap
from gcs_server import gcs_server, make_bucket
from system import System, eventually
from test_questions import ASK, now, questions, turn_of


@dataclass
class Late:
    """Holds back the note of where a question's message is, until it is let go."""

    note: str = "create questions/{k}/{i}.posted"
    comes: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    last: float = 0.0  # when the journal was last asked for something

    @property
    def is_quiet(self) -> bool:
        """Whether everybody has looked: nobody has asked the journal for a second."""
        return time.monotonic() - self.last > 1.0


class LateProxy(Proxy):
    late: Late

    async def _handle(self, request: web.Request) -> web.Response:
        if self._name(request, await request.read()) == self.late.note:
            self.late.comes.set()
            await self.late.let_go.wait()
        self.late.last = time.monotonic()
        return await super()._handle(request)


async def nobody(_: Strike) -> None:
    """Nobody is ended."""


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with gcs_server() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield url


@pytest.fixture
async def late(google: str, tmp_path: Path) -> AsyncIterator[tuple[System, Late]]:
    bucket = f"late-{uuid.uuid4().hex}"
    make_bucket(google, bucket)
    async with LateProxy("journal", google, JournalWrites(), Trap(nobody)) as proxy:
        proxy.late = Late()
        settings = {"PEERBOT_STORE": f"gs://{bucket}", "STORAGE_EMULATOR_HOST": proxy.url}
        async with System(tmp_path, settings | {"PEERBOT_QUESTION_MINUTES": "2"}) as system:
            await system.start()
            yield system, proxy.late


async def test_words_that_come_before_the_note_of_the_question_answer_it(late: tuple[System, Late]) -> None:
    system, holds = late
    conversation, identity = await system.say(ASK)
    await asyncio.wait_for(holds.comes.wait(), 60)
    assert questions(system, conversation), "people see it"
    _, words = await system.say("a warm one, please", thread=conversation, mention=False)
    await eventually(lambda: system.reactions(conversation, words) and holds.is_quiet, 60)
    system.model.seen.clear()
    holds.let_go.set()
    turn = await turn_of(system, conversation, 1)
    assert turn.inputs == [identity, words]
    assert '"Which colour?"="a warm one, please"' in turn.text
    assert json.dumps(system.model.seen[-1]["messages"]).count("a warm one") == 1, "as the answer, and not once more"
    await eventually(lambda: "Answered by Ada Lovelace" in str(now(system, conversation)["blocks"]))
