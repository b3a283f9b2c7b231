"""The agent's transcript, from the SDK's session store through a real gateway into a real store and back."""

import gzip
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
from claude_agent_sdk import SessionKey, SessionStore, SessionStoreEntry, project_key_for_directory
from claude_agent_sdk.testing import run_session_store_conformance
from counting_storage import Counting
from gateway_server import WORKSPACE, GatewayServer, PlayedRun
from gcs_server import gcs_server, make_bucket
from s3_server import make_s3_bucket, s3_environment, s3_server

from peerbot.conversation.documents import Input, RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import SessionLoss
from peerbot.errors import Conflict
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import SessionPart, SessionWhole, TurnResult
from peerbot.protocol.sessions import LARGEST_BYTES, pack
from peerbot.worker.session import SessionLost

SESSION = "3f1de2c4-6c57-4c2c-9d2b-0f6f3a0c9f11"
MAIN: SessionKey = {"project_key": project_key_for_directory(WORKSPACE), "session_id": SESSION}
FIRST_BYTES, TURN_BYTES = 140_000, 7_000  # of a real transcript: its first turn, and each turn after it


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with gcs_server() as url:
        yield url


@pytest.fixture(scope="module")
def amazon() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["directory", "bucket"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of each kind."""
    if request.param == "directory":
        return (tmp_path / "journal").as_uri()
    bucket = f"bucket-{uuid.uuid4().hex}"
    if request.param == "s3":
        amazon: str = request.getfixturevalue("amazon")
        make_s3_bucket(amazon, bucket)
        for variable, value in s3_environment(amazon).items():
            monkeypatch.setenv(variable, value)
        return f"s3://{bucket}"
    google: str = request.getfixturevalue("google")
    make_bucket(google, bucket)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
    return f"gs://{bucket}"


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@pytest.fixture
async def github() -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub() as github:
        yield github


@pytest.fixture
async def server(store_url: str, slack: LocalSlack, github: LocalGitHub) -> AsyncIterator[GatewayServer]:
    async with GatewayServer(await open_storage(store_url), slack, github) as server:
        yield server


def entry(number: int, text: str = "") -> SessionStoreEntry:
    """One line of a transcript, named by its number."""
    return cast(
        SessionStoreEntry,
        {
            "type": "assistant",
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
            "sessionId": SESSION,
            "timestamp": "2026-11-23T12:00:00.000Z",
            "message": {"role": "assistant", "content": [{"type": "text", "text": text or f"line {number}"}]},
        },
    )


def part(*entries: SessionStoreEntry) -> SessionPart:
    return SessionPart(project="workspace", session_id=SESSION, entries=[dict(entry) for entry in entries])


async def begun(run: PlayedRun) -> int:
    """Begin a turn in both the gateway and the store; its number."""
    turn = (await run.gateway.begin()).turn
    run.sessions.begin(turn)
    return turn


async def died(server: GatewayServer, item: Input, n: int) -> None:
    await server.journal.close_run(item.conversation, n, RunClosed(reason=RunEnd.CRASHED))


def result(item: Input, session: str | None = SESSION) -> TurnResult:
    return TurnResult(inputs=[item.id], status="done", text="Done.", session_id=session, seconds=1)


@pytest.mark.parametrize("store_url", ["directory", "bucket", "s3"], indirect=True)
async def test_the_store_keeps_the_contract_that_the_sdk_relies_on(server: GatewayServer) -> None:
    async def fresh() -> SessionStore:
        run = await server.run(await server.say("@peerbot begin"))
        await begun(run)
        return cast(SessionStore, run.sessions)

    await run_session_store_conformance(fresh)


async def test_a_run_goes_on_with_what_the_runs_before_it_left_of_the_same_turn(server: GatewayServer) -> None:
    item = await server.say("@peerbot begin")
    for n in range(1, 12):  # ten runs die: their order is that of numbers, not of names
        run = await server.run(item, n)
        assert await begun(run) == 1
        assert await run.sessions.load(MAIN) == ([entry(i) for i in range(2, 2 * n)] or None)
        await run.sessions.append(MAIN, [entry(2 * n)])
        await run.sessions.append(MAIN, [entry(2 * n + 1)])
        if n < 11:
            await died(server, item, n)
    await run.sessions.keep()
    await run.gateway.finish(1, result(item))

    assert await begun(run) == 2
    assert await run.sessions.load(MAIN) == [entry(i) for i in range(2, 24)]


async def test_a_session_that_a_dead_run_kept_whole_without_finishing_is_there_once(server: GatewayServer) -> None:
    item = await server.say("@peerbot begin")
    first = await server.run(item)
    await begun(first)
    await first.sessions.append(MAIN, [entry(1), entry(2)])
    await first.sessions.keep()
    await died(server, item, 1)

    second = await server.run(item, 2)
    assert await begun(second) == 1
    assert await second.sessions.load(MAIN) == [entry(1), entry(2)]


async def test_a_run_that_was_followed_by_another_keeps_nothing_more(server: GatewayServer) -> None:
    item = await server.say("@peerbot begin")
    first = await server.run(item)
    await begun(first)
    await first.sessions.append(MAIN, [entry(1)])
    second = await server.run(item, 2)
    await begun(second)

    with pytest.raises(Conflict):
        await first.sessions.append(MAIN, [entry(2)])
    with pytest.raises(Conflict):
        await first.sessions.keep()
    assert await second.sessions.load(MAIN) == [entry(1)]


async def test_the_same_part_twice_is_kept_once_and_another_in_its_place_is_refused(server: GatewayServer) -> None:
    run = await server.run(await server.say("@peerbot begin"))
    turn = await begun(run)
    await run.gateway.keep_part(turn, 1, part(entry(1)))
    await run.gateway.keep_part(turn, 1, part(entry(1)))
    with pytest.raises(Conflict):
        await run.gateway.keep_part(turn, 1, part(entry(2)))

    assert await run.sessions.load(MAIN) == [entry(1)]


async def test_an_entry_that_comes_in_two_parts_is_there_once(server: GatewayServer) -> None:
    run = await server.run(await server.say("@peerbot begin"))
    await begun(run)
    await run.sessions.append(MAIN, [entry(1), entry(2)])
    await run.sessions.append(MAIN, [entry(2), entry(3)])

    assert await run.sessions.load(MAIN) == [entry(1), entry(2), entry(3)]


async def test_parts_that_arrive_out_of_order_are_read_in_order(server: GatewayServer) -> None:
    run = await server.run(await server.say("@peerbot begin"))
    turn = await begun(run)
    for number in (10, 2, 1):
        await run.gateway.keep_part(turn, number, part(entry(number)))

    assert await run.sessions.load(MAIN) == [entry(1), entry(2), entry(10)]


def not_transcripts() -> dict[str, bytes]:
    good = gzip.compress(random.Random(7).randbytes(2000).hex().encode())
    return {
        "nothing": b"",
        "not gzip": b'{"transcripts": []}',
        "cut off": good[:-20],
        "damaged inside": good[:10] + b"\xff" * 20 + good[30:],
        "wrong sum": good[:-8] + b"\0" * 8,
        "not JSON": gzip.compress(b"hello"),
        "another document": gzip.compress(b'{"schema": 1, "transcripts": [{"entries": "all"}]}'),
        "too large when it is unpacked": gzip.compress(b" " * (LARGEST_BYTES + 1), compresslevel=1),
    }


async def a_run_that_kept(server: GatewayServer, kind: str) -> tuple[Input, PlayedRun]:
    """Finish a first turn whose session is no transcript; returns what was said, and the run."""
    item = await server.say("@peerbot begin")
    run = await server.run(item)
    await begun(run)
    await run.gateway.keep_session(1, not_transcripts()[kind])
    await run.gateway.finish(1, result(item))
    return item, run


@pytest.mark.parametrize("kind", not_transcripts())
async def test_a_whole_that_is_no_transcript_costs_its_own_conversation_its_session_alone(
    server: GatewayServer, kind: str
) -> None:
    """The gateway keeps bytes: the agent may have written them. The worker that reads them begins another session."""
    _, run = await a_run_that_kept(server, kind)

    assert await begun(run) == 2
    with pytest.raises(SessionLost) as lost:
        await run.sessions.check(SESSION)
    assert lost.value.why is SessionLoss.DAMAGED


@pytest.mark.parametrize("kind", not_transcripts())
async def test_parts_that_follow_a_damaged_whole_are_not_taken_for_all_of_the_session(
    server: GatewayServer, kind: str
) -> None:
    item, first = await a_run_that_kept(server, kind)
    again = await server.say("go on", item.conversation)
    await begun(first)
    await first.sessions.append(MAIN, [entry(1)])
    await died(server, item, 1)

    second = await server.run(again, 2)
    await begun(second)
    with pytest.raises(SessionLost) as lost:
        await second.sessions.check(SESSION)
    assert lost.value.why is SessionLoss.DAMAGED


async def test_parts_follow_a_whole_without_transcripts(server: GatewayServer) -> None:
    item = await server.say("@peerbot begin")
    first = await server.run(item)
    await begun(first)
    await first.gateway.keep_session(1, pack(SessionWhole(transcripts=[])))
    await first.gateway.finish(1, result(item))
    again = await server.say("go on", item.conversation)
    await begun(first)
    await first.sessions.append(MAIN, [entry(1)])
    await died(server, item, 1)

    second = await server.run(again, 2)
    assert await begun(second) == 2
    assert await second.sessions.load(MAIN) == [entry(1)]


async def test_nothing_is_kept_for_a_turn_that_is_not_at_work(server: GatewayServer) -> None:
    """A hostile run could otherwise fill the journal under any number."""
    run = await server.run(await server.say("@peerbot begin"))
    turn = await begun(run)

    for other in (0, turn + 1, 999_999):
        with pytest.raises(Conflict, match="not the turn that is at work"):
            await run.gateway.keep_part(other, 1, part(entry(1)))
        with pytest.raises(Conflict, match="not the turn that is at work"):
            await run.gateway.keep_session(other, b"")
        with pytest.raises(Conflict, match="not the turn that is at work"):
            await run.gateway.keep_work(other, 1, b"", patiently=False)


async def test_a_session_with_many_subagents_is_fetched_once(
    store_url: str, slack: LocalSlack, github: LocalGitHub
) -> None:
    async with GatewayServer(storage := Counting(await open_storage(store_url)), slack, github) as server:
        item = await server.say("@peerbot begin")
        first = await server.run(item)
        await begun(first)
        subpaths = [f"subagents/agent-{i}" for i in range(20)]
        await first.sessions.append(MAIN, [entry(0)])
        for i, subpath in enumerate(subpaths, 1):
            await first.sessions.append({**MAIN, "subpath": subpath}, [entry(i)])
        await first.sessions.keep()
        await first.gateway.finish(1, result(item))
        await first.gateway.close_run()
        next_item = await server.say("go on", item.conversation)
        second = await server.run(next_item, 2)
        await begun(second)
        storage.reads.clear()

        # What the SDK does when it resumes: the main transcript, then each subagent's.
        assert await second.sessions.load(MAIN) == [entry(0)]
        assert await second.sessions.list_subkeys(MAIN) == subpaths
        for i, subpath in enumerate(subpaths, 1):
            assert await second.sessions.load({**MAIN, "subpath": subpath}) == [entry(i)]
        assert sum("whole" in key for key in storage.reads) == 1


def lines(turn: int) -> list[SessionStoreEntry]:
    """Return a turn's usual addition to a transcript: text that does not compress to nothing."""
    words = random.Random(turn)
    sizes = [FIRST_BYTES // 14] * 14 if turn == 1 else [TURN_BYTES // 7] * 7
    return [entry(turn * 1000 + i, words.randbytes(size // 2).hex()) for i, size in enumerate(sizes)]


TURNS = 101


async def test_a_conversation_of_a_hundred_turns_resumes_with_as_many_reads_as_one_of_ten(
    store_url: str, slack: LocalSlack, github: LocalGitHub
) -> None:
    """Each turn is a run of its own, served by a dispatcher that has just started and remembers nothing."""
    thread = None
    reads: dict[int, Counter[str]] = {}
    for turn in range(1, TURNS + 1):
        storage = Counting(await open_storage(store_url))
        async with GatewayServer(storage, slack, github) as server:
            item = await server.say("@peerbot go on", thread, hours_later=turn)
            thread = item.conversation
            run = await server.run(item, turn)
            found = await resumed(run, turn)
            # The card is drawn in the background (and looks at the turn, and at the run before): no part of resuming.
            drawing = (
                ".card",
                f"/turns/{turn}.json",
                f"/runs/{turn - 1}.json",
                f"/runs/{turn - 1}.started",
                f"/runs/{turn - 1}.closed",
            )
            reads[turn] = Counter(kind(key) for key in storage.reads if not key.endswith(drawing))
            for place in range(0, len(lines(turn)), 4):
                await run.sessions.append(MAIN, lines(turn)[place : place + 4])
            await run.sessions.keep()
            await run.gateway.finish(turn, result(item))
            await run.gateway.close_run()

    assert found == [line for turn in range(1, TURNS) for line in lines(turn)]
    assert reads[TURNS] == reads[11]
    # Two of them are for the turn's budget; some twenty, at the same time, for the files of the ten turns before; eight
    # for what people chose, set and were asked; four to seven for what they took back, or operators removed.
    assert max(map(Counter.total, reads.values())) <= 61


async def resumed(run: PlayedRun, turn: int) -> list[SessionStoreEntry] | None:
    """Do what a worker does until its agent has its memory back."""
    assert len(await run.gateway.inputs(0)) == 1
    begun = await run.gateway.begin()
    assert begun.turn == turn
    assert begun.session_id == (SESSION if turn > 1 else None)
    run.sessions.begin(turn)
    found = await run.sessions.load(MAIN)
    assert await run.sessions.list_subkeys(MAIN) == []
    return found


def kind(key: str) -> str:
    """A key without the numbers that differ from turn to turn."""
    return "/".join(piece for piece in key.split("/") if not piece[:1].isdigit()) + "/" + key.rpartition(".")[2][:8]
