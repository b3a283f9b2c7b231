"""Files that the agent sends into its thread: each arrives once, whatever dies, or the agent reads why not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scripted_api import calls, png
from shared_world import World, shared_world
from system import eventually, full_text

from peerbot.conversation.documents import Run
from peerbot.conversation.keys import Conversation, input_id
from peerbot.errors import Unavailable
from peerbot.journal import sent
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.slack import Fault, LocalSlack
from peerbot.local.slack.files import UPLOAD, FilePart
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.post import UPLOAD_REFUSALS, Poster
from peerbot.thread.files import LARGEST_SENT_BYTES, MOST_SENT, NotSent, Sending

SEND = "mcp__peerbot__send_file"


def sends(*paths: str) -> Reply:
    return Reply("I send.", tuple(ToolCall(SEND, {"file_path": path}) for path in paths))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with shared_world(tmp_path) as world:
        yield world


def shown(slack: LocalSlack, conversation: Conversation) -> list[tuple[str, bytes]]:
    """The files that the bot put into the thread, with their contents."""
    messages = slack.thread(conversation.channel, conversation.thread_ts)
    files = [file for m in messages if m["user"] == slack.bot_user for file in m.get("files", ())]
    return [(file["name"], slack.file(file["id"])) for file in files]


async def test_the_agent_sends_a_picture_and_a_log_into_the_thread(world: World) -> None:
    make = "cp ~/shared-files/*/in.png chart.png && mkdir -p out && echo line > out/run.log && echo t > $TMPDIR/t.txt"
    make = make.replace("$TMPDIR", "/tmp")
    world.script.steps = [
        calls("Bash", command=make),
        sends("chart.png", "out/run.log", "/tmp/t.txt"),
        Reply("Look above."),
    ]
    picture = png(32)
    conversation, identity = await world.share([FilePart("in.png", picture)])
    turn = await world.system.answer(conversation, identity)
    assert full_text(turn).startswith("Look above.")
    assert sorted(shown(world.system.slack, conversation)) == [
        ("chart.png", picture),
        ("run.log", b"line\n"),
        ("t.txt", b"t\n"),
    ]
    assert "chart.png is in the thread now." in world.results
    await eventually(lambda: "Send run.log" in json.dumps(world.system.cards(conversation)))
    tools = {tool["name"]: tool for tool in world.bodies[-1]["tools"]}
    assert "in the temporary folder" in tools[SEND]["description"]
    [log] = [m for m in world.system.slack.thread(conversation.channel, conversation.thread_ts) if has(m, "run.log")]
    assert log["files"][0]["mode"] == "snippet"
    assert log["text"] == ""


def has(message: dict[str, Any], name: str) -> bool:
    return any(file["name"] == name for file in message.get("files", ()))


async def test_what_may_not_be_sent_is_refused_in_words(world: World) -> None:
    make = (
        "ln -s /etc/passwd link.txt; ln -s /etc etc; mkdir folder; mkfifo pipe; : > empty.txt; "
        "head -c 10485761 /dev/zero > big.bin; echo x > one.txt; cp one.txt ~/home.txt"
    )
    places = ("link.txt", "etc/passwd", "folder", "pipe", "empty.txt", "big.bin", "nothing.txt", "")
    outside = ("/etc/passwd", "../one.txt", "/proc/self/environ", "~/home.txt", "/tmp/../etc/passwd", "/workspace/..")
    world.script.steps = [calls("Bash", command=make), sends(*places), sends(*outside), Reply("None went.")]
    conversation, identity = await world.system.say("send them")
    assert full_text(await world.system.answer(conversation, identity)).startswith("None went.")
    assert shown(world.system.slack, conversation) == []
    assert world.results.count("The file was not sent.") == len(places) + len(outside)
    assert world.results.count("neither in the workspace nor in the temporary folder") == len(outside)
    assert "It has more than 10 MiB" in world.results
    assert "It is empty." in world.results


async def test_no_more_than_five_files_go_out_and_the_same_one_goes_once(world: World) -> None:
    world.script.steps = [
        calls("Bash", command="for n in 1 2 3 4 5 6; do echo $n > $n.txt; done"),
        sends("1.txt", "1.txt", "2.txt", "3.txt"),
        sends("4.txt", "5.txt", "6.txt", "1.txt"),
        Reply("Sent."),
    ]
    conversation, identity = await world.system.say("send them")
    await world.system.answer(conversation, identity)
    assert sorted(shown(world.system.slack, conversation)) == [(f"{n}.txt", f"{n}\n".encode()) for n in range(1, 6)]
    assert "You have sent 5 files in this turn" in world.results
    world.script.steps = [sends("6.txt"), Reply("Sent.")]
    await world.system.ask("and the last", thread=conversation)
    assert len(shown(world.system.slack, conversation)) == 6, "another turn has its own"


async def test_a_run_that_goes_on_with_a_turn_sends_a_file_no_second_time(world: World) -> None:
    wait = "python3 -c 'import time; time.sleep(60)'"
    make = calls("Bash", command="echo same > /tmp/report.txt")
    world.script.steps = [make, sends("/tmp/report.txt"), calls("Bash", command=wait, description="Wait for long")]
    conversation, identity = await world.system.say("send it")
    await eventually(lambda: "Wait for long" in json.dumps(world.system.cards(conversation)), 60)
    assert shown(world.system.slack, conversation) == [("report.txt", b"same\n")]
    world.script.steps = [make, sends("/tmp/report.txt"), Reply("It is there.")]
    world.system.kill_workers()
    turn = await world.system.answer(conversation, identity)
    assert (turn.run, full_text(turn)) == (2, "It is there.")
    assert shown(world.system.slack, conversation) == [("report.txt", b"same\n")]


async def test_the_agent_reads_why_slack_does_not_take_a_file(world: World) -> None:
    world.system.slack.faults.add("files.getUploadURLExternal", Fault(error="file_type_not_allowed"))
    world.script.steps = [calls("Bash", command="echo x > one.exe"), sends("one.exe"), Reply("I could not.")]
    conversation, identity = await world.system.say("send it")
    await world.system.answer(conversation, identity)
    assert UPLOAD_REFUSALS["file_type_not_allowed"] in world.results
    assert shown(world.system.slack, conversation) == []


@dataclass
class Thread:
    """A thread in the local Slack, and dispatchers that may send files into it."""

    slack: LocalSlack
    folder: Path
    journal: Journal
    conversation: Conversation
    run: Run
    dispatchers: list[Sending] = field(default_factory=list)
    posters: list[Poster] = field(default_factory=list)

    async def send(self, name: str = "a.bin", data: bytes = b"bytes", *, by: int = 0, turn: int = 1) -> None:
        await self.dispatchers[by].send(self.conversation, self.run, turn, name, data)

    @property
    def shown(self) -> list[tuple[str, bytes]]:
        return shown(self.slack, self.conversation)


async def opened_journal(stack: AsyncExitStack, folder: Path) -> Journal:
    journal = Journal(await open_storage((folder / "journal").as_uri()))
    stack.push_async_callback(journal.close)
    return journal


@pytest.fixture
async def thread(tmp_path: Path) -> AsyncIterator[Thread]:
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack())
        ts = await slack.say(slack.person, slack.general, "go")
        conversation = Conversation(slack.team, slack.general, ts)
        run = Run(
            n=1, serves=[input_id(ts, "message")], secret_hash="", repository="a/b", default_branch="main",
            branch="b", reserved_by="me",
        )  # fmt: skip
        thread = Thread(slack, tmp_path / "journal", await opened_journal(stack, tmp_path), conversation, run)
        for _ in range(2):
            journal = await opened_journal(stack, tmp_path)
            client = await stack.enter_async_context(open_client(slack.api_url, slack.bot_token))
            poster = Poster(Outbound(client), Us(slack.team, slack.bot_user, bot=slack.bot))
            thread.posters.append(poster)
            thread.dispatchers.append(Sending(journal, poster, at_work=timedelta(seconds=0.5)))
        yield thread


@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
@pytest.mark.parametrize("code", sorted(UPLOAD_REFUSALS))
async def test_each_refusal_of_slack_has_its_sentence(thread: Thread, method: str, code: str) -> None:
    thread.slack.faults.add(method, Fault(error=code))
    with pytest.raises(NotSent) as refused:
        await thread.send()
    assert str(refused.value) == UPLOAD_REFUSALS[code]
    assert thread.shown == []
    await thread.send()
    assert thread.shown == [("a.bin", b"bytes")], "another try may do it"


async def test_an_unknown_refusal_is_named(thread: Thread) -> None:
    thread.slack.faults.add("files.completeUploadExternal", Fault(error="something_new"))
    with pytest.raises(NotSent, match=r"Slack refused the file \(something_new\)"):
        await thread.send()


FAULTS = [
    ("files.getUploadURLExternal", Fault(status=500)),
    ("files.getUploadURLExternal", Fault(lost=True)),
    (UPLOAD, Fault(status=500)),
    ("files.completeUploadExternal", Fault(status=500)),
    ("files.completeUploadExternal", Fault(lost=True)),
    ("files.completeUploadExternal", Fault(status=429, retry_after_seconds=1)),
]


@pytest.mark.parametrize("by", [0, 1], ids=["the same dispatcher", "another"])
@pytest.mark.parametrize(("method", "fault"), FAULTS)
@pytest.mark.parametrize("times", [1, 5])
async def test_a_file_comes_once_after_any_fault(
    thread: Thread, method: str, fault: Fault, by: int, times: int
) -> None:
    thread.slack.faults.add(method, fault, times=times)
    for _ in range(8):
        try:
            await asyncio.wait_for(thread.send(by=by), 60)
            break
        except Unavailable:  # a refusal would say that the file is not there
            continue
    assert thread.shown == [("a.bin", b"bytes")]
    calls = len(thread.slack.calls)
    await thread.send(by=1 - by)
    assert thread.shown == [("a.bin", b"bytes")]
    assert len(thread.slack.calls) == calls, "nobody asks Slack about a file that is known to be there"


async def test_two_dispatchers_that_are_asked_at_once_send_it_once(thread: Thread) -> None:
    await asyncio.gather(*(thread.send(by=by) for by in (0, 1, 0, 1)))
    assert thread.shown == [("a.bin", b"bytes")]
    assert len(await sent.all_of(thread.journal, thread.conversation, 1)) == 1


async def test_a_second_call_waits_as_long_as_the_first_may_be_at_work(thread: Thread) -> None:
    thread.slack.faults.add("files.completeUploadExternal", Fault(delay_seconds=4))
    waits = Sending(thread.journal, thread.posters[1], at_work=timedelta(seconds=30))
    first = asyncio.create_task(thread.send())
    written = str(thread.conversation) + "/sent/1/1.json"
    await eventually((thread.folder / "conversations" / written).exists)
    await waits.send(thread.conversation, thread.run, 1, "a.bin", b"bytes")
    await first
    assert thread.shown == [("a.bin", b"bytes")]


@pytest.mark.parametrize("after", ["the document", "the share"])
async def test_a_dispatcher_that_dies_in_between_is_followed_by_one_that_finds_out(thread: Thread, after: str) -> None:
    method = "files.completeUploadExternal"
    thread.slack.faults.add(
        method, Fault(status=429, retry_after_seconds=30) if after == "the document" else Fault(lost=True)
    )
    dies = asyncio.create_task(thread.send())
    written = str(thread.conversation) + "/sent/1/1.json"
    await eventually((thread.folder / "conversations" / written).exists)
    await eventually(lambda: after == "the document" or thread.shown)
    dies.cancel()
    await asyncio.wait([dies])
    await thread.send(by=1)
    assert thread.shown == [("a.bin", b"bytes")]


async def test_the_limits_hold_across_dispatchers(thread: Thread) -> None:
    data = b"x" * LARGEST_SENT_BYTES
    await thread.send("1", data)
    await thread.send("2", data, by=1)
    with pytest.raises(NotSent, match="25 MiB"):
        await thread.send("3", data)
    results = await asyncio.gather(*(thread.send(str(n), b"x", by=n % 2) for n in range(4, 12)), return_exceptions=True)
    assert sum(result is None for result in results) == MOST_SENT - 2
    assert len(thread.shown) == MOST_SENT


async def test_no_file_of_the_agents_passes_for_a_part_of_an_answer(thread: Thread) -> None:
    await thread.send("answer-turn-1-part-4.md", b"x")
    await thread.send("../../etc/<!channel> x\n.md", b"x")
    assert [name for name, _ in thread.shown] == ["file-answer-turn-1-part-4.md", "channel__x_.md"]


async def test_the_table_has_each_error_that_slack_documents() -> None:
    documented = {
        "alt_txt_too_large", "file_type_not_allowed", "file_upload_size_restricted", "file_uploads_disabled",
        "file_uploads_except_images_disabled", "missing_argument", "snippet_too_large", "storage_limit_reached",
        "unknown_snippet_type", "unknown_subtype",
        "channel_not_found", "channels_limit_exceeded", "file_not_found", "file_update_failed", "invalid_blocks",
        "invalid_channel", "not_in_channel", "posting_to_channel_denied", "user_is_external_guest",
    }  # fmt: skip
    assert documented <= set(UPLOAD_REFUSALS)
