"""Slack's names for things stay in `slack/` and `local/slack/`: everything else works with types, and has no such key.

The names are the keys that `slack/` itself uses, so that a name which is read there for the first time counts at once.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "peerbot"
SLACKS_OWN = ("slack", "local/slack")
OTHERS_OWN = ("github", "claude", "worker", "runs/jobs", "local/github", "local/model")  # they speak others' JSON
OUR_WORDS = {"conversation"}  # what a line in our log and a mark on a message are about
HTTPS_WORDS = {"Accept-Encoding", "Authorization", "Location", "Retry-After"}
READS = ("get", "pop", "setdefault")

# Where others' words, or the journal's, are the same as Slack's.
ALLOWED = {
    "conversation/edits.py": {"text"},  # of an input
    "conversation/notes.py": {"kind"},  # of a note
    "doctor/claude.py": {"messages", "message", "error"},  # Claude's API
    "doctor/github.py": {"state"},  # GitHub's
    "doctor/inside.py": {"metadata"},  # a cloud's metadata server, of which a pod tells whether it is reached
    "gateway/access.py": {"team", "channel", "thread_ts"},  # a conversation's name, as the path of a run has it
    "gateway/app.py": {"type", "error", "message"},  # an error as Claude's API tells it
    "gateway/files.py": {"input", "file", "name"},  # parts of our own paths
    "gateway/git_relay.py": {"message"},  # an error as git's servers tell it
    "gateway/model_relay.py": {"type", "error", "message", "retry-after"},  # Claude's API
    "journal/directory.py": {"size"},  # the object store's
    "journal/gcs.py": {"name", "fields", "size"},  # Google's storage
    "journal/objects.py": {"size"},  # the object store's
    "journal/s3.py": {"size"},  # the object store's
    "local/hood.py": {"event", "status"},  # a line of our log
    "local/talk.py": {"event"},  # a line of our log
    "logs.py": {"event"},  # a line of our log
    "doctor/workflows.py": {"name", "type"},  # GitHub's
    "protocol/sessions.py": {"type"},  # a transcript of Claude Code
    "protocol/session_files.py": {"type"},  # a transcript of Claude Code
    "runs/processes/sandbox.py": {"user"},  # a namespace of the kernel
    "environment.py": {"type"},  # pydantic's
    "dispatcher/raising.py": {"nonce"},  # of a document of the journal
    "web/downloads.py": {"type", "text", "message"},  # a transcript of Claude Code
    "web/health.py": {"status", "reason"},  # ours
    "web/session_page.py": {"name", "team", "channel"},  # parts of our own paths
    "web/steps.py": {"id", "text", "command", "type", "input"},  # a transcript of Claude Code
}


def keys(module: Path) -> Iterator[str]:
    """Every string that a module uses as a key of a dictionary."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Subscript(value=ast.Name(id="Literal")):
                pass
            case ast.Subscript(slice=ast.Constant(value=str(key))):
                yield key
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(key)), *_]) if method in READS:
                yield key
            case ast.Dict(keys=found) | ast.MatchMapping(keys=found):
                yield from (key.value for key in found if isinstance(key, ast.Constant) and isinstance(key.value, str))
            case ast.ClassDef(bases=bases, body=body) if any("TypedDict" in ast.unparse(base) for base in bases):
                for field in body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        yield field.target.id


@cache
def slack_names() -> set[str]:
    return {key for module in (SOURCE / "slack").rglob("*.py") for key in keys(module)} - OUR_WORDS - HTTPS_WORDS


def found_outside(source: Path) -> dict[str, set[str]]:
    """Slack's names by module, for the modules that are to have none."""
    found = {}
    for module in sorted(source.rglob("*.py")):
        path = module.relative_to(source)
        if not any(path.is_relative_to(folder) for folder in (*SLACKS_OWN, *OTHERS_OWN)):
            found[path.as_posix()] = slack_names() & set(keys(module))
    return {path: names for path, names in found.items() if names}


def test_no_module_but_slack_s_own_has_one_of_slack_s_names_for_a_key() -> None:
    assert {"channel", "thread_ts", "subtype", "event_payload", "latest_reply", "view"} <= slack_names()
    assert found_outside(SOURCE) == ALLOWED


@pytest.mark.parametrize(
    ("module", "violation", "names"),
    [
        ("dispatcher/catchup.py", 'message["latest_reply"]', {"latest_reply"}),
        ("dispatcher/record.py", 'message["ts"] = 1', {"ts"}),
        ("thread/inbox.py", 'message.get("subtype") or message.pop("user", "")', {"subtype", "user"}),
        ("thread/present.py", '{"event_type": "peerbot_turn"}', {"event_type"}),
        ("local/world.py", "class Event(TypedDict):\n    thread_ts: str", {"thread_ts"}),
        ("verify/threads.py", 'match message:\n    case {"files": _}:\n        pass', {"files"}),
    ],
)
def test_one_that_is_planted_is_found(tmp_path: Path, module: str, violation: str, names: set[str]) -> None:
    copy = tmp_path / module
    copy.parent.mkdir()
    copy.write_text((SOURCE / module).read_text() + f"\n\n{violation}\n")

    assert found_outside(tmp_path) == {module: names}
