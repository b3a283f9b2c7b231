"""The evidence after a chaos run, read from outside: nothing is judged here.

It comes from Slack's world, the bucket's objects, the bare repositories, the model's requests, the processes, and
`peerbot verify`.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from crowd import BOUND_SECONDS, Course
from doors import Asked, Notes, Push, State
from hands import Did, buttons, is_menu, is_question
from saved_state import FILES, opened

from peerbot.conversation.keys import Conversation
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack

_READS_AT_ONCE = 16
_NO_DOCUMENT = re.compile(r"/(sessions|work)/")


@dataclass(frozen=True)
class Shown:
    """A message in Slack that carries an answer's metadata."""

    ts: str
    turn: int
    part: int
    text: str


@dataclass(frozen=True)
class Asking:
    """A message that a person sent."""

    token: str
    identity: str
    told: str  # found in its answer


@dataclass(frozen=True)
class Question:
    """A message in Slack with which the agent asks people."""

    ts: str
    id: str
    text: str
    open: bool  # it has buttons


@dataclass(frozen=True)
class Menu:
    """A message in Slack that asked in which repository to work."""

    ts: str
    text: str
    open: bool  # one can still choose
    noted: bool  # the journal knows of it: a dispatcher may have died before it said so


@dataclass(frozen=True)
class Save:
    """A commit for GitHub, or a state for the journal, with the conversation's own files in it."""

    at: float
    place: str  # the ref, or the bundle
    files: dict[str, str]  # blobs by path


@dataclass
class Seen:
    """One conversation."""

    conversation: str
    asked: list[Asking]
    shown: list[Shown]
    objects: dict[str, dict[str, Any]]  # the journal's documents, by their keys below the conversation's folder
    markers: list[str]
    saves: list[Save]
    branch: dict[str, str]  # blobs by path, at the end
    requests: list[Asked]
    waited: float | None  # seconds from the last fault, or from the last message after it, to the end; None: no end
    kept: list[dict[str, str]] = field(default_factory=list)  # blobs by path, on the branches that an undo has left
    questions: list[Question] = field(default_factory=list)
    menus: list[Menu] = field(default_factory=list)
    did: list[Did] = field(default_factory=list)  # answers and choices, as people made them
    whispers: list[tuple[str, str]] = field(default_factory=list)  # what one person alone was told in the thread

    @property
    def settled(self) -> set[str]:
        """The inputs that had no effect."""
        settled = (name for name in self.objects if name.startswith("settled/") and name.endswith(".json"))
        return {name.removeprefix("settled/").removesuffix(".json") for name in settled}

    @property
    def acts(self) -> set[str]:
        """The recorded inputs besides the messages that ask for work."""
        inputs = {name.removeprefix("inputs/").removesuffix(".json") for name in self.objects if "inputs/" in name}
        return inputs - {asked.identity for asked in self.asked}

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """What settled the agent's questions, by the questions' ids."""
        found = {}
        for name, document in self.objects.items():
            if name.startswith("questions/") and name.endswith(".settled"):
                found[name.removeprefix("questions/").removesuffix(".settled").replace("/", ".")] = document
        return found

    def documents(self, kind: str) -> dict[int, dict[str, Any]]:
        """The documents `turns/{n}.json` and the like, by number: `kind` is `turns.json`."""
        folder, _, end = kind.partition(".")
        found = {}
        for name, document in self.objects.items():
            if name.startswith(f"{folder}/") and name.endswith(f".{end}"):
                found[int(name.removeprefix(f"{folder}/").removesuffix(f".{end}"))] = document
        return dict(sorted(found.items()))


@dataclass
class Evidence:
    """All of it."""

    conversations: list[Seen]
    workers: list[str] = field(default_factory=list)  # processes that are left, as they were started
    verify: list[tuple[str, str, str]] = field(default_factory=list)  # finding's name, conversation, sentence
    died: list[str] = field(default_factory=list)  # dispatchers that nobody had ended
    bound_seconds: float = BOUND_SECONDS


