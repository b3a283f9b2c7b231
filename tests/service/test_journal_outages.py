"""A journal goes away in the middle of a conversation, for longer than all retries, and comes back."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, faulty_proxy
from s3_server import make_s3_bucket, s3_environment, s3_server
from system import System, away, below, eventually, full_text

from peerbot.conversation.keys import Conversation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WORK = """run ```
echo begun > begun.txt
python3 -c "
import os, time
while not os.path.exists('go'):
    time.sleep(0.1)
os.remove('go')
print('the agent came to its end')
"
```"""


async def at_work(system: System) -> Path:
    """Wait until the agent works; returns the file that lets it come to its end."""
    await eventually(lambda: below(system.directory / "data", "begun.txt"), 30)
    [begun] = below(system.directory / "data", "begun.txt")
    return begun.with_name("go")


def workers_say(system: System, event: str) -> list[dict[str, Any]]:
    """The lines of one kind in the logs of the runs."""
    lines = [line for log in below(system.directory / "data", "worker.log") for line in log.read_text().splitlines()]
    return [found for line in lines if line.startswith("{") and (found := json.loads(line)).get("event") == event]


def waits_for_the_journal(system: System, path: str) -> Callable[[], bool]:
    return lambda: any(line["path"].endswith(path) for line in system.logged("gateway_unavailable"))


def slack_forgets(system: System) -> None:
    """Let Slack, until the test is over, send nothing again and not tell what people wrote."""
    system.slack.faults.retry_scale = 1000
    system.no_history()


def given_up(system: System) -> set[str]:
    """The messages that the journal did not take in the time of one try."""
    return {line["input"] for line in system.logged("not_acked") if "takes longer" not in line["reason"]}


async def answered_once(system: System, conversation: Conversation, identity: str, seconds: float = 90) -> str:
    """Wait for the one answer of a thread, in Slack alone; its blocks."""
    await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"}, seconds)
    [(message, _)] = system.answers(conversation)
    return json.dumps(message["blocks"])


async def test_a_turn_whose_journal_goes_away_is_kept_when_it_is_back_and_the_work_is_pushed(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        await system.start()
        conversation, identity = await system.say(WORK)
        go = await at_work(system)
        with away(tmp_path / "journal"):
            go.touch()  # the agent asks the model again, and ends
            await eventually(waits_for_the_journal(system, "/ready"), 150)  # git is asked again first
            await eventually(lambda: workers_say(system, "session_part_waits"), 60)
            assert not system.answers(conversation)
        blocks = await answered_once(system, conversation, identity)

        assert "the agent came to its end" in blocks
        assert "could not push" not in blocks
        turn = await system.journal.turn(conversation, 1)
        assert turn
        assert (turn.run, [file.path for file in turn.files]) == (1, ["begun.txt"])
        assert turn.commit
        after = await system.ask("run `cat begun.txt`", thread=conversation, mention=False)
        assert after.session
        assert turn.session
        assert after.session.id == turn.session.id
        assert "Earlier in this thread you asked" in full_text(after)


async def test_what_is_said_in_an_outage_that_outlasts_slack_is_answered_after_it_and_no_run_counts_as_a_try(
    tmp_path: Path,
) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "600"}) as system:
        system.slack.faults.retry_scale = 0.01
        await system.start()
        await system.start()
        waiting, _ = await system.say("run `echo first`")
        await eventually(lambda: system.answers(waiting), 45)
        await system.settled(waiting)
        with away(tmp_path / "journal"):
            missed, identity = await system.say("run `echo missed`")
            await eventually(lambda: len(system.logged("not_acked")) >= 4, 60)  # Slack sends no more
            await eventually(lambda: system.reactions(missed, identity) == {"hourglass_flowing_sand"})
            # Its worker has asked for two minutes and ends.
            await eventually(lambda: [line["reason"] for line in system.logged("process_ended")] == ["cut_off"], 200)
        assert "missed" in await answered_once(system, missed, identity, 120)
        again = await system.ask("run `echo second`", thread=waiting, mention=False)

        assert again.run == 2
        assert "Earlier in this thread you asked" in full_text(again)
        [first, _] = await system.journal.runs(waiting)
        assert first.closed
        assert first.closed.reason == "cut_off"
        assert not first.closed.reason.died_of_itself


async def test_messages_that_slack_neither_sends_again_nor_shows_are_recorded_from_memory(
    tmp_path: Path,
) -> None:
    async with System(tmp_path) as system:
        await system.start()
        thread, _ = await system.say("run `echo first`")
        await eventually(lambda: system.answers(thread), 45)
        await system.settled(thread)
        slack_forgets(system)
        with away(tmp_path / "journal"):
            _, earlier = await system.say("run `echo earlier`", thread=thread, mention=False)
            _, later = await system.say("run `echo later`", thread=thread)
            other, its_identity = await system.say("run `echo other`")
            await eventually(lambda: given_up(system) == {earlier, later, its_identity}, 60)
            await eventually(lambda: system.reactions(other, its_identity) == {"hourglass_flowing_sand"})
        assert "other" in await answered_once(system, other, its_identity)
        await eventually(lambda: system.reactions(thread, later) == {"white_check_mark"}, 90)

        answered = [turn.inputs for k in (1, 2, 3) if (turn := await system.journal.turn(thread, k))]
        assert [identity for turn in answered for identity in turn][-2:] == [earlier, later]
        assert system.slack.undelivered > 0
        assert any("journal" in line["reason"] for line in system.logged("tries_again"))
        assert not system.logged("stamina.retry_scheduled")
        assert not system.logged("caught_up")[1:]  # the first is the start's


async def test_a_dispatcher_that_is_asked_to_end_records_what_it_has_in_memory(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        ending = await system.start()
        slack_forgets(system)
        with away(tmp_path / "journal"):
            conversation, identity = await system.say("run `echo kept`")
            await eventually(lambda: given_up(system) == {identity}, 60)
            ending.terminate()
            await eventually(lambda: system.slack.connections == 0, 30)
        assert await asyncio.wait_for(ending.wait(), 30) == 0
        await system.start()

        assert "kept" in await answered_once(system, conversation, identity)


async def test_rights_that_are_taken_away_in_a_turn_and_given_back_delay_it_and_no_more(tmp_path: Path) -> None:
    with s3_server() as url:
        make_s3_bucket(url, "journal")
        async with faulty_proxy(url) as proxy:
            store = {"PEERBOT_STORE": "s3://journal/peerbot"}
            async with System(tmp_path, s3_environment(proxy.url) | store) as system:
                await system.start()
                conversation, identity = await system.say(WORK)
                go = await at_work(system)
                proxy.plan = lambda method, number: Fault.FORBIDDEN
                go.touch()
                await eventually(waits_for_the_journal(system, "/ready"), 150)  # git is asked again first
                other, its_identity = await system.say("run `echo other`")
                await eventually(lambda: system.logged("not_acked"), 30)
                proxy.plan = lambda method, number: None

                assert "the agent came to its end" in await answered_once(system, conversation, identity)
                assert "other" in await answered_once(system, other, its_identity, 120)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 4 MB of its own."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


async def test_a_disk_that_is_full_in_a_turn_delays_its_answer_until_there_is_room(small: Path, tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_STORE": small.as_uri()}) as system:
        await system.start()
        conversation, identity = await system.say(WORK)
        go = await at_work(system)
        with (small / "full").open("wb", buffering=0) as full:
            try:
                while True:
                    full.write(b"x" * 4096)
            except OSError:
                pass
        go.touch()
        await eventually(waits_for_the_journal(system, "/session"), 60)
        (small / "full").unlink()

        assert "the agent came to its end" in await answered_once(system, conversation, identity)
