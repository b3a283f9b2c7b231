"""`peerbot verify` as an operator runs it: clean after real conversations, and one finding for each planted fault."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from slack_sdk.web.async_client import AsyncWebClient
from system import System, eventually

from peerbot.conversation.documents import Input, Marker, Posted, Run, RunStarted, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Fault, LocalSlack
from peerbot.outside import OutsideSettings
from peerbot.verify.app import verify
from peerbot.verify.report import Kind, Name, Report

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = "what is in this repository?"


@dataclass
class World:
    """A journal and a Slack that the product left behind, to be spoiled; `talk` has two turns, `other` one."""

    directory: Path
    slack: LocalSlack
    talk: Conversation
    other: Conversation

    @property
    def journal(self) -> Path:
        return self.directory / "journal"

    def folder(self, conversation: Conversation | None = None) -> Path:
        return self.journal / "conversations" / str(conversation or self.talk)

    @property
    def first_input(self) -> str:
        return min(file.stem for file in (self.folder() / "inputs").iterdir())

    def turn(self, k: int) -> Turn:
        return Turn.model_validate_json((self.folder() / f"turns/{k}.json").read_bytes())

    def put(self, path: str, document: Any) -> None:
        """Write a document into the journal; `path` is a whole key, or the part below the folder of `talk`."""
        file = (self.journal if path.startswith(("pending/", "conversations/")) else self.folder()) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document if isinstance(document, str) else document.model_dump_json())

    def mark(self, identity: str, *, minutes_ago: float = 0) -> None:
        self.put(f"pending/{self.talk}/{identity}", Marker(recorded_at=now() - timedelta(minutes=minutes_ago)))

    def say(self, ts: str | None = None) -> str:
        """Record an input that nobody has answered or marked; its id."""
        ts = ts or f"{float(now().timestamp()):.6f}"
        talk = self.talk
        item = Input(
            team=talk.team,
            channel=talk.channel,
            thread_ts=talk.thread_ts,
            ts=ts,
            user="U1",
            text="secret words",
            event_id="Ev1",
        )
        self.put(f"inputs/{item.id}.json", item)
        return item.id

    def client(self) -> AsyncWebClient:
        return AsyncWebClient(self.slack.bot_token, base_url=self.slack.api_url)

    def answer(self, k: int, conversation: Conversation | None = None) -> str:
        file = self.folder(conversation) / f"turns/{k}.posted"
        return Posted.model_validate_json(file.read_bytes()).ts[0]

    def metadata(self, k: int, conversation: Conversation | None = None, **other: Any) -> dict[str, Any]:
        """Return the mark of the message with turn `k`'s answer; `other` replaces parts of its payload."""
        message = self.slack.message(self.talk.channel, self.answer(k, conversation))
        metadata: dict[str, Any] = message["metadata"]
        return metadata | {"event_payload": metadata["event_payload"] | other}

    async def post(self, metadata: dict[str, Any]) -> str:
        posted = await self.client().chat_postMessage(
            channel=self.talk.channel, thread_ts=self.talk.thread_ts, text="An answer.", metadata=metadata
        )
        return str(posted["ts"])

    async def verify(self, *arguments: str, slack: bool = True, **environment: str) -> tuple[int, str, str]:
        """Run the command: exit code, standard output, standard error."""
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PEERBOT_STORE": self.journal.as_uri(),
            "SLACK_API_URL": self.slack.api_url,
        }
        if slack:
            settings["SLACK_BOT_TOKEN"] = self.slack.bot_token
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "peerbot", "verify", *arguments, stdout=-1, stderr=-1, env=settings | environment
        )
        out, err = await asyncio.wait_for(process.communicate(), 50)
        assert process.returncode is not None
        assert "Traceback" not in err.decode()
        return process.returncode, out.decode(), err.decode()

    async def report(self) -> Report:
        """Return the command's output, without the second that starting it takes."""
        return await reported(self.directory, self.slack)


async def reported(directory: Path, slack: LocalSlack) -> Report:
    settings = OutsideSettings(
        peerbot_store=(directory / "journal").as_uri(),
        slack_bot_token=SecretStr(slack.bot_token),
        slack_api_url=slack.api_url,
    )
    return await verify(settings, lambda line: None)


