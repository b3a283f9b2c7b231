"""The words that people see if the journal fails: slow, away, full, damaged, or of a newer release."""

import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from s3_server import make_s3_bucket, s3_environment, s3_server
from system import System, eventually

from peerbot.conversation.keys import Conversation
from peerbot.errors import Unavailable
from peerbot.journal.directory import DirectoryStore

pytestmark = pytest.mark.slow  # real faults take real time: `make slow`

QUESTION = "what is in this repository?"
SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"


def notes(system: System, conversation: Conversation) -> list[str]:
    """Return the thread's messages about a conversation that can't go on."""
    messages = system.slack.thread(conversation.channel, conversation.thread_ts)
    return [message["text"] for message in messages if message["text"].startswith("I can't go on here")]


@pytest.mark.parametrize(
    ("damage", "says"),
    [('{"schema": 1, "k"', "is damaged"), ('{"schema": 2, "k": 2}', "was written by a newer release: update PeerBot")],
    ids=["damaged", "newer"],
)
async def test_a_thread_is_told_once_of_a_document_that_cannot_be_read_and_the_others_go_on(
    tmp_path: Path, damage: str, says: str
) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        conversation, identity = await system.say(QUESTION)
        await system.answer(conversation, identity)
        await system.settled(conversation)
        unreadable = tmp_path / "journal" / "conversations" / str(conversation) / "turns" / "2.json"
        unreadable.write_text(damage)

        def stopped() -> list[dict[str, Any]]:
            return [line for line in system.logged("task_failed") if "turns/2.json" in line["reason"]]

        for times in (1, 2):
            await system.say(QUESTION, thread=conversation)
            await eventually(lambda times=times: len(stopped()) >= times)
        [note] = notes(system, conversation)
        assert says in note
        assert len(system.answers(conversation)) == 1

        assert (await system.ask(QUESTION)).status == "done"  # another thread
        assert unreadable.read_text() == damage

        unreadable.unlink()  # an operator mends it
        conversation, identity = await system.say(QUESTION, thread=conversation)
        await system.answer(conversation, identity)
        await system.settled(conversation)
        assert len(notes(system, conversation)) == 1


@pytest.mark.timeout(240)
class TestOnS3:
    """The whole product with its journal on moto's server, behind a proxy that plays the faults."""

    @pytest.fixture
    async def proxy(self) -> AsyncIterator[FaultyProxy]:
        with s3_server() as url:
            make_s3_bucket(url, "journal")
            async with faulty_proxy(url) as proxy:
                yield proxy

    @pytest.fixture
    async def system(self, proxy: FaultyProxy, tmp_path: Path) -> AsyncIterator[System]:
        store = {"PEERBOT_STORE": "s3://journal/peerbot"}
        async with System(tmp_path, s3_environment(proxy.url) | store) as system:
            system.slack.faults.retry_scale = 0.02
            await system.start()
            yield system

    async def test_a_store_that_is_too_slow_gets_no_ack_and_the_message_one_answer(
        self, system: System, proxy: FaultyProxy
    ) -> None:
        proxy.plan = lambda method, number: Fault.HANG if method == "PUT" else None
        conversation, identity = await system.say(QUESTION)
        await eventually(lambda: system.logged("not_acked"))
        assert system.slack.undelivered > 0
        await eventually(lambda: system.reactions(conversation, identity) == {"hourglass_flowing_sand"})

        proxy.plan = lambda method, number: None
        await eventually(lambda: system.answers(conversation), 45)
        await system.delivered()
        await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"})
        assert len(system.answers(conversation)) == 1

    async def test_a_store_that_refuses_one_write_leaves_no_sign_of_it_on_the_message(
        self, system: System, proxy: FaultyProxy
    ) -> None:
        # A mention comes as two events: one of them meets the fault, and the other is recorded in the same moment.
        proxy.plan = lambda method, number: Fault.FORBIDDEN if method == "PUT" and not proxy.faults else None
        conversation, identity = await system.say(QUESTION)
        await eventually(lambda: system.logged("not_acked"))
        await eventually(lambda: system.answers(conversation), 45)

        await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"})
        shown = [call.arguments["name"] for call in system.slack.calls if call.method == "reactions.add"]
        assert "hourglass_flowing_sand" in shown

    async def test_a_store_that_is_away_for_ten_seconds_of_a_turn_delays_the_answer_and_no_more(
        self, system: System, proxy: FaultyProxy
    ) -> None:
        conversation, identity = await system.say(SCRIPT)
        await eventually(lambda: system.cards(conversation), 30)
        proxy.plan = lambda method, number: Fault.BUSY
        began = time.monotonic()
        await eventually(lambda: proxy.faults and time.monotonic() - began > 10, 20)

        proxy.plan = lambda method, number: None
        await eventually(lambda: system.answers(conversation), 50)
        await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"}, 20)
        [(message, turn)] = system.answers(conversation)
        assert turn == 1
        assert "2 3 5 7" in json.dumps(message["blocks"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 256 kB of its own."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


async def test_a_full_disk_is_told_leaves_nothing_half_written_and_is_used_again_when_there_is_room(
    small: Path,
) -> None:
    store = DirectoryStore(small, deadline_seconds=0.6)
    (small / "others").write_bytes(b"x" * 180_000)
    assert await store.put_if_absent("a/1", b"1" * 10_000)
    with pytest.raises(Unavailable, match=str(small)):
        await store.put_if_absent("a/2", b"2" * 100_000)
    assert await store.get("a/1") == b"1" * 10_000
    assert await store.get("a/2") is None

    (small / "others").unlink()
    assert await store.put_if_absent("a/2", b"2" * 100_000)
    assert await store.get("a/2") == b"2" * 100_000
