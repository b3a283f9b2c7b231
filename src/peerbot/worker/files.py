"""Brings the files that people shared to the agent: into a folder beside the checkout, small pictures into the prompt.

The folder is outside the checkout, so that nothing of it gets on the branch. A file's place follows from its message
and its name: a later run that brings it again puts it where the session's earlier words say that it is.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from peerbot.conversation.keys import input_ts
from peerbot.conversation.notes import FileLoss, FilesNotRead, LostFile
from peerbot.errors import Unavailable
from peerbot.files import opening
from peerbot.files.names import safe_name
from peerbot.logs import logger
from peerbot.protocol.documents import PersonFile, PersonInput
from peerbot.protocol.prompt import names, note
from peerbot.worker.gateway import GatewayClient, NotDone

log = logger(__name__)

FOLDER = "shared-files"
"""The folder of the files, in the home directory."""

BRING_SECONDS = 150.0
"""How long a turn waits for its files."""

MOST_PICTURES = 5
LARGEST_PICTURE_BYTES = 2 * 1024 * 1024
MOST_PICTURE_BYTES = 5 * 1024 * 1024
"""How many pictures a prompt holds, how large each is, and all of them. The agent's `Read` shows it the others."""

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_WHY = {
    FileLoss.NO_SCOPE: "PeerBot's Slack app may not read files (it lacks the scope files:read)",
    FileLoss.NOT_VISIBLE: "Slack does not show it to PeerBot",
    FileLoss.EXTERNAL: "it is not in Slack, only a link to it",
    FileLoss.ELSEWHERE: "its address is not one of Slack's",
    FileLoss.DELETED: "it was deleted",
    FileLoss.HIDDEN: "the workspace's plan hides it",
    FileLoss.CANVAS: "it is a canvas or a list, of which Slack has no file",
    FileLoss.TOO_LARGE: "it is larger than 20 MB",
    FileLoss.TOO_MANY: "PeerBot reads the first ten files of a message",
    FileLoss.EMPTY: "it is empty",
    FileLoss.FAILED: "Slack did not hand it over",
}

_T = TypeVar("_T")


@dataclass(slots=True)
class Brought:
    """The files of a turn: a note for the prompt by input id, the pictures in it, and what is told to people."""

    notes: dict[str, str] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    lost: list[LostFile] = field(default_factory=list)
    picture_bytes: int = 0

    @property
    def not_read(self) -> FilesNotRead | None:
        """The note to people about the files that the agent did not get; None if it got them all."""
        return FilesNotRead(files=tuple(self.lost)) if self.lost else None

    def take_picture(self, data: bytes) -> bool:
        """Put a file into the prompt if it is a picture that fits; says whether it did."""
        kind = _picture(data)
        fits = len(data) <= LARGEST_PICTURE_BYTES and self.picture_bytes + len(data) <= MOST_PICTURE_BYTES
        if not kind or not fits or len(self.pictures) >= MOST_PICTURES:
            return False
        packed = base64.b64encode(data).decode()
        self.pictures.append({"type": "image", "source": {"type": "base64", "media_type": kind, "data": packed}})
        self.picture_bytes += len(data)
        return True


