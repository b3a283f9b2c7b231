"""Joins, packs and unpacks transcripts. Both worker and gateway use this module, so that both mean the same.

Only the worker reads what is in them: the agent may write anything there. The gateway joins what it keeps as bytes
(`opened`, `another`, `END`), and looks at a part's first bytes for the session's name (`spoken_in`).
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from peerbot.protocol.documents import SessionPart, SessionWhole

WORKSPACE = "workspace"
"""The project under which a run's own transcripts are kept, wherever its working directory is."""

LARGEST_BYTES = 64 * 1024 * 1024
"""The largest transcript that is kept, uncompressed."""

LARGEST_PACKED_BYTES = 44 * 1024 * 1024
"""The largest whole that is kept, compressed. The gateway holds it in memory while the journal takes it."""

LARGEST_PART_BYTES = 40 * 1024 * 1024
"""The largest part that is kept. Claude's API takes no request over 32 MB, so no entry is larger."""

LONGEST_TO_GO_ON_BYTES = 48 * 1024 * 1024
"""The agent does not resume a longer one: its next turn might make it too large to keep."""

_GZIP = 31  # zlib's number for gzip's format
_PIECE_BYTES = 256 * 1024
_FAST = 1
_KEY = re.compile(rb'\{"schema":1,"project":"%b","session_id":"([0-9a-f-]{36})","subpath":""' % WORKSPACE.encode())
_SPOKEN = (b'"type":"user"', b'"type":"assistant"')


def merge(parts: Iterable[SessionPart]) -> SessionWhole:
    """Join parts by key, in order; leave out an entry whose uuid was there before (it was sent twice)."""
    entries: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    seen: set[tuple[str, str, str, str]] = set()
    for part in parts:
        key = (part.project, part.session_id, part.subpath)
        for entry in part.entries:
            uuid = entry.get("uuid")
            if isinstance(uuid, str):
                if (*key, uuid) in seen:
                    continue
                seen.add((*key, uuid))
            entries.setdefault(key, []).append(entry)
    return SessionWhole(
        transcripts=[
            SessionPart(project=project, session_id=session, subpath=subpath, entries=found)
            for (project, session, subpath), found in entries.items()
        ]
    )


def heard_in(parts: Iterable[SessionPart]) -> str | None:
    """Find the run's own session in its parts: the last main transcript in which somebody has spoken.

    Claude Code writes entries before the first message, but it can't resume a session that has only those.
    """
    found = None
    for part in parts:
        spoken = any(entry.get("type") in ("user", "assistant") for entry in part.entries)
        if spoken and part.project == WORKSPACE and not part.subpath:
            found = part.session_id
    return found


def pack(whole: SessionWhole) -> bytes:
    """Compress `whole`. The same whole gives the same bytes, so that it is safe to keep it twice."""
    return gzip.compress(whole.model_dump_json().encode(), compresslevel=6, mtime=0)


def unpack(data: bytes) -> SessionWhole:
    """Decompress and read a whole. Raises `ValueError` if it is no transcript or is larger than `LARGEST_BYTES`."""
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            text = stream.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("not gzip") from error
    if len(text) > LARGEST_BYTES:
        raise ValueError("too large")
    return SessionWhole.model_validate_json(text)


def spoken_in(part: bytes) -> str | None:
    """Find the session that a part belongs to if it may be one that `heard_in` would find, without parsing it.

    The answer may be wrong if the part was forged. Its reader then finds no such session.
    """
    key = _KEY.match(part)
    return key[1].decode() if key and any(mark in part for mark in _SPOKEN) else None


def opened(whole: bytes | None) -> Iterator[bytes]:
    """Yield a packed whole so that parts can follow it (`another`), and then `END`: together they are a packed whole.

    None stands for a whole without transcripts. The bytes are not parsed; damaged ones, and those beyond
    `LARGEST_BYTES`, become a whole that `unpack` refuses.
    """
    packer = zlib.compressobj(_FAST, wbits=_GZIP)
    last = b""
    for text in _inflated(whole) if whole is not None else iter([b'{"schema":1,"transcripts":[]}']):
        body = last + text
        last = body[-3:]
        yield packer.compress(body[:-3])
    between = b"" if last == b"[]}" else b","
    yield packer.compress(last[:1] + between) + packer.flush()


def another(part: bytes) -> Iterator[bytes]:
    """Pack a part so that it can follow `opened`."""
    packer = zlib.compressobj(_FAST, wbits=_GZIP)
    view = memoryview(part)
    for at in range(0, len(part), _PIECE_BYTES):
        yield packer.compress(view[at : at + _PIECE_BYTES])
    yield packer.compress(b",") + packer.flush()


END = gzip.compress(b'{"project":"","session_id":"","entries":[]}]}', mtime=0)
"""The end of a whole that `opened` began: a part without entries, which `merge` leaves out."""


def check_packed(data: bytes) -> None:
    """Make sure that `data` is gzip, whole, and not too large unpacked; raises `ValueError`. Takes little memory."""
    if sum(map(len, _inflated(data))) > LARGEST_BYTES:
        raise ValueError("too large")


def _inflated(data: bytes) -> Iterator[bytes]:
    """Yield what gzip packed in `data`, in pieces, up to about `LARGEST_BYTES`. Raises `ValueError` for damage."""
    inflater = zlib.decompressobj(wbits=_GZIP)
    size = 0
    view = memoryview(data)
    try:
        for at in range(0, len(data), _PIECE_BYTES):
            rest: bytes | memoryview = view[at : at + _PIECE_BYTES]
            while rest and not inflater.eof and size <= LARGEST_BYTES:
                piece = inflater.decompress(rest, _PIECE_BYTES)
                rest = inflater.unconsumed_tail
                size += len(piece)
                yield piece
    except zlib.error as error:
        raise ValueError("not gzip") from error
    if not inflater.eof and size <= LARGEST_BYTES:
        raise ValueError("not all of it is there")
