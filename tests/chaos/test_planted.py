"""A fault of each kind, planted into the real stores of a small run that went well, makes the checker call its name.

Each is planted into a conversation of its own, through the doors that a fault would come through: Slack's Web API with
the bot's token, the bucket's API, the bare repository, the model's API, the processes of this machine.
"""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from checker import Name, judge
from crowd import Course, Said
from evidence import gather
from gcs_server import gcs_server, make_bucket
from plan import Message, Plan, Talk
from saved_state import FILES
from slack_sdk.web.async_client import AsyncWebClient
from world import ChaosSystem

from peerbot import logs
from peerbot.journal.open import open_storage
from peerbot.thread.answers import turn_metadata

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

Plant = Callable[["Planter", Course], Awaitable[None]]


class Planter:
    """Reaches into the stores of a run whose dispatchers have ended."""

    def __init__(self, system: ChaosSystem) -> None:
        self.system = system
        self.started: list[asyncio.subprocess.Process] = []
        self._base = f"{system.google}/storage/v1/b/{system.bucket}/o"
        self.slack = AsyncWebClient(system.slack.bot_token, base_url=system.slack.api_url)
        self.slack.proxy = None

    def folder(self, course: Course) -> str:
        return f"conversations/{course.conversation}"

    async def repository(self, course: Course) -> Path:
        begun = await self.read(f"{self.folder(course)}/conversation.json")
        return self.system.github.repository_path(str(begun["repository"]))

    async def read(self, key: str) -> dict[str, object]:
        url = f"{self._base}/{quote(key, safe='')}?alt=media"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            assert reply.status == 200, key
            found: dict[str, object] = json.loads(await reply.read())
            return found

    async def put(self, key: str, document: dict[str, object]) -> None:
        url = f"{self.system.google}/upload/storage/v1/b/{self.system.bucket}/o"
        named, data = {"uploadType": "media", "name": key}, json.dumps(document)
        async with aiohttp.ClientSession() as session, session.post(url, params=named, data=data) as reply:
            assert reply.status == 200, await reply.text()

    async def delete(self, key: str) -> None:
        url = f"{self._base}/{quote(key, safe='')}"
        async with aiohttp.ClientSession() as session, session.delete(url) as reply:
            assert reply.status < 300, key

    def answer_to(self, course: Course, k: int) -> dict[str, object]:
        assert course.conversation
        return next(message for message, turn in self.system.answers(course.conversation) if turn == k)

    async def post_again(self, course: Course, k: int) -> None:
        assert course.conversation
        answer = self.answer_to(course, k)
        await self.slack.chat_postMessage(
            channel=course.conversation.channel,
            thread_ts=course.conversation.thread_ts,
            text=str(answer["text"]),
            blocks=[{key: value for key, value in block.items() if key != "block_id"} for block in answer["blocks"]],  # type: ignore[attr-defined]
            metadata=turn_metadata(course.conversation, k).as_metadata(),
        )

    async def take_back(self, course: Course, k: int) -> None:
        assert course.conversation
        await self.slack.chat_delete(channel=course.conversation.channel, ts=str(self.answer_to(course, k)["ts"]))

    async def say(self, course: Course) -> Said:
        """One message more, which nobody hears."""
        message = Message(f"c{course.talk.number:03d}-m9", "after", 0.0, course.said[0].message.person, "talk")
        assert course.conversation
        _, identity = await self.system.say(message.text, thread=course.conversation, mention=False)
        said = Said(message, identity, course.said[-1].at)
        course.said.append(said)
        return said

    async def ask_model(self, course: Course, text: str) -> None:
        """Ask the model, as a worker does that goes on with a message."""
        body = {
            "model": "claude",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": text}],
            "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
        }
        url, headers = f"{self.system.model_door.url}/v1/messages", {"x-api-key": self.system.model.api_key}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as reply:
            assert reply.status == 200, await reply.text()


async def nothing(_planter: Planter, _course: Course) -> None:
    """Plant nothing: in this conversation all is right."""


async def a_marker_skipped(planter: Planter, course: Course) -> None:
    said = await planter.say(course)
    first = await planter.read(f"{planter.folder(course)}/inputs/{course.said[0].identity}.json")
    ts = said.identity.partition("-")[0]
    await planter.put(f"{planter.folder(course)}/inputs/{said.identity}.json", first | {"ts": ts})


async def a_message_nobody_heard(planter: Planter, course: Course) -> None:
    await planter.say(course)
    course.ended = None


async def a_marker_left(planter: Planter, course: Course) -> None:
    await planter.put(f"pending/{course.conversation}/{course.said[0].identity}", {"schema": 1, "nonce": "1" * 16})


async def an_answer_posted_twice(planter: Planter, course: Course) -> None:
    await planter.post_again(course, 1)


async def an_answer_lost(planter: Planter, course: Course) -> None:
    await planter.take_back(course, 1)


async def answers_out_of_order(planter: Planter, course: Course) -> None:
    assert course.conversation
    answer = planter.answer_to(course, 1)
    await planter.post_again(course, 1)
    await planter.slack.chat_delete(channel=course.conversation.channel, ts=str(answer["ts"]))


async def a_turn_written_twice(planter: Planter, course: Course) -> None:
    turn = await planter.read(f"{planter.folder(course)}/turns/1.json")
    await planter.put(f"{planter.folder(course)}/turns/2.json", turn | {"k": 2})


