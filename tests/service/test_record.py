"""Recording: an event costs little before its ack, and that loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from gcs_server import gcs_server, make_bucket

from peerbot.conversation.documents import Input
from peerbot.dispatcher.record import Recorder
from peerbot.errors import Unavailable
from peerbot.journal.gcs import GoogleStore
from peerbot.journal.journal import Journal
from peerbot.slack.events import Candidate


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with gcs_server() as url:
        make_bucket(url, "bucket")
        yield url


@pytest.fixture
async def proxy(google: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(google) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


class Replica:
    """A dispatcher's recorder, and the inputs that it has handed on."""

    def __init__(self, folder: str) -> None:
        self.journal = Journal(GoogleStore("bucket", folder=folder, deadline_seconds=0.6))
        self.told: list[bool] = []
        self.recorder = Recorder(self.journal, self, self.admits)

    async def admits(self, _item: Input) -> bool:
        return True

    def recorded(self, _item: Input, new: bool) -> None:
        self.told.append(new)

    def not_recorded(self, candidate: Candidate) -> None:
        """The caller hears of it: `record` raises."""

    async def record(self, event: str) -> None:
        await self.recorder.record(said(event))


@pytest.fixture
async def replicas(proxy: FaultyProxy, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    replicas = [Replica(tmp_path.name.replace("_", "-")) for _ in range(2)]
    yield replicas
    for replica in replicas:
        await replica.journal.close()


def said(event: str) -> Input:
    ts = "1795000000.000100"
    return Input(team="T1", channel="C1", thread_ts=ts, ts=ts, user="U1", text="hello", event_id=event)


async def test_the_two_events_of_a_mention_cost_two_writes(proxy: FaultyProxy, replicas: list[Replica]) -> None:
    replica = replicas[0]
    await asyncio.gather(replica.record("Ev1"), replica.record("Ev2"))
    assert proxy.seen == ["POST", "POST"]
    assert replica.told == [True, False]


async def test_an_event_that_another_dispatcher_has_recorded_costs_two_writes_and_no_read(
    proxy: FaultyProxy, replicas: list[Replica]
) -> None:
    await replicas[0].record("Ev1")
    await replicas[1].record("Ev2")
    assert proxy.seen == ["POST"] * 4
    assert (replicas[0].told, replicas[1].told) == ([True], [False])


async def test_an_event_is_recorded_where_the_one_that_it_waited_for_failed(
    proxy: FaultyProxy, replicas: list[Replica]
) -> None:
    replica, failed = replicas[0], False
    proxy.plan = lambda method, number: None if failed else Fault.BUSY

    async def first() -> None:
        nonlocal failed
        with pytest.raises(Unavailable):
            await replica.record("Ev1")
        failed = True

    await asyncio.gather(first(), replica.record("Ev2"))
    item = said("Ev2")
    recorded = await replica.journal.input(item.conversation, item.id)
    assert recorded
    assert recorded.event_id == "Ev2"
    assert await replica.journal.pending_in(item.conversation) == [item.id]
    assert replica.told == [True]


@pytest.mark.parametrize(("seconds", "for_us"), [(-1, False), (1, True)], ids=["before", "since"])
async def test_a_late_reply_is_for_us_where_its_thread_was_a_conversation_when_it_was_said(
    replicas: list[Replica], seconds: int, for_us: bool
) -> None:
    """Slack sends it again, after a minute, in a thread that somebody has called us into meanwhile."""
    recorder, root = replicas[0].recorder, said("Ev0")
    call, reply = (root.model_copy(update={"ts": f"{1795000060 + after}.000100"}) for after in (0, seconds))
    await recorder(Candidate(call, sure=True))
    assert await recorder(Candidate(reply, sure=False)) is for_us
