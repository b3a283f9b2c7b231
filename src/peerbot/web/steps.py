"""What an agent did, step by step, as its transcript tells it: what it said and thought, each tool and what came of it.

The agent can write anything into its transcript, and a newer Claude Code other things than we know. So nothing here
trusts a type: what can be read becomes a step, what can't be read is named. Every text is bounded and masked.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from peerbot.web.masks import masked

HEAD_CHARS, TAIL_CHARS = 12_000, 4_000
"""How much of a long text is shown: its beginning and its end. The rest has an address of its own."""

LARGEST_SHOWN_BYTES = 4 * 1024 * 1024
"""A larger part of a transcript is not read here: parsing it would keep the event loop from acking Slack."""

_MARGIN = 9_000  # a secret that lies across the cut is masked whole
_MOST_HUNK_LINES = 4_000
_TITLE_CHARS = 200
_BOOKKEEPING = frozenset(
    (
        "queue-operation", "attachment", "last-prompt", "atis-latch", "tools-used", "file-history-snapshot", "summary",
        "ai-title", "custom-title", "mode", "permission-mode", "progress", "agent-name", "agent_metadata",
    )
)  # fmt: skip
"""Kinds of entries that Claude Code writes for itself."""

_TITLES = ("description", "file_path", "notebook_path", "command", "pattern", "url", "query", "prompt", "skill", "path")
"""The arguments of tools that say best what a call is for, the best first."""

_TODO = {"completed": "✓", "in_progress": "▸"}

Entry = Mapping[str, Any]
Kind = Literal["said", "thought", "tool", "result", "told", "event", "unreadable", "unknown"]


class Hunk(BaseModel):
    """A piece of a diff; `lines` begin with a space, `+` or `-`."""

    old: int
    new: int
    lines: list[str]


class Change(BaseModel):
    """What a tool changed in one file."""

    path: str
    created: bool = False
    hunks: list[Hunk]
    cut: bool = False


class Step(BaseModel):
    """One step. `id` is its place: run, part, entry and block. `key` is the same if an entry comes a second time."""

    id: str
    key: str
    kind: Kind
    at: str = ""
    agent: str = ""  # of a subagent: its name in the transcript
    tool: str = ""  # the tool's name
    call: str = ""  # what joins a tool and its result
    title: str = ""
    text: str = ""
    chars: int = 0  # of the whole text, if not all is shown
    failed: bool = False
    change: Change | None = None
    request: str = ""  # Claude's name of the reply that it is a part of
    model: str = ""
    tokens_read: int = 0
    tokens_written: int = 0


def bounded(text: str) -> tuple[str, int]:
    """Mask a text and cut it to its beginning and its end; returns it, and the length of the whole if it is cut."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return masked(shown(text)), 0
    head = masked(shown(text[: HEAD_CHARS + _MARGIN]))[:HEAD_CHARS]
    tail = masked(shown(text[-TAIL_CHARS - _MARGIN :]))[-TAIL_CHARS:]
    return f"{head}\n\n… {len(text) - HEAD_CHARS - TAIL_CHARS:,} characters are left out …\n\n{tail}", len(text)


def shown(text: str) -> str:
    """Make a text fit for a page: no lone surrogates, no control characters but the ends of lines and tabs."""
    return text.encode("utf-8", "replace").decode().translate(_CONTROL)


_CONTROL = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)} | {13: None, 127: "␡"}


def steps_in(entries: Iterator[tuple[int, Entry]], *, run: int, part: int, subpath: str = "") -> Iterator[Step]:
    """Yield the steps of a part's entries, which come with their numbers."""
    agent = subpath.rpartition("/")[2].removeprefix("agent-")[:80]
    for number, entry in entries:
        place = f"{run}.{part}.{number}"
        try:
            found = list(_steps(entry, place))
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, RecursionError):
            found = [unreadable(place, "An entry of the transcript can't be read.")]
        for step in found:
            yield step.model_copy(update={"agent": agent}) if agent else step


def unreadable(place: str, sentence: str) -> Step:
    """Make the step that stands for something that can't be read."""
    return Step(id=place, key=place, kind="unreadable", text=sentence)


def block_text(entry: Entry, block: int) -> str:
    """Return the whole text of a step, as it is in the transcript; empty if it has none."""
    blocks = _blocks(entry)
    return _text_of(blocks[block]) if block < len(blocks) else ""


def _steps(entry: Entry, place: str) -> Iterator[Step]:
    kind, at, name = _word(entry, "type"), _word(entry, "timestamp")[:40], _word(entry, "uuid")[:80]
    if kind in _BOOKKEEPING:
        return
    if kind == "system":
        text, chars = bounded(_word(entry, "content") or _word(entry, "subtype"))
        title = _word(entry, "subtype").replace("_", " ")[:_TITLE_CHARS]
        yield Step(id=f"{place}.0", key=name or place, kind="event", at=at, title=title, text=text, chars=chars)
        return
    if kind not in ("user", "assistant"):
        yield Step(id=f"{place}.0", key=name or place, kind="unknown", at=at, title=kind[:80] or "no kind")
        return
    message = _mapping(entry, "message")
    usage = _mapping(message, "usage")
    request = _word(message, "id")[:80] if kind == "assistant" else ""
    for number, block in enumerate(_blocks(entry)):
        step = _step(block, kind, entry)
        if step is None:
            continue
        read = sum(_number(usage, f"{each}input_tokens") for each in ("", "cache_read_", "cache_creation_"))
        yield step.model_copy(
            update={
                "id": f"{place}.{number}",
                "key": f"{name or place}.{number}",
                "at": at,
                "request": request,
                "model": _word(message, "model")[:80],
                "tokens_read": read,
                "tokens_written": _number(usage, "output_tokens"),
            }
        )