class Files:
    """Brings files into the folder `shared-files` of `home`."""

    def __init__(self, gateway: GatewayClient, home: Path) -> None:
        self._gateway = gateway
        self._folder = home / FOLDER
        self._tried: set[Path] = set()  # what this run has fetched, or tried to

    async def bring(self, inputs: Sequence[PersonInput]) -> Brought:
        """Fetch all files of these inputs, and the thread's newest earlier ones that are not here.

        Raises nothing but that the run is over: a file that fails is told.
        """
        brought = Brought()
        until = asyncio.get_running_loop().time() + BRING_SECONDS
        for item in inputs:
            lines = [
                await self._bring(brought, item.id, n, file, place, until)
                for n, (file, place) in enumerate(self._places(item.id, item.files))
            ]
            if lines:
                head = f"Shared with the message of {item.user}, {len(lines)} in all:"
                brought.notes[item.id] = note("\n".join([head, *lines]))
        for item in inputs[:1]:
            if lines := await self._bring_earlier(brought, item, until):
                earlier = note("\n".join(["Shared with the earlier messages:", *lines]))
                brought.notes[item.id] = "\n\n".join(filter(None, [brought.notes.get(item.id), earlier]))
        return brought

    def _places(self, identity: str, files: Sequence[PersonFile]) -> list[tuple[PersonFile, Path]]:
        """Say where the files of a message are kept."""
        found, taken = [], set[str]()
        for file in files:
            name = safe_name(file.name, taken)
            taken.add(name.lower())
            found.append((file, self._folder / input_ts(identity) / name))
        return found

    async def _bring_earlier(self, brought: Brought, item: PersonInput, until: float) -> list[str]:
        """Fetch files of earlier messages; returns lines about those whose messages the agent reads now."""
        lines = []
        for message in item.earlier:
            told = Brought() if message.heard else brought  # the others were told, and seen, in their own turn
            for n, (file, place) in enumerate(self._places(message.id, message.files)):
                if place in self._tried:
                    continue
                line = await self._bring(told, message.id, n, file, place, until)
                lines += [] if message.heard else [line]
        return lines

    async def _bring(self, brought: Brought, identity: str, n: int, file: PersonFile, place: Path, until: float) -> str:
        """Fetch one file, and keep it at `place`; returns the line about it in the prompt."""
        self._tried.add(place)
        try:
            async with asyncio.timeout_at(until):
                data = await self._gateway.file(identity, n)
            await asyncio.to_thread(_keep, place, data)
        except NotDone as refused:
            return _lost(brought, file, _loss(refused.why))
        except (Unavailable, TimeoutError, OSError) as error:
            log.warning("file_not_brought", input=identity, file=n, reason=repr(error))
            return _lost(brought, file, FileLoss.FAILED)
        shown = " (you see it below)" if brought.take_picture(data) else ""
        return f"- {_named(file)} ({_type(file)}{_size(len(data))}): {place}{shown}"


def _lost(brought: Brought, file: PersonFile, why: FileLoss) -> str:
    brought.lost.append(LostFile(name=file.name, why=why))
    return (
        f"- {_named(file)} ({_type(file)}{_size(file.size)}): could not be read, because {_WHY[why]}. People are told."
    )


def _loss(why: str) -> FileLoss:
    try:
        return FileLoss(why)
    except ValueError:  # of a newer gateway
        return FileLoss.FAILED


def _named(file: PersonFile) -> str:
    return names([file.name]) if file.name else "a file whose name Slack does not tell"


def _type(file: PersonFile) -> str:
    return f"{names([file.type])[1:-1]}, " if file.type else ""


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def _picture(data: bytes) -> str:
    """Say which kind of picture the bytes are, of those that Claude reads; empty if they are none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begins, kind in _PICTURES if data.startswith(begins)), "")


def _keep(place: Path, data: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    opening.write(place, data)


async def with_pictures(
    prompt: str, pictures: Sequence[dict[str, Any]], name: str = ""
) -> AsyncIterator[dict[str, Any]]:
    """Yield the one message of a prompt with pictures, as the SDK takes it.

    `name`: the uuid by which the CLI says that the agent has read it.
    """
    content = [{"type": "text", "text": prompt}, *pictures] if pictures else prompt
    said: dict[str, Any] = {"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": None}
    yield said | ({"uuid": name} if name else {})


async def beside(
    work: Coroutine[object, object, _T], bringing: Coroutine[object, object, Brought]
) -> tuple[_T, Brought]:
    """Do `work` while files come; if it fails or is cancelled, they come no more."""
    coming = asyncio.ensure_future(bringing)
    try:
        return await work, await coming
    finally:
        if not coming.done():
            coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
