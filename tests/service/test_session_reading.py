"""What the session page's server tells: a real conversation, live and from the journal alone, and bad transcripts."""

import asyncio
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from session_viewers import Viewer, viewing, with_page
from system import System, eventually

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOB = "U0BOB000001"
TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
PRINTS = f"run `echo {TOKEN}; printf '\\033[31m\\377\\n'; echo '<script>alert(1)</script>' > made.html; git add -A; "
PRINTS += "git commit -qm made; seq 1 4500`"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("reading")) as system:
        with_page(system)
        await system.start()
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worked(system: System) -> tuple[Conversation, Turn]:
    conversation, identity = await system.say(PRINTS)
    return conversation, await system.answer(conversation, identity)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada(system: System) -> AsyncIterator[Viewer]:
    async with viewing(system, system.slack.person) as viewer:
        yield viewer


async def steps(viewer: Viewer, conversation: Conversation, turn: int = 1) -> list[dict[str, Any]]:
    """All steps of a turn, page by page."""
    found: list[dict[str, Any]] = []
    after, more = "0.0", True
    while more:
        status, page = await viewer.get(f"/sessions/{conversation}/turns/{turn}/steps?after={after}")
        assert status == 200
        found += page["steps"]
        after, more = page["next"], page["more"]
    return found


async def test_a_turn_is_told_from_the_mention_to_the_answer(
    system: System, ada: Viewer, worked: tuple[Conversation, Turn]
) -> None:
    conversation, turn = worked
    status, body = await ada.get(f"/sessions/{conversation}/overview")
    assert status == 200
    shown = body["turns"][0]
    assert shown["state"] == "done"
    assert shown["inputs"][0]["who"] == "Ada Lovelace"
    assert [moment["what"] for moment in shown["moments"]] == [
        "said",
        "recorded",
        "reserved",
        "started",
        "cloned",
        "requested",
        "pushed",
        "ended",
        "posted",
    ]
    assert shown["held"] == {"model": "", "budget_usd": 10.0, "turn_seconds": 300.0, "network": "machine"}
    assert shown["commits_url"].endswith(f"/compare/{turn.before}...{turn.commit}")
    assert shown["commit"] == turn.commit
    assert shown["files"] == [{"path": "made.html", "added": 1, "removed": 0}]
    assert shown["pull_request"]["number"]
    assert shown["spent"][0]["requests"] >= 2
    assert body["settings"]["repository"] == turn.repository
    link = f"{ada.base}/sessions/{conversation}"
    messages = system.slack.thread(conversation.channel, conversation.thread_ts)
    assert sum(f"<{link}|View session>" in json.dumps(message["blocks"]) for message in messages[1:]) == 2


async def test_what_tools_print_is_bounded_and_masked_here_and_in_downloads(
    ada: Viewer, worked: tuple[Conversation, Turn]
) -> None:
    conversation, turn = worked
    found = await steps(ada, conversation)
    assert TOKEN not in json.dumps(found)
    printed = next(step for step in found if step["kind"] == "result" and step["chars"])
    assert "[masked: GitHub token]" in printed["text"]
    assert "characters are left out" in printed["text"]
    assert "\x1b" not in printed["text"]
    status, whole = await ada.get(f"/sessions/{conversation}/turns/1/steps/{printed['id']}")
    assert status == 200
    assert b"\n4499\n" in whole
    status, lines = await ada.get(f"/sessions/{conversation}/turns/1/transcript.jsonl")
    assert status == 200
    entries = [json.loads(line) for line in lines.splitlines()]
    assert any(entry["type"] == "assistant" for entry in entries)
    status, packed = await ada.get(f"/sessions/{conversation}/turns/1/session.zip")
    assert turn.session
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        assert files.read(f"{turn.session.id}.jsonl") == lines
        assert turn.session.id in files.read("README.txt").decode()
    for data in (whole, lines):
        assert TOKEN.encode() not in data
        assert b"masked: GitHub token" in data


async def told(viewer: Viewer, conversation: Conversation, until: str, after: str = "") -> list[tuple[str, str, Any]]:
    """The events of a stream, up to the first of a kind that has something in it."""
    events: list[tuple[str, str, Any]] = []
    kind = identity = ""
    address = f"{viewer.base}/sessions/{conversation}/events" + (f"?after={after}" if after else "")
    async with asyncio.timeout(60), viewer.http.get(address) as reply:
        assert reply.status == 200
        buffer = b""
        async for chunk in reply.content.iter_any():
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in map(bytes.decode, lines):
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                identity = value if name == "id" else identity
                if name == "data":
                    events.append((kind, identity, json.loads(value)))
                    if until in (kind, value) or until in value:
                        return events
    raise AssertionError(f"the stream ended without {until}: {[event[:2] for event in events]}")


async def test_a_stream_tells_all_there_is_and_goes_on_where_it_was(
    system: System, ada: Viewer, worked: tuple[Conversation, Turn]
) -> None:
    conversation, _ = worked
    events = await told(ada, conversation, '"settled":true')
    streamed = [step["key"] for kind, _, data in events if kind == "steps" for step in data["steps"]]
    assert streamed == [step["key"] for step in await steps(ada, conversation)]
    last = [identity for kind, identity, _ in events if kind == "steps"][-1]
    again = await told(ada, conversation, '"settled":true', after=last)
    assert not [event for event in again if event[0] == "steps"], "nothing is told twice"
    before = last.rpartition(".")[0] + ".1"
    rest = await told(ada, conversation, '"settled":true', after=before)
    assert [event for event in rest if event[0] == "steps"]