class Story(Protocol):
    """All faults that were made, and when the last of them was over."""

    story: list[str]

    @property
    def last_fault(self) -> float:
        """Seconds since 1970."""


class Scene(Protocol):
    """Where it happened: all that is looked at."""

    slack: LocalSlack
    github: LocalGitHub
    google: str
    bucket: str
    notes: Notes
    courses: list[Course]
    crowd: list[str]
    did: list[Did]
    died: list[str]

    def since(self, course: Course) -> float:
        """Say from when on a conversation has its time to end."""

    @property
    def blows(self) -> Story:
        """The faults that were made."""

    def answers(self, conversation: Conversation) -> list[tuple[dict[str, Any], int]]:
        """The final answers in a thread, with their turn."""

    def left(self) -> list[str]:
        """List the processes of runs that still live."""


async def gather(system: Scene) -> Evidence:
    """Read everything; changes nothing."""
    objects = await _objects(system)
    pushes: defaultdict[str, list[Push]] = defaultdict(list)
    for push in system.notes.pushes:
        pushes[push.ref].append(push)
    states: defaultdict[str, list[State]] = defaultdict(list)
    for state in system.notes.states:
        states[state.conversation].append(state)
    seen = [await _seen(system, course, objects, pushes, states) for course in system.courses if course.conversation]
    return Evidence(seen, system.left(), await _verify(system), list(system.died))


async def _seen(
    system: Scene,
    course: Course,
    objects: dict[str, dict[str, Any]],
    pushes: dict[str, list[Push]],
    states: dict[str, list[State]],
) -> Seen:
    conversation = course.conversation
    assert conversation
    folder, pending = f"conversations/{conversation}/", f"pending/{conversation}/"
    tokens = {said.message.token for said in course.said}
    own = f"c{course.talk.number:03d}-"
    begun = objects.get(f"{folder}conversation.json")
    repository = str(begun["repository"]) if begun else ""
    branch = f"refs/heads/{conversation.branch}"
    saves = [
        Save(push.at, push.ref, await _files(system, push.repository, push.commit, own))
        for push in pushes.get(branch, ())
    ] + [
        Save(state.at, str(state), await asyncio.to_thread(_files_in, system, repository, state, own))
        for state in states.get(str(conversation), ())
        if _could_be_found(state, objects.get(f"{folder}runs/{state.run + 1}.json"))
    ]
    documents = {name.removeprefix(folder): found for name, found in objects.items() if name.startswith(folder)}
    kept = [found["kept_on"] for name, found in documents.items() if name.startswith("back/") and found["kept_on"]]
    thread = system.slack.thread(conversation.channel, conversation.thread_ts)
    return Seen(
        conversation=str(conversation),
        asked=[Asking(said.message.token, said.identity, said.message.told) for said in course.said],
        shown=[_shown(message, turn) for message, turn in system.answers(conversation)],
        objects=documents,
        markers=[name.removeprefix(pending) for name in objects if name.startswith(pending)],
        saves=sorted(saves, key=lambda save: save.at),
        branch=await _files(system, repository, branch, own) if repository else {},
        requests=[asked for asked in system.notes.asked if asked.known & tokens],
        waited=None if course.ended is None else max(0.0, course.ended - system.since(course)),
        kept=[await _files(system, repository, f"refs/heads/{name}", own) for name in kept],
        questions=[_question(message) for message in thread if is_question(message)],
        menus=_menus(thread, documents),
        did=[did for did in system.did if did.conversation == conversation],
        whispers=_whispers(system, conversation),
    )


def _shown(message: dict[str, Any], turn: int) -> Shown:
    part = int(message["metadata"]["event_payload"]["part"])
    return Shown(message["ts"], turn, part, json.dumps(message.get("blocks", []), ensure_ascii=False))


def _question(message: dict[str, Any]) -> Question:
    text = json.dumps(message.get("blocks", []), ensure_ascii=False)
    return Question(message["ts"], message["metadata"]["event_payload"]["question"], text, bool(buttons(message)))


