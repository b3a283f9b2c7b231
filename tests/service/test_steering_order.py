"""What a worker is told while people answer a question: the words that settle it are its answer, and nothing besides.

A message is recorded, and settles the question, at any moments while a worker's request looks at the journal. Pairs of
moments are tried: after which call to the store the message is there, and after which it has settled the question.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gateway_server import GatewayServer

from peerbot.conversation.documents import Input
from peerbot.conversation.questions import Item, Option, QuestionSettled
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.journal.questions import question, settle_question
from peerbot.journal.storage import Storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import AskRequest, Steer
from peerbot.worker.gateway import GatewayClient

MOST_CALLS = 24  # more than it makes if there is something to tell: that is after the request
ASK = AskRequest(
    call="toolu_1",
    kind="question",
    items=(Item(question="Which colour?", options=(Option(label="Red"), Option(label="Blue"))),),
)


@dataclass
class Interleaved:
    """A store after whose calls something may happen, from the moment on that `then` is set: call by call."""

    inner: Storage
    then: dict[int, list[Callable[[], Awaitable[object]]]] = field(default_factory=dict)
    calls: int = 0

    async def _did(self) -> None:
        self.calls += 1
        for happens in self.then.pop(self.calls, ()):
            await happens()

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        ours = await self.inner.put_if_absent(key, data, new=new)
        await self._did()
        return ours

    async def get(self, key: str) -> bytes | None:
        data = await self.inner.get(key)
        await self._did()
        return data

    async def list(self, prefix: str) -> AsyncIterator[str]:
        keys = [key async for key in self.inner.list(prefix)]
        await self._did()
        for key in keys:
            yield key

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)
        await self._did()

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class Asked:
    """A turn whose agent asks something, and another replica, which hears what people say."""

    server: GatewayServer
    store: Interleaved
    other: Journal
    slack: LocalSlack

    async def question(self) -> tuple[Input, GatewayClient, str]:
        """Let an agent ask in a thread of its own; returns what began it, its worker's client, and the question."""
        first = await self.server.say("which one?")
        run = await self.server.run(first)
        begun = await run.gateway.begin()
        reply = await run.gateway.ask(begun.turn, ASK)
        await self.server.settled()
        return first, run.gateway, reply.id

    async def words(self, first: Input) -> Input:
        """Let the asker write an answer; nobody has recorded it yet."""
        ts = await self.slack.say(first.user, first.channel, "a warm one", thread_ts=first.thread_ts)
        return first.model_copy(update={"ts": ts, "text": "a warm one", "event_id": f"Ev{ts}", "nonce": ts})

    async def told(self, record: int, settle: int) -> tuple[Steer, Input]:
        """Ask as a worker does what is new, while words come after call `record` and settle after call `settle`."""
        first, worker, identity = await self.question()
        words = await self.words(first)

        async def recorded() -> None:
            await self.other.mark(words)
            await self.other.record(words)

        async def settled() -> None:
            answer = QuestionSettled(how="answered", input=words.id, user=words.user, name="Ada", words="a warm one")
            await settle_question(self.other, first.conversation, identity, answer)
            assert await question(self.other, first.conversation, identity)

        self.store.calls, self.store.then = 0, {record: [recorded]}
        self.store.then.setdefault(settle, []).append(settled)
        heard = await worker.steer(1, [first.id], [], 0.0)
        return heard, words


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        slack, github = await enter(LocalSlack(tmp_path / "slack")), await enter(LocalGitHub(tmp_path / "github"))
        url = (tmp_path / "journal").as_uri()
        other = Journal(await open_storage(url))
        stack.push_async_callback(other.close)
        store = Interleaved(await open_storage(url))
        yield Asked(await enter(GatewayServer(store, slack, github)), store, other, slack)


async def test_words_that_settle_a_question_are_never_further_words_whenever_they_come(asked: Asked) -> None:
    await asked.told(0, 0)  # nothing comes meanwhile: so many calls it makes
    last = asked.store.calls
    assert last > 5
    wrong, heard_of_it = [], 0
    for record in range(1, last + 1):
        for settle in (*range(record, MOST_CALLS, 6), MOST_CALLS):
            heard, words = await asked.told(record, settle)
            heard_of_it += bool(heard.settled)
            if any(words.id in item.ids for item in heard.inputs):
                wrong.append((record, settle))
    assert wrong == []
    assert heard_of_it, "some of them are told what settled the question"


async def test_words_that_come_beside_the_question_are_told(asked: Asked) -> None:
    """Bob may not decide, so his words steer as ever."""
    first, worker, _ = await asked.question()
    asked.slack.add_user("U0BOB", "Bob")
    members = [asked.slack.person, asked.slack.bot_user, "U0BOB"]
    asked.slack.add_channel(asked.slack.general, "general", members=members)
    ts = await asked.slack.say("U0BOB", first.channel, "and be quick", thread_ts=first.thread_ts)
    bobs = first.model_copy(update={"ts": ts, "user": "U0BOB", "text": "and be quick", "event_id": "Ev", "nonce": ts})
    await asked.other.mark(bobs)
    await asked.other.record(bobs)
    heard = await worker.steer(1, [first.id], [], 0.0)
    assert [item.id for item in heard.inputs] == [bobs.id]
