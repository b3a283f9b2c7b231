"""Joins, packs and unpacks transcripts. Both worker and gateway use this module, so that both mean the same."""

import gzip
import io
import zlib
from collections.abc import Iterable
from typing import Any

from peerbot.protocol.documents import SessionPart, SessionWhole

WORKSPACE = "workspace"
"""The project under which a run's own transcripts are kept, wherever its working directory is."""

LARGEST_BYTES = 64 * 1024 * 1024
"""The largest transcript that is kept, uncompressed."""

LONGEST_TO_GO_ON_BYTES = 48 * 1024 * 1024
"""The agent does not resume a longer one: its next turn might make it too large to keep."""


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
