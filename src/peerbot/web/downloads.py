"""A session to take away: its transcript, and the files with which `claude --resume` goes on.

Both are masked like the page. They are made entry by entry in a thread, into a file without a name, one at a time: a
transcript may have 64 MB.
"""

import asyncio
import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from typing import IO, NamedTuple, Protocol

from peerbot.conversation.documents import SessionRef
from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused, Unreadable
from peerbot.journal.journal import Journal
from peerbot.protocol.session_files import METADATA, line_of, metadata_of, metadata_path, path_of
from peerbot.protocol.sessions import LARGEST_BYTES, WORKSPACE
from peerbot.web.masks import masked_values
from peerbot.web.parts import skip, transcript_at
from peerbot.web.steps import Entry

_TRANSCRIPTS = '"transcripts":'
_LONGEST_HEAD = 200
_IN_MEMORY = 1024 * 1024


class _Found(NamedTuple):
    """An entry, and which transcript it is of (empty: the main one)."""

    subpath: str
    entry: Entry


class _Make(Protocol):
    def __call__(self, file: IO[bytes], session: str, data: bytes) -> None: ...


class Downloads:
    """Makes files of sessions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._one = asyncio.Semaphore(1)

    @asynccontextmanager
    async def transcript(self, conversation: Conversation, ref: SessionRef) -> AsyncIterator[IO[bytes]]:
        """Make the main transcript, a line an entry. Raises what the journal raises, and `Refused` if it is gone."""
        async with self._made(conversation, ref, _lines) as file:
            yield file

    @asynccontextmanager
    async def bundle(self, conversation: Conversation, ref: SessionRef) -> AsyncIterator[IO[bytes]]:
        """Make a zip of all files of the session, as Claude Code keeps them. Raises as `transcript` does."""
        async with self._made(conversation, ref, _zip) as file:
            yield file

    @asynccontextmanager
    async def _made(self, conversation: Conversation, ref: SessionRef, make: _Make) -> AsyncIterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            async with self._one:
                data = await self._journal.session(conversation, ref.turn, ref.run)
                if data is None:
                    raise Refused("The journal no longer has this session's transcript.")
                try:
                    await asyncio.to_thread(make, file, ref.id, data)
                except (ValueError, RecursionError) as error:
                    raise Unreadable("The session's transcript is damaged in the journal.") from error
                del data
            file.seek(0)
            yield file


def _lines(file: IO[bytes], session: str, data: bytes) -> None:
    for found in _entries(data, session):
        if not found.subpath:
            file.write(_line(found.entry))


def _zip(file: IO[bytes], session: str, data: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("README.txt", _README.format(session=session))
        entries = _entries(data, session)
        found = next(entries, None)
        while found is not None:
            found = _pack(packed, session, found, entries)


def _pack(packed: zipfile.ZipFile, session: str, first: _Found, entries: Iterator[_Found]) -> _Found | None:
    """Write one transcript, which begins with `first`; returns the first entry of the next one."""
    path, about, found = path_of(session, first.subpath), None, first
    with packed.open(path, "w") if path and path not in packed.namelist() else io.BytesIO() as into:
        following: _Found | None = found
        while following is not None and following.subpath == first.subpath:
            if first.subpath and following.entry.get("type") == METADATA:
                about = following.entry
            else:
                into.write(_line(following.entry))
            following = next(entries, None)
    if about is not None and path and metadata_path(path) not in packed.namelist():
        packed.writestr(metadata_path(path), metadata_of(masked_values(about)))
    return following


def _line(entry: Entry) -> bytes:
    return f"{line_of(_masked_entry(entry))}\n".encode("utf-8", "replace")


def _masked_entry(entry: Entry) -> Entry:
    """Mask an entry. A thought that changes becomes plain words: Claude takes back only thoughts as they were."""
    made: Entry = masked_values(entry)
    message, before = made.get("message"), entry.get("message")
    if not isinstance(message, dict) or not isinstance(before, dict):
        return made
    content, was = message.get("content"), before.get("content")
    if isinstance(content, list) and isinstance(was, list):
        for number, (block, old) in enumerate(zip(content, was, strict=True)):
            if isinstance(block, dict) and block.get("type") == "thinking" and block != old:
                content[number] = {"type": "text", "text": str(block.get("thinking", ""))}
    return made


def _entries(data: bytes, session: str) -> Generator[_Found, None, None]:
    """Read the entries of a session out of a packed whole, one by one. Raises `ValueError` if that fails."""
    text = _unpacked(data)
    start = text.find(_TRANSCRIPTS, 0, _LONGEST_HEAD)
    if start < 0:
        raise ValueError("no transcripts")
    at = skip(text, start + len(_TRANSCRIPTS))
    if text[at : at + 1] != "[":
        raise ValueError("no list of transcripts")
    at = skip(text, at + 1)
    while text[at : at + 1] == "{":
        about, entries = transcript_at(text, at)
        ours = about.get("project") == WORKSPACE and about.get("session_id") == session
        while True:
            try:
                _, entry = next(entries)
            except StopIteration as ended:
                at = skip(text, int(ended.value))
                break
            if ours:
                yield _Found(str(about.get("subpath", "")), entry)
        if text[at : at + 1] != "}":
            raise ValueError("a transcript does not end")
        at = skip(text, at + 1)
        at = skip(text, at + 1) if text[at : at + 1] == "," else at
    if text[at : at + 1] != "]":
        raise ValueError("the list of transcripts does not end")


def _unpacked(data: bytes) -> str:
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            text = stream.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("not gzip") from error
    if len(text) > LARGEST_BYTES:
        raise ValueError("too large")
    return text.decode()


_README = """\
This is the session {session} of Claude Code, as PeerBot kept it. Secrets of known formats are masked.

To go on with it, put these files into the folder that Claude Code keeps for your checkout of the branch.
In that checkout:

    folder=~/.claude/projects/$(pwd -P | sed 's/[^A-Za-z0-9]/-/g')
    mkdir -p "$folder"
    unzip -oq ~/Downloads/session.zip -d "$folder"
    claude --resume {session}

`peerbot session pull` does this by itself, if it can read the journal.
"""