@dataclass
class Played:
    directory: Path
    talk: Conversation
    other: Conversation
    meanwhile: list[Report]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Make three turns in two threads; yields everything that they leave, and the reports made while they worked."""
    directory = tmp_path_factory.mktemp("played")
    async with System(directory) as system:
        await system.start()
        (talk, first), (other, second) = await asyncio.gather(system.say(QUESTION), system.say(QUESTION))
        answers = asyncio.gather(system.answer(talk, first), system.answer(other, second))
        meanwhile = []
        while not answers.done():
            meanwhile.append(await reported(directory, system.slack))
        await answers
        await system.ask("and what else?", thread=talk, mention=False)
        await asyncio.gather(system.settled(talk), system.settled(other))
        runs = directory / "journal" / "conversations"
        await eventually(lambda: all(run.with_suffix(".closed").exists() for run in runs.glob("*/*/*/runs/*.json")), 30)
    return Played(directory, talk, other, meanwhile)


@pytest_asyncio.fixture(loop_scope="module")
async def world(played: Played, tmp_path: Path) -> AsyncIterator[World]:
    """A copy of it, for one test."""
    for name in ("journal", "slack"):
        shutil.copytree(played.directory / name, tmp_path / name)
    async with LocalSlack(tmp_path / "slack") as slack:
        yield World(tmp_path, slack, played.talk, played.other)


async def test_while_the_product_works_its_inputs_wait_and_nothing_is_found(played: Played) -> None:
    assert [report.findings for report in played.meanwhile if report.findings] == []
    reasons = {waiting.reason.partition(" since ")[0] for report in played.meanwhile for waiting in report.waiting}
    assert "run 1 has been open" in reasons


async def test_what_the_product_left_behind_is_clean(world: World) -> None:
    code, out, err = await world.verify("--json")

    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) == set(Report.model_fields)
    assert report["findings"] == report["waiting"] == report["not_looked_at"] == []
    counts = {name: report[name] for name in ("conversations", "inputs", "turns", "answers_posted")}
    assert counts == {"conversations": 2, "inputs": 3, "turns": 3, "answers_posted": 3}
    assert (report["slack"], report["lost"], report["doubled"], report["wrong"]) == (True, 0, 0, 0)


async def test_a_slack_that_fails_for_a_moment_is_asked_again_without_a_word(world: World) -> None:
    world.slack.faults.add("conversations.replies", Fault(status=503))

    code, out, err = await world.verify("--json")

    assert (code, err) == (0, "")
    assert "http 503" in [call.outcome for call in world.slack.calls]
    assert json.loads(out)["not_looked_at"] == []


async def test_a_fault_is_told_with_its_place_and_what_to_do_and_the_exit_code_is_1(world: World) -> None:
    identity = world.say()
    code, out, _ = await world.verify("--json")
    assert code == 1
    [finding] = json.loads(out)["findings"]
    assert finding == {
        "name": "lost_input",
        "kind": "lost",
        "conversation": str(world.talk),
        "about": identity,
        "sentence": finding["sentence"],
        "what_to_do": finding["what_to_do"],
    }

    code, out, _ = await world.verify()
    assert code == 1
    assert f"LOST lost_input  {world.talk}  {identity}" in out
    assert finding["sentence"] in out
    assert finding["what_to_do"] in out
    assert "secret words" not in out


async def test_without_a_token_the_journal_alone_is_read(world: World) -> None:
    code, out, _ = await world.verify(slack=False)

    assert code == 0
    assert "without Slack" in out
    assert "lost 0, doubled 0, otherwise wrong 0, waiting 0" in out


def lost_input(world: World) -> None:
    world.say()


def marker_without_input(world: World) -> None:
    world.mark("1700000000.000100-message", minutes_ago=13)


def marker_without_conversation(world: World) -> None:
    marker = Marker(recorded_at=now() - timedelta(minutes=13))
    world.put("pending/T0LONELY/C0LONELY/1700000000.000100/1700000000.000100-message", marker)


def answered_twice(world: World) -> None:
    again = Turn(k=3, run=1, inputs=[world.first_input], status=TurnStatus.DONE, text="Once more.")
    world.put("turns/3.json", again)


def unposted(world: World) -> None:
    late = now() - timedelta(minutes=13)
    turn = Turn(k=3, run=1, inputs=[world.say()], status=TurnStatus.DONE, text="Late.", ended_at=late)
    world.put("turns/3.json", turn)


def turn_missing(world: World) -> None:
    (world.folder() / "turns/1.json").unlink()


def newest_turn_missing(world: World) -> None:
    (world.folder() / "turns/2.json").unlink()


def run_missing(world: World) -> None:
    run = Run(n=7, serves=[], secret_hash="", repository="o/n", default_branch="main", branch="b", reserved_by="d")
    world.put("runs/7.json", run)


def input_missing(world: World) -> None:
    (world.folder() / f"inputs/{world.first_input}.json").unlink()


def session_missing(world: World) -> None:
    session = world.turn(2).session
    assert session
    (world.folder() / f"sessions/{session.turn}/{session.run}/whole.json.gz").unlink()


def session_damaged(world: World) -> None:
    session = world.turn(2).session
    assert session
    file = world.folder() / f"sessions/{session.turn}/{session.run}/whole.json.gz"
    file.write_bytes(file.read_bytes()[:-20])


def damaged_turn(world: World) -> None:
    file = world.folder() / "turns/1.json"
    file.write_bytes(file.read_bytes()[:40])


def damaged_input(world: World) -> None:
    world.put(f"inputs/{world.first_input}.json", "")


def damaged_beginning(world: World) -> None:
    world.put("conversation.json", "{}")


def newer_receipt(world: World) -> None:
    file = world.folder() / "turns/1.posted"
    file.write_text(file.read_text().replace('"schema":1', '"schema":2'))


def newer_run(world: World) -> None:
    file = world.folder() / "runs/1.json"
    file.write_text(file.read_text().replace('"schema":1', '"schema":2'))


@pytest.mark.parametrize(
    ("fault", "name", "kind"),
    [
        (lost_input, "lost_input", "lost"),
        (marker_without_input, "marker_without_input", "lost"),
        (marker_without_conversation, "marker_without_input", "lost"),
        (unposted, "unposted", "lost"),
        (answered_twice, "answered_twice", "doubled"),
        (turn_missing, "turn_missing", "wrong"),
        (newest_turn_missing, "turn_missing", "wrong"),
        (run_missing, "run_missing", "wrong"),
        (input_missing, "input_missing", "wrong"),
        (session_missing, "session_missing", "wrong"),
        (session_damaged, "damaged", "wrong"),
        (damaged_turn, "damaged", "wrong"),
        (damaged_input, "damaged", "wrong"),
        (damaged_beginning, "damaged", "wrong"),
        (newer_receipt, "newer", "wrong"),
        (newer_run, "newer", "wrong"),
    ],
)
async def test_a_fault_in_the_journal_is_found_and_nothing_else(
    world: World, fault: Callable[[World], None], name: str, kind: str
) -> None:
    fault(world)
    report = await world.report()

    assert {(str(finding.name), str(finding.kind)) for finding in report.findings} == {(name, kind)}
    assert {"lost": report.lost, "doubled": report.doubled, "wrong": report.wrong}[kind] == len(report.findings)
    assert not report.good
    assert kind != "lost" or report.waiting == []  # a lost message does not wait


async def test_a_message_that_somebody_deleted_is_found(world: World) -> None:
    await world.client().chat_delete(channel=world.talk.channel, ts=world.answer(2))
    [finding] = (await world.report()).findings

    assert (finding.name, finding.about) == (Name.ANSWER_GONE, "turn 2")


async def test_an_answer_that_is_in_slack_twice_is_found(world: World) -> None:
    await world.post(world.metadata(2))
    [finding] = (await world.report()).findings

    assert (finding.name, finding.kind, finding.about) == (Name.POSTED_TWICE, Kind.DOUBLED, "turn 2")


async def test_the_parts_of_an_answer_are_not_taken_for_doubles(world: World) -> None:
    for part in (2, 3):
        await world.post(world.metadata(2, part=part))

    assert (await world.report()).findings == []


async def test_an_answer_of_a_turn_that_the_journal_does_not_have_is_found(world: World) -> None:
    ts = await world.post(world.metadata(2, turn=3))
    [finding] = (await world.report()).findings

    assert (finding.name, finding.about) == (Name.UNKNOWN_ANSWER, f"message {ts}")


async def test_an_answer_in_the_wrong_thread_is_found(world: World) -> None:
    await world.post(world.metadata(1, world.other))
    [finding] = (await world.report()).findings

    assert finding.name is Name.UNKNOWN_ANSWER
    assert str(world.other) in finding.sentence


async def test_answers_in_another_order_than_their_turns_are_found(world: World) -> None:
    first, second = world.answer(1), world.answer(2)
    world.put("turns/1.posted", Posted(ts=[second]))
    world.put("turns/2.posted", Posted(ts=[first]))
    [finding] = (await world.report()).findings

    assert (finding.name, finding.about) == (Name.OUT_OF_ORDER, "turn 2")


async def test_an_answer_that_slack_would_never_take_is_counted_apart(world: World) -> None:
    await world.client().chat_delete(channel=world.talk.channel, ts=world.answer(2))
    world.put("turns/2.posted", Posted(ts=[]))
    report = await world.report()

    assert report.good
    assert (report.answers_posted, report.answers_not_taken) == (2, 1)


async def test_a_thread_that_slack_does_not_show_is_named_and_its_journal_read(world: World) -> None:
    world.slack.add_channel(world.talk.channel, "general", members=[world.slack.person])
    report = await world.report()

    assert {unseen.conversation for unseen in report.not_looked_at} == {str(world.talk), str(world.other)}
    assert report.findings == []
    assert report.answers_posted == 3


async def test_what_waits_is_told_with_its_age_and_reason_and_is_no_fault(world: World) -> None:
    asked = now() - timedelta(minutes=30)
    identity = world.say(f"{asked.timestamp():.6f}")
    world.mark(identity)
    [waiting] = (await world.report()).waiting
    assert (waiting.input, waiting.conversation) == (identity, str(world.talk))
    assert 1800 <= waiting.age_seconds < 1900
    assert "is closed (finished), and there is no other run yet" in waiting.reason

    runs = len(list((world.folder() / "runs").glob("*.json")))
    run = Run(
        n=runs + 1, serves=[identity], secret_hash="", repository="o/n", default_branch="main", branch="b",
        reserved_by="d",
    )  # fmt: skip
    world.put(f"runs/{run.n}.json", run)
    [waiting] = (await world.report()).waiting
    assert waiting.reason.startswith(f"run {run.n} was reserved at ")

    world.put(f"runs/{run.n}.started", RunStarted(supervisor_hash="", agent_hash=""))
    [waiting] = (await world.report()).waiting
    assert waiting.reason.startswith(f"run {run.n} has been open since ")

    world.put("turns/3.json", Turn(k=3, run=run.n, inputs=[identity], status=TurnStatus.DONE, text="Soon."))
    report = await world.report()
    assert [waiting.reason for waiting in report.waiting] == ["turn 3 is written, and its answer is not posted yet"]
    assert report.good

    code, out, _ = await world.verify()
    assert code == 0
    assert "30 min" in out


async def test_a_young_marker_waits_for_its_input(world: World) -> None:
    world.mark(f"{now().timestamp():.6f}-message")
    report = await world.report()

    assert report.findings == []
    assert [waiting.reason for waiting in report.waiting] == ["its marker is there, but it is not recorded yet"]


async def test_a_marker_of_a_posted_answer_is_counted_and_harmless(world: World) -> None:
    world.mark(world.first_input)
    report = await world.report()

    assert report.good
    assert (report.leftover_markers, report.waiting) == (1, [])


async def test_several_faults_in_several_conversations_are_all_told(world: World) -> None:
    lost_input(world)
    session_missing(world)
    (world.folder(world.other) / "turns/1.posted").write_text("{")
    report = await world.report()

    assert {finding.name for finding in report.findings} == {Name.LOST_INPUT, Name.SESSION_MISSING, Name.DAMAGED}
    assert {finding.conversation for finding in report.findings} == {str(world.talk), str(world.other)}


async def test_since_leaves_out_what_was_silent_and_does_not_wait(world: World) -> None:
    old = f"{now().timestamp() - 7200:.6f}"
    for place in ("T0SILENT", "T0WAITS"):
        world.put(f"conversations/{place}/C0OLD/{old}/inputs/{old}-message.json", "{")
    world.put(f"pending/T0WAITS/C0OLD/{old}/{old}-message", Marker())

    _, out, _ = await world.verify("--json", "--since", "1", slack=False)
    report = json.loads(out)
    assert (report["conversations"], report["skipped"]) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("--store", "ftp://somewhere"), {}, "ftp://somewhere"),
        (("--store", "file:///there/is/no/such/directory"), {}, "There is no journal at"),
        ((), {"SLACK_BOT_TOKEN": "s3cr3t"}, "SLACK_BOT_TOKEN: a bot token begins with xoxb-"),
        ((), {"SLACK_BOT_TOKEN": "xoxb-s3cr3t"}, "Slack does not accept the bot token"),
        ((), {"PEERBOT_STOER": "file:///x"}, "PEERBOT_STOER is not a setting"),
        (("--since", "-1"), {}, "more than 0"),
    ],
)
async def test_wrong_settings_are_told_with_exit_code_2(
    world: World, arguments: tuple[str, ...], environment: dict[str, Any], told: str
) -> None:
    code, out, err = await world.verify(*arguments, **environment)

    assert (code, out) == (2, "")
    assert told in err
    assert "s3cr3t" not in err
