"""The files of a session as Claude Code keeps them: a line an entry, and each subagent in a file beside the main one.

The agent may have written anything into a transcript, so nothing in it decides about a path.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from peerbot.protocol.documents import SessionPart

METADATA = "agent_metadata"
"""The kind of an entry that describes a subagent. The SDK keeps it in a file beside the subagent's transcript."""

_SUBPATH = re.compile(r"[A-Za-z0-9_-]{1,80}(?:/[A-Za-z0-9_-]{1,80}){0,5}")

Entry = Mapping[str, Any]


class SessionFile(NamedTuple):
    """A file: its path below the folder of transcripts, with `/` between names, and its lines."""

    path: str
    lines: list[str]


def files_of(session: str, parts: Sequence[SessionPart]) -> Iterator[SessionFile]:
    """Yield a session's files. The main one comes last: with it the session is there."""
    for part in parts:
        if part.subpath and (path := path_of(session, part.subpath)):
            yield SessionFile(path, lines_of(entry for entry in part.entries if entry.get("type") != METADATA))
            if told := [entry for entry in part.entries if entry.get("type") == METADATA]:
                yield SessionFile(metadata_path(path), [metadata_of(told[-1])])
    yield SessionFile(path_of(session, ""), lines_of(main_of(parts)))


def path_of(session: str, subpath: str) -> str:
    """Name the file of a transcript; empty if its subpath could name anything else than a file of the session."""
    if not subpath:
        return f"{session}.jsonl"
    return f"{session}/{subpath}.jsonl" if _SUBPATH.fullmatch(subpath) else ""


def metadata_path(path: str) -> str:
    """Name the file that describes the subagent whose transcript is at `path`."""
    return f"{path.removesuffix('.jsonl')}.meta.json"


def metadata_of(entry: Entry) -> str:
    """Write what describes a subagent."""
    return json.dumps({key: value for key, value in entry.items() if key != "type"})


def main_of(parts: Sequence[SessionPart]) -> list[dict[str, Any]]:
    """Return the entries of the main transcript."""
    return next((part.entries for part in parts if not part.subpath), [])


def lines_of(entries: Iterable[Entry]) -> list[str]:
    """Write entries as lines of JSON."""
    return [line_of(entry) for entry in entries]


def line_of(entry: Entry) -> str:
    """Write an entry as a line of JSON."""
    # Claude Code looks for `{"type":` at the beginning of a line.
    return json.dumps({"type": entry.get("type"), **entry}, ensure_ascii=False, separators=(",", ":"))