async def a_receipt_lost(planter: Planter, course: Course) -> None:
    await planter.delete(f"{planter.folder(course)}/turns/1.posted")


async def a_run_left_open(planter: Planter, course: Course) -> None:
    await planter.delete(f"{planter.folder(course)}/runs/1.closed")


async def a_push_dropped(planter: Planter, course: Course) -> None:
    """Put the branch back to where it was before its last push."""
    assert course.conversation
    path = await planter.repository(course)
    branch = f"refs/heads/{course.conversation.branch}"
    await asyncio.to_thread(git, path, "update-ref", branch, f"{branch}~1")


async def a_checkpoint_dropped(planter: Planter, course: Course) -> None:
    """The journal took a state from a run, and the next run did not go on with it."""
    path = await planter.repository(course)
    bundle = await asyncio.to_thread(
        a_state, path, f"{course.said[0].message.token}-more.txt", planter.system.directory
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", planter.system.store_door.url)  # as the dispatchers have it
        storage = await open_storage(f"gs://{planter.system.bucket}")
    try:
        assert await storage.put_if_absent(f"{planter.folder(course)}/work/1/1/7.bundle", bundle)
    finally:
        await storage.close()


def a_state(repository: Path, file: str, directory: Path) -> bytes:
    """A bundle of a commit with a file, on top of the repository's default branch."""
    blob = git(repository, "hash-object", "-w", "--stdin", data=b"saved")
    tree = git(repository, "mktree", data=f"100644 blob {blob}\t{file}\n".encode())
    commit = git(repository, "commit-tree", tree, "-p", "HEAD", "-m", "Checkpoint of turn 1")
    git(repository, "update-ref", FILES, commit)
    git(repository, "bundle", "create", "--quiet", str(directory / "a.bundle"), FILES, "^HEAD")
    git(repository, "update-ref", "-d", FILES)
    return (directory / "a.bundle").read_bytes()


def git(repository: Path, *arguments: str, data: bytes = b"") -> str:
    author = {f"GIT_{who}_{what}": "planter" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **author}
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, env=environment, input=data, capture_output=True).stdout.decode().strip()


async def work_after_the_turn(planter: Planter, course: Course) -> None:
    first = course.said[0].message
    await planter.ask_model(course, first.text)


async def a_worker_left(planter: Planter, _course: Course) -> None:
    folder = planter.system.runs_folder / "claude-worker-left-1" / "workspace"
    folder.mkdir(parents=True)
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    planter.started.append(await asyncio.create_subprocess_exec(*command, cwd=folder))


PLANTED: dict[Plant, set[Name]] = {
    nothing: set(),
    a_marker_skipped: {Name.UNMARKED, Name.LOST, Name.VERIFY},
    a_message_nobody_heard: {Name.LOST, Name.UNRECORDED, Name.NOT_ENDED},
    a_marker_left: {Name.MARKER_LEFT},
    an_answer_posted_twice: {Name.DOUBLED, Name.VERIFY},
    an_answer_lost: {Name.LOST, Name.ELSEWHERE, Name.VERIFY},
    answers_out_of_order: {Name.OUT_OF_ORDER, Name.VERIFY},
    a_turn_written_twice: {Name.ANSWERED_TWICE, Name.ELSEWHERE, Name.NO_RECEIPT, Name.VERIFY},
    a_receipt_lost: {Name.NO_RECEIPT},
    a_run_left_open: {Name.RUN_OPEN},
    a_push_dropped: {Name.WORK_LOST},
    a_checkpoint_dropped: {Name.WORK_LOST},
    work_after_the_turn: {Name.WORKED_AFTER},
    a_worker_left: set(),
}
"""Each fault that is planted, and the faults that the checker finds in that conversation."""


@pytest.fixture
async def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChaosSystem]:
    """A small run without a fault. Its dispatchers have ended, so nobody mends the planted faults."""
    with gcs_server() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
        bucket = f"planted-{uuid.uuid4().hex}"
        make_bucket(google, bucket)
        logs.configure("ERROR")
        async with ChaosSystem(tmp_path, google=google, bucket=bucket) as system:
            talks = [
                Talk(number, tuple(_message(number, m) for m in range(1, 3 if plant is answers_out_of_order else 2)))
                for number, plant in enumerate(PLANTED, 1)
            ]
            await system.play(Plan(0, tuple(talks), ()))
            await system.settle()
            await system.end_dispatchers()
            yield system


def _message(number: int, position: int) -> Message:
    when = "first" if position == 1 else "after"
    return Message(f"c{number:03d}-m{position}", when, 0.0, number, "commit")  # type: ignore[arg-type]


async def test_each_planted_fault_is_called_by_its_name(finished: ChaosSystem) -> None:
    assert [str(problem) for problem in judge(await gather(finished))] == []

    planter = Planter(finished)
    courses = {course.talk.number: course for course in finished.courses}
    try:
        for number, plant in enumerate(PLANTED, 1):
            await plant(planter, courses[number])
        problems = judge(await gather(finished))
    finally:
        for process in planter.started:
            process.kill()
            await process.wait()

    found = {
        plant: {problem.name for problem in problems if problem.conversation == str(courses[number].conversation)}
        for number, plant in enumerate(PLANTED, 1)
    }
    assert {plant.__name__: names for plant, names in found.items()} == {
        plant.__name__: names for plant, names in PLANTED.items()
    }
    assert {problem.name for problem in problems if not problem.conversation} == {Name.WORKER_LEFT}