async def test_it_is_live_on_any_replica_and_a_stream_ends_with_its_replica(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        with_page(system).settings["PEERBOT_CHECKPOINT_SECONDS"] = "1"
        await system.start()
        second = await system.start()
        async with viewing(system, system.slack.person) as viewer:
            conversation, identity = await system.say("run `echo begun | tee made; sleep 8; echo over`")
            await eventually(lambda: any("sessions/1/" in file for file in system.files(conversation)), 60)
            events = await told(viewer, conversation, "sleep 8")
            assert not system.answers(conversation), "told before the answer"
            assert any(kind == "turn" and data["state"] == "working" for kind, _, data in events)
            live = (await told(viewer, conversation, '"saves":1'))[-1][2]
            assert live["held"]["network"] == "machine"
            assert "requested" in [moment["what"] for moment in live["moments"]]
            assert not system.answers(conversation), "told before the answer"
            await system.answer(conversation, identity)
            over = (await told(viewer, conversation, '"state":"done"'))[-1][2]
            assert over["saves"] == 1
            assert "saved" in [moment["what"] for moment in over["moments"]]

            async def ends() -> float:
                async with viewer.http.get(f"{viewer.base}/sessions/{conversation}/events") as reply:
                    await reply.content.readline()
                    ending = asyncio.create_task(system.end(second))
                    began = time.monotonic()
                    await reply.content.read()
                    took = time.monotonic() - began
                    await ending
                    return took

            assert await ends() < 5


async def test_damaged_and_strange_parts_are_named_and_the_rest_is_shown(
    system: System, ada: Viewer, worked: tuple[Conversation, Turn]
) -> None:
    conversation, _ = worked
    good = {"type": "assistant", "uuid": "late", "message": {"content": [{"type": "text", "text": "still here"}]}}
    part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": "", "entries": [good]}
    planted = {
        1: b"\xff\xfe no JSON",
        2: b'{"schema":1,"entries":[{"type":"assistant"',
        3: json.dumps(part | {"entries": [{"type": "hologram"}, 5, "x", {"type": "user", "message": 7}]}).encode(),
        4: json.dumps(part | {"entries": [{"type": "user", "message": {"content": "z" * 5_000_000}}]}).encode(),
        5: b'{"entries":' + b"[" * 100_000,
        6: json.dumps(part).encode(),
    }
    for number, data in planted.items():
        key = paths.session_part(conversation, 1, 900, number)
        assert await system.journal.put(key, data)
    began = time.monotonic()
    found = await steps(ada, conversation)
    assert time.monotonic() - began < 20
    late = [step for step in found if step["id"].startswith("900.")]
    assert [step["kind"] for step in late] == [
        "unreadable",
        "unreadable",
        "unknown",
        "unreadable",
        "unreadable",
        "said",
    ]
    assert "4.8 MB" in late[3]["text"]
    assert late[-1]["text"] == "still here"
    assert len(found) > len(late)


async def test_a_transcript_of_three_thousand_steps_opens_quickly(system: System, ada: Viewer) -> None:
    conversation, identity = await system.say("what is in this repository?")
    await system.answer(conversation, identity)
    for number in range(1, 301):
        entries = [
            {
                "type": "assistant",
                "uuid": f"u{number}-{n}",
                "message": {"content": [{"type": "text", "text": "word " * 50}]},
            }
            for n in range(10)
        ]
        part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": "", "entries": entries}
        await system.journal.put(paths.session_part(conversation, 1, 700, number), json.dumps(part).encode())
    began = time.monotonic()
    status, page = await ada.get(f"/sessions/{conversation}/turns/1/steps")
    first = time.monotonic() - began
    assert status == 200
    assert page["more"]
    assert len(page["steps"]) < 1500
    assert first < 5
    assert len(await steps(ada, conversation)) > 3000


async def test_who_leaves_the_channel_sees_no_more(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        with_page(system).settings["SLACK_ALLOW_PRIVATE_CHANNELS"] = "true"
        system.slack.add_user(BOB, "Bob")
        members = [system.slack.person, system.slack.bot_user, BOB]
        system.slack.add_channel("C0PRIVATE01", "secret", kind="private", members=members)
        await system.start()
        conversation, identity = await system.say("run `echo hello`", channel="C0PRIVATE01")
        await system.answer(conversation, identity)
        async with viewing(system, BOB) as bob:
            assert await bob.sees(conversation) == 200
            waiting = asyncio.create_task(_until_over(bob, conversation))
            system.slack.add_channel("C0PRIVATE01", "secret", kind="private", members=members[:2])
            over = await waiting
            assert over["error"] == "over"
            assert await bob.sees(conversation) == 404


async def _until_over(viewer: Viewer, conversation: Conversation) -> Any:
    async with asyncio.timeout(150), viewer.http.get(f"{viewer.base}/sessions/{conversation}/events") as reply:
        over = False
        async for line in reply.content:
            over = over or line == b"event: over\n"
            if over and line.startswith(b"data: "):
                return json.loads(line[6:])
    raise AssertionError("the stream did not end")
