"""Journals with a past: documents of the real shape, written straight into a directory store.

Answered conversations differ only in their names, so their documents are hard links to a few originals: a hundred
thousand conversations are six hundred thousand files, and need not use as many blocks of the disk.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from peerbot.conversation.documents import (
    Document,
    Input,
    Marker,
    Posted,
    Run,
    RunClosed,
    RunStarted,
    Started,
    Turn,
    TurnStatus,
)
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths

LINKS = 1000  # links to one original: file systems limit them
PERSON, REPOSITORY = "U0ADA000001", "peerbot-community/user-ada"


def conversations(team: str, channel: str, first: int, count: int) -> Iterator[Conversation]:
    """Name `count` conversations of a channel, beginning with number `first`."""
    for number in range(first, first + count):
        yield Conversation(team, channel, f"{1700000000 + number}.000100")


def answered(root: Path, those: Iterator[Conversation], *, refused: bool = False) -> None:
    """Write conversations with one message and its answer; `refused`: a guest's message, answered without a run."""
    originals: dict[str, Path] = {}
    for number, conversation in enumerate(those):
        if number % LINKS == 0:
            originals = {}
        documents = _refused(conversation) if refused else _answered(conversation)
        for folder in {key.rpartition("/")[0] for key in documents}:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for kind, (key, document) in enumerate(documents.items()):
            if original := originals.get(str(kind)):
                os.link(original, root / key)
            else:
                originals[str(kind)] = root / key
                _write(root / key, document)


def at_work(root: Path, those: Iterator[Conversation]) -> None:
    """Write conversations whose first run has been started and works on their one message."""
    for conversation in those:
        item = _input(conversation)
        for key, document in {
            paths.marker(conversation, item.id): Marker(),
            paths.input_document(conversation, item.id): item,
            paths.conversation_document(conversation): _started(conversation),
            paths.run_document(conversation, 1): _run(conversation, item),
            paths.run_document(conversation, 1, "started"): RunStarted(supervisor_hash="0" * 64, agent_hash="1" * 64),
        }.items():
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            _write(root / key, document)


def _answered(conversation: Conversation) -> dict[str, Document]:
    item = _input(conversation)
    done = Turn(k=1, run=1, inputs=[item.id], status=TurnStatus.DONE, text="It is done. " * 20)
    return {
        paths.conversation_document(conversation): _started(conversation),
        paths.input_document(conversation, item.id): item,
        paths.run_document(conversation, 1): _run(conversation, item),
        paths.run_document(conversation, 1, "closed"): RunClosed(reason=RunEnd.FINISHED),
        paths.turn_document(conversation, 1): done,
        paths.turn_document(conversation, 1, "posted"): Posted(ts=[conversation.thread_ts]),
    }


def _refused(conversation: Conversation) -> dict[str, Document]:
    item = _input(conversation, reply=True)
    no = Turn(k=1, run=None, inputs=[item.id], status=TurnStatus.REFUSED, text="Guests can't use this bot.")
    return {
        paths.input_document(conversation, item.id): item,
        paths.turn_document(conversation, 1): no,
        paths.turn_document(conversation, 1, "posted"): Posted(ts=[conversation.thread_ts]),
    }


def _input(conversation: Conversation, *, reply: bool = False) -> Input:
    ts = conversation.thread_ts[:-1] + "1" if reply else conversation.thread_ts
    return Input(
        team=conversation.team, channel=conversation.channel, thread_ts=conversation.thread_ts, ts=ts, user=PERSON,
        user_team=conversation.team, channel_type="channel", text="Please do something", event_id="Ev0000000001",
    )  # fmt: skip


def _started(conversation: Conversation) -> Started:
    return Started(began_by=PERSON, repository=REPOSITORY, default_branch="main", branch=conversation.branch)


def _run(conversation: Conversation, item: Input) -> Run:
    return Run(
        n=1, serves=[item.id], secret_hash="2" * 64, repository=REPOSITORY, default_branch="main",
        branch=conversation.branch, reserved_by="bench",
    )  # fmt: skip


def _write(path: Path, document: Document) -> None:
    path.write_bytes(document.model_dump_json().encode())
