"""The files of a session as Claude Code keeps them: a line an entry, and each subagent in a file beside the main one.

The agent may have written anything into a transcript, so nothing in it decides about a path.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from peerbot.protocol.documents import SessionPart

SUBPATH = re.compile(r"[A-Za-z0-9_-]{1,80}(?:/[A-Za-z0-9_-]{1,80}){0,5}")
_METADATA = "agent_metadata"  # of a subagent; the SDK keeps it in a file beside its transcript

Entry = Mapping[str, Any]


class SessionFile(NamedTuple):
    """A file: its path below the folder of transcripts, with `/` between names, and its lines."""

    path: str
    lines: list[str]


def files_of(session: str, parts: Sequence[SessionPart]) -> Iterator[SessionFile]:
    """Yield a session's files. The main one comes last: with it the session is there.

    Parts whose subpath could name anything else than a file of the session are left out.
    """
    for part in parts:
        if part.subpath and SUBPATH.fullmatch(part.subpath):
            file = f"{session}/{part.subpath}"
            yield SessionFile(f"{file}.jsonl", lines_of(e for e in part.entries if e.get("type") != _METADATA))
            if told := [entry for entry in part.entries if entry.get("type") == _METADATA]:
                known = {key: value for key, value in told[-1].items() if key != "type"}
                yield SessionFile(f"{file}.meta.json", [json.dumps(known)])
    yield SessionFile(f"{session}.jsonl", lines_of(main_of(parts)))


def main_of(parts: Sequence[SessionPart]) -> list[dict[str, Any]]:
    """Return the entries of the main transcript."""
    return next((part.entries for part in parts if not part.subpath), [])


def lines_of(entries: Iterable[Entry]) -> list[str]:
    """Write entries as lines of JSON."""
    # Claude Code looks for `{"type":` at the beginning of a line.
    return [
        json.dumps({"type": entry.get("type"), **entry}, ensure_ascii=False, separators=(",", ":")) for entry in entries
    ]
