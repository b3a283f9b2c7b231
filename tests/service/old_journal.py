"""Journals with conversations of years ago, and a store that dies at a chosen change."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from peerbot.conversation.documents import (
    Card,
    Input,
    Posted,
    Run,
    RunClosed,
    RunStarted,
    SessionRef,
    Slice,
    Started,
    Turn,
    TurnStatus,
)
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.storage import SizedStorage
from peerbot.protocol.documents import SessionWhole
from peerbot.protocol.sessions import pack

BEGAN = datetime(2023, 3, 1, 12, tzinfo=UTC)
WORDS = "the secret words of people"


def conversation(number: int = 1, *, began: datetime = BEGAN) -> Conversation:
    return Conversation("T1", "C1", f"{int(began.timestamp())}.{number:06d}")


async def talk(
    journal: Journal, thread: Conversation, turns: int = 2, *, user: str = "U1", apart: timedelta = timedelta(hours=1)
) -> None:
    """Write a conversation in which everything was answered, one run for each turn."""
    began = datetime.fromtimestamp(float(thread.thread_ts), UTC)
    await journal.begin(
        thread,
        Started(
            began_by=user, repository="o/r", default_branch="main", branch="peerbot/x", person_instructions=WORDS,
            began_at=began,
        ),
    )  # fmt: skip
    for k in range(1, turns + 1):
        await turn(journal, thread, k, began + (k - 1) * apart, user)


async def turn(journal: Journal, thread: Conversation, k: int, at: datetime, user: str = "U1") -> None:
    ts = thread.thread_ts if k == 1 else f"{int(at.timestamp())}.{k:06d}"
    item = Input(
        team=thread.team, channel=thread.channel, thread_ts=thread.thread_ts, ts=ts, user=user, text=WORDS,
        event_id=f"Ev{k}", received_at=at,
    )  # fmt: skip
    await journal.mark(item)
    await journal.record(item)
    await journal.reserve(
        thread,
        Run(n=k, serves=[item.id], secret_hash="", repository="o/r", default_branch="main", branch="peerbot/x",
            reserved_by="d", reserved_at=at),
    )  # fmt: skip
    await journal.run_started(thread, k, RunStarted(supervisor_hash="s", agent_hash="a", started_at=at))
    await journal.write_card(thread, k, Card(channel=thread.channel, ts=ts))
    await journal.create(paths.slice_document(thread, k, 1), Slice(run=k, usd=1.0, user=user, taken_at=at))
    await journal.write_session_part(thread, k, k, 1, WORDS.encode())
    await journal.write_session(thread, k, k, pack(SessionWhole(transcripts=[])))
    end = at + timedelta(minutes=1)
    document = Turn(
        k=k, run=k, inputs=[item.id], status=TurnStatus.DONE, text=WORDS, ended_at=end, repository="o/r",
        branch="peerbot/x", session=SessionRef(id=f"session-{k}", turn=k, run=k),
    )  # fmt: skip
    await journal.write_turn(thread, document)
    await journal.write_posted(thread, k, Posted(ts=[f"{int(end.timestamp())}.{k:06d}"], posted_at=end))
    await journal.unmark(thread, item.id)
    await journal.close_run(thread, k, RunClosed(reason=RunEnd.FINISHED, closed_at=end))


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@dataclass
class Mortal:
    """A store on `storage` that dies before its `dies_before`th change (a create or a delete); 0: never."""

    storage: SizedStorage
    dies_before: int = 0
    changes: list[str] = field(default_factory=list)

    def _change(self, what: str) -> None:
        self.changes.append(what)
        if len(self.changes) == self.dies_before:
            raise Killed(what)

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        self._change(f"create {key}")
        return await self.storage.put_if_absent(key, data, new=new)

    async def delete(self, key: str) -> None:
        self._change(f"delete {key}")
        await self.storage.delete(key)

    async def get(self, key: str) -> bytes | None:
        return await self.storage.get(key)

    def list(self, prefix: str) -> AsyncIterator[str]:
        return self.storage.list(prefix)

    def sizes(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        return self.storage.sizes(prefix)

    async def close(self) -> None:
        await self.storage.close()


class Memory:
    """The `Storage` port in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        return self.objects.setdefault(key, data) == data

    async def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            yield key

    async def sizes(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        async for key in self.list(prefix):
            yield key, len(self.objects[key])

    async def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    async def close(self) -> None:
        return