def _menus(thread: list[dict[str, Any]], documents: dict[str, dict[str, Any]]) -> list[Menu]:
    """List the menus of a thread: those that are still open, and those that the journal knows of."""
    noted = {str(document["ts"]) for name, document in documents.items() if name.startswith("asked/")}
    return [
        Menu(message["ts"], str(message.get("text")), is_menu(message), message["ts"] in noted)
        for message in thread
        if is_menu(message) or message["ts"] in noted
    ]


def _whispers(system: Scene, conversation: Conversation) -> list[tuple[str, str]]:
    """List what single people were told in a thread."""
    where = (conversation.channel, conversation.thread_ts)
    return [
        (user, str(message["text"]))
        for user in system.crowd
        for message in system.slack.whispers(user)
        if (message["channel"], message.get("thread_ts")) == where
    ]


async def _files(system: Scene, repository: str, commit: str, own: str) -> dict[str, str]:
    """Return the conversation's own files in a commit or branch; none if there is no such commit."""
    path = system.github.repository_path(repository)
    listed = await asyncio.to_thread(
        subprocess.run, ["git", "-C", str(path), "ls-tree", "-r", commit], capture_output=True, text=True, check=False
    )
    rows = (line.split(None, 3) for line in listed.stdout.splitlines())
    return {path: blob for _, _, blob, path in rows if path.startswith(own)}


def _could_be_found(state: State, following: dict[str, Any] | None) -> bool:
    """Whether it was there when the run after its own began: the last save of a worker that died may come later."""
    return following is None or state.at < datetime.fromisoformat(following["reserved_at"]).timestamp()


def _files_in(system: Scene, repository: str, state: State, own: str) -> dict[str, str]:
    """The conversation's own files in a saved state, which builds on commits that GitHub has."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(state.bundle)
        file.flush()
        with opened(Path(file.name), system.github.repository_path(repository)) as saved:
            listed = saved.git("ls-tree", "-r", saved.refs[FILES])
    rows = (line.split(None, 3) for line in listed.splitlines())
    return {path: blob for _, _, blob, path in rows if path.startswith(own)}


async def _objects(system: Scene) -> dict[str, dict[str, Any]]:
    """The bucket's documents by key, without transcripts and saved states.

    They are read from the server itself, not with the product's code.
    """
    found: dict[str, dict[str, Any]] = {}
    reading = asyncio.Semaphore(_READS_AT_ONCE)
    base = f"{system.google}/storage/v1/b/{system.bucket}/o"

    async def read(session: aiohttp.ClientSession, name: str) -> None:
        async with reading, session.get(f"{base}/{quote(name, safe='')}?alt=media") as reply:
            if reply.status == 200:
                found[name] = json.loads(await reply.read())

    async with aiohttp.ClientSession() as session:
        names: list[str] = []
        page = ""
        while True:
            async with session.get(base, params={"maxResults": "1000", "pageToken": page} if page else {}) as reply:
                listed = await reply.json()
            names += [item["name"] for item in listed.get("items", [])]
            if not (page := listed.get("nextPageToken") or ""):
                break
        await asyncio.gather(*(read(session, name) for name in names if not _NO_DOCUMENT.search(name)))
    return found


async def _verify(system: Scene) -> list[tuple[str, str, str]]:
    """Run `peerbot verify` as an operator would; returns its findings."""
    environment = {
        "PATH": os.environ["PATH"],
        "PEERBOT_STORE": f"gs://{system.bucket}",
        "STORAGE_EMULATOR_HOST": system.google,
        "SLACK_BOT_TOKEN": system.slack.bot_token,
        "SLACK_API_URL": system.slack.api_url,
    }
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "verify", "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        told, complained = await process.communicate()
    system.blows.story.append(f"verify took {time.monotonic() - began:.1f} s")
    try:
        report = json.loads(told)
    except ValueError:
        return [("verify did not run", "", complained.decode(errors="replace")[-2000:])]
    return [(found["name"], found["conversation"], found["sentence"]) for found in report["findings"]]