def _step(block: Entry, kind: str, entry: Entry) -> Step | None:
    what = _word(block, "type")
    text, chars = bounded(_text_of(block))
    match what:
        case "text":
            if not text.strip():
                return None
            said: Kind = "said" if kind == "assistant" else "told"
            return Step(id="", key="", kind=said, text=text, chars=chars)
        case "thinking" | "redacted_thinking":
            return Step(id="", key="", kind="thought", text=text, chars=chars)
        case "tool_use" | "server_tool_use":
            arguments = block.get("input")
            return Step(
                id="",
                key="",
                kind="tool",
                tool=shown(_word(block, "name"))[:80],
                call=_word(block, "id")[:80],
                title=_title(arguments if isinstance(arguments, Mapping) else {}),
                text=text,
                chars=chars,
            )
        case "tool_result" | "web_search_tool_result":
            return Step(
                id="",
                key="",
                kind="result",
                call=_word(block, "tool_use_id")[:80],
                text=text,
                chars=chars,
                failed=block.get("is_error") is True,
                change=_change(entry.get("toolUseResult")),
            )
    return Step(id="", key="", kind="unknown", title=shown(what)[:80] or "no kind")


def _blocks(entry: Entry) -> list[Entry]:
    content = _mapping(entry, "message").get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return _items(content)


def _text_of(block: Entry) -> str:
    match _word(block, "type"):
        case "text":
            return _word(block, "text")
        case "thinking":
            return _word(block, "thinking")
        case "tool_use" | "server_tool_use":
            return _arguments(block.get("input"))
        case "tool_result" | "web_search_tool_result":
            return _result(block.get("content"))
    return ""


def _arguments(arguments: object) -> str:
    if not isinstance(arguments, Mapping):
        return "" if arguments is None else str(arguments)
    if isinstance(command := arguments.get("command"), str):
        return command
    if todos := _items(arguments.get("todos")):
        return "\n".join(f"{_TODO.get(_word(each, 'status'), '○')} {_word(each, 'content')}" for each in todos)
    return json.dumps(arguments, ensure_ascii=False, indent=2)


def _result(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = []
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, Mapping):
            parts.append(str(block))
        elif _word(block, "type") == "text":
            parts.append(_word(block, "text"))
        else:
            source = _mapping(block, "source")
            media = _word(source, "media_type") or _word(block, "title") or _word(block, "url")
            parts.append(f"[{_word(block, 'type') or 'something else'}: {media}, not shown here]")
    return "\n".join(parts)


def _title(arguments: Entry) -> str:
    for todo in _items(arguments.get("todos")):
        if _word(todo, "status") == "in_progress":
            return _one_line(_word(todo, "activeForm") or _word(todo, "content"))
    for name in _TITLES:
        value = arguments.get(name)
        if isinstance(value, str) and value.strip():
            return _one_line(value)
    return ""


def _one_line(text: str) -> str:
    return masked(" ".join(shown(text[: 4 * _TITLE_CHARS]).split()))[:_TITLE_CHARS]


def _change(result: object) -> Change | None:
    """Read what Claude Code noted of an edit: it brings the diff."""
    if not isinstance(result, Mapping) or not isinstance(result.get("structuredPatch"), list):
        return None
    hunks, left = [], _MOST_HUNK_LINES
    for hunk in result["structuredPatch"]:
        lines = [line for line in hunk.get("lines", ()) if isinstance(line, str)] if isinstance(hunk, Mapping) else []
        if lines and left > 0:
            hunks.append(Hunk(old=_number(hunk, "oldStart"), new=_number(hunk, "newStart"), lines=_lines(lines[:left])))
            left -= len(lines)
    created = _word(result, "type") == "create"
    if created and not hunks and (content := _word(result, "content")):
        lines = content.split("\n")
        left -= len(lines)
        whole = lines[:-1] if lines[-1] == "" else lines
        hunks = [Hunk(old=0, new=1, lines=_lines([f"+{line}" for line in whole[:_MOST_HUNK_LINES]]))]
    path = masked(shown(_word(result, "filePath")))[:500]
    return Change(path=path, created=created, hunks=hunks, cut=left < 0) if hunks else None


def _lines(lines: list[str]) -> list[str]:
    """Mask lines together, since a private key has many."""
    text = masked("\n".join(shown(line.replace("\n", " "))[:2_000] for line in lines))
    # A masked key has one line where there were many.
    return [line if line[:1] in "+- " else f" {line}" for line in text.split("\n")]


def _items(value: object) -> list[Entry]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _word(value: Entry, name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _number(value: Entry, name: str) -> int:
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 10**9 else 0


def _mapping(value: Entry, name: str) -> Entry:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}
