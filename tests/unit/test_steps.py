"""A transcript as steps: what Claude Code writes today, and anything that an agent or another release might write."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peerbot.web.parts import opened
from peerbot.web.steps import HEAD_CHARS, TAIL_CHARS, Step, steps_in

TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"


def steps(*entries: Any, subpath: str = "") -> list[Step]:
    return list(steps_in(iter(enumerate(entries)), run=2, part=3, subpath=subpath))


def entry(kind: str, *content: Any, **more: Any) -> dict[str, Any]:
    named = {"type": kind, "uuid": "u1", "timestamp": "2026-11-30T20:53:47.900Z"}
    return named | {"message": {"role": kind, "content": list(content), "id": "msg_1"}} | more


def test_words_thoughts_tools_and_results_are_steps() -> None:
    found = steps(
        entry("assistant", {"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "I look."}),
        entry(
            "assistant", {"type": "tool_use", "id": "c1", "name": "Bash", "input": {"command": "ls\npwd"}}, uuid="u2"
        ),
        entry("user", {"type": "tool_result", "tool_use_id": "c1", "content": "a.py", "is_error": True}, uuid="u3"),
    )
    assert [step.kind for step in found] == ["thought", "said", "tool", "result"]
    assert [step.id for step in found] == ["2.3.0.0", "2.3.0.1", "2.3.1.0", "2.3.2.0"]
    assert found[2].text == "ls\npwd"
    assert found[2].title == "ls pwd"
    assert found[2].call == found[3].call == "c1"
    assert found[3].failed


def test_an_edit_brings_its_diff() -> None:
    patch = {"oldStart": 3, "newStart": 3, "lines": [" same", "-old", f"+key = {TOKEN}"]}
    result = {"filePath": "/workspace/a.py", "structuredPatch": [patch], "originalFile": "x"}
    edited = steps(entry("user", {"type": "tool_result", "tool_use_id": "c1", "content": "ok"}, toolUseResult=result))
    change = edited[0].change
    assert change
    assert change.path == "/workspace/a.py"
    assert change.hunks[0].lines == [" same", "-old", "+key = [masked: GitHub token]"]
    made = {"type": "create", "filePath": "b.py", "content": "one\ntwo\n", "structuredPatch": []}
    created = steps(entry("user", {"type": "tool_result", "tool_use_id": "c2", "content": "ok"}, toolUseResult=made))
    assert created[0].change
    assert created[0].change.hunks[0].lines == ["+one", "+two"]
    assert created[0].change.created


def test_long_and_strange_texts_are_bounded_visible_and_masked() -> None:
    text = "x" * 1_000_000 + f" {TOKEN} \x1b[31m\x00\ud800 end"
    found = steps(entry("assistant", {"type": "text", "text": text}))[0]
    assert len(found.text) < HEAD_CHARS + TAIL_CHARS + 200
    assert found.chars == len(text)
    assert TOKEN not in found.text
    assert "\x1b" not in found.text
    assert "␛[31m␀? end" in found.text
    found.model_dump_json()


def test_what_is_not_known_is_named() -> None:
    found = steps(
        {"type": "queue-operation"},
        {"type": "hologram", "uuid": "u9"},
        entry("assistant", {"type": "dream", "dream": 1}),
        entry("user", "no block", None, 5),
        {"type": "system", "subtype": "compact_boundary", "content": "Compacted"},
    )
    assert [(step.kind, step.title) for step in found] == [
        ("unknown", "hologram"),
        ("unknown", "dream"),
        ("event", "compact boundary"),
    ]


def test_a_subagent_is_named() -> None:
    assert steps(entry("assistant", {"type": "text", "text": "hi"}), subpath="subagents/agent-a1b2")[0].agent == "a1b2"


WORDS = st.text(max_size=8) | st.sampled_from(
    [
        "type",
        "message",
        "content",
        "text",
        "uuid",
        "timestamp",
        "input",
        "name",
        "toolUseResult",
        "structuredPatch",
        "lines",
        "id",
        "usage",
        "input_tokens",
        "source",
        "filePath",
        "tool_use_id",
        "thinking",
        "todos",
        "status",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)


@given(
    st.lists(
        st.dictionaries(WORDS, JSON, max_size=6)
        | st.builds(
            lambda kind, content, result: {"type": kind, "message": {"content": content}, "toolUseResult": result},
            st.sampled_from(["user", "assistant", "system"]),
            st.lists(
                st.dictionaries(WORDS, JSON, max_size=6).flatmap(
                    lambda block: st.sampled_from(["text", "tool_use", "tool_result", "thinking"]).map(
                        lambda kind: block | {"type": kind}
                    )
                ),
                max_size=4,
            ),
            JSON,
        ),
        max_size=5,
    )
)
def test_anything_becomes_steps(entries: list[dict[str, Any]]) -> None:
    part = {"schema": 1, "project": "workspace", "session_id": "s", "subpath": "", "entries": entries}
    subpath, read = opened(json.dumps(part).encode())
    assert subpath == ""
    assert list(read) == list(enumerate(entries))
    for step in steps(*entries):
        Step.model_validate_json(step.model_dump_json())
