"""The gateway's files, asked by a worker's own client: only the thread's, only admitted people's, within limits."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from gateway_server import GatewayServer, PlayedRun

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import input_id
from peerbot.errors import Conflict, Refused
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.local.slack.files import FilePart
from peerbot.slack.shared import shared_files
from peerbot.thread.files import LARGEST_SENT_BYTES
from peerbot.worker.gateway import NotDone

GUEST = "U0GUEST0001"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    storage = await open_storage((tmp_path / "journal").as_uri())
    async with LocalSlack() as slack, LocalGitHub() as github, GatewayServer(storage, slack, github) as server:
        slack.add_user(GUEST, "Guest", kind="guest")
        slack.add_channel(slack.general, "general", members=[slack.person, slack.bot_user, GUEST])
        yield server


async def shared(
    server: GatewayServer, user: str, data: bytes, *, thread: Input | None, recorded: bool, mentions: bool = False
) -> str:
    """Share a file in the thread; returns the id of the message as an input. `recorded`: it is one."""
    slack = server.slack
    thread_ts = thread.thread_ts if thread else None
    mention = slack.mention() if recorded or mentions else ""
    ts = slack.share_files(user, slack.general, mention, [FilePart("a.bin", data)], thread_ts=thread_ts)
    item = Input(
        team=slack.team, channel=slack.general, thread_ts=thread_ts or ts, ts=ts, user=user, user_team=slack.team,
        text=mention, event_id=f"Ev{ts}", files=shared_files(slack.message(slack.general, ts)),
    )  # fmt: skip
    if recorded:
        await server.journal.mark(item)
        await server.journal.record(item)
    return item.id


@pytest.fixture
async def item(server: GatewayServer) -> Input:
    return await server.say("go")


@pytest.fixture
async def run(server: GatewayServer, item: Input) -> PlayedRun:
    return await server.run(item)


async def test_the_files_of_the_threads_messages_are_handed_over(
    server: GatewayServer, item: Input, run: PlayedRun
) -> None:
    for recorded in (True, False):
        identity = await shared(server, server.slack.person, b"x" * 3_000_000, thread=item, recorded=recorded)
        assert await run.gateway.file(identity, 0) == b"x" * 3_000_000
        with pytest.raises(NotDone) as refused:
            await run.gateway.file(identity, 1)
        assert refused.value.why == "deleted"


async def test_the_files_of_refused_messages_and_of_other_threads_are_not(
    server: GatewayServer, item: Input, run: PlayedRun
) -> None:
    guests = await shared(server, GUEST, b"x", thread=item, recorded=True)
    asked = await shared(server, GUEST, b"x", thread=item, recorded=False, mentions=True)
    others = await shared(server, server.slack.person, b"x", thread=None, recorded=True)
    unrecorded = await shared(server, server.slack.person, b"x", thread=None, recorded=False)
    for identity in (guests, asked, others, unrecorded, input_id("1.000001", "message"), "nonsense"):
        with pytest.raises(NotDone) as refused:
            await run.gateway.file(identity, 0)
        assert refused.value.why == "deleted", "it ends no run, and says no more"
    assert not server.slack.downloads


async def test_the_agents_own_token_opens_no_files(server: GatewayServer, item: Input, run: PlayedRun) -> None:
    identity = await shared(server, server.slack.person, b"x", thread=item, recorded=True)
    headers = {"Authorization": f"Bearer {run.gateway.agent_token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{run.gateway.url}/inputs/{identity}/files/0") as reply:
            assert reply.status == 403
        async with session.put(f"{run.gateway.url}/turns/1/sent?name=x", data=b"x") as reply:
            assert reply.status == 403


async def test_a_file_goes_out_for_the_turn_at_work_within_the_limits(server: GatewayServer, run: PlayedRun) -> None:
    await run.gateway.begin()
    await run.gateway.send_file(1, "a b?&#.txt", b"out")
    with pytest.raises(Conflict):
        await run.gateway.send_file(2, "a.txt", b"out")
    with pytest.raises(Refused, match="too large"):
        await run.gateway.send_file(1, "a.txt", bytes(LARGEST_SENT_BYTES + 1))
    with pytest.raises(NotDone, match="empty"):
        await run.gateway.send_file(1, "a.txt", b"")
    thread = server.slack.thread(server.slack.general, run.gateway.url.split("/")[-2])
    assert [file["name"] for message in thread for file in message.get("files", ())] == ["a_b___.txt"]
    await server.settled()
