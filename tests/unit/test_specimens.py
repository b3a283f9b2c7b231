"""The chat page is looked at with a specimen of everything that the product may send to Slack."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from specimens import HOME, MESSAGES, MODAL

from peerbot import slack
from peerbot.local.slack import blocks, views

NO_BLOCKS = {"message", "event_callback"}
"""What slack/ writes as a `type` that nobody draws."""
UNSEEN = {
    *("type", "block_id", "action_id", "value", "emoji", "verbatim", "private_metadata", "callback_id"),
    *("notify_on_close", "clear_on_close", "is_decimal_allowed", "min_value", "max_value", "min_length", "max_length"),
    "max_selected_items",
}
"""Fields that nobody sees as such."""


def parts(of: Any) -> Iterator[dict[str, Any]]:
    """All documents in a document."""
    if isinstance(of, dict):
        yield of
        of = list(of.values())
    if isinstance(of, list | tuple):
        for each in of:
            yield from parts(each)


def written_kinds(file: Path) -> Iterator[str]:
    """The values of `type` in the documents that a module writes."""
    tree = ast.parse(file.read_text())
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "type":
                values = assigned.get(value.id, []) if isinstance(value, ast.Name) else [value]
                kinds = [each.value for one in values for each in ast.walk(one) if isinstance(each, ast.Constant)]
                named = [kind for kind in kinds if isinstance(kind, str)]
                assert named, f"{file.name}:{value.lineno}: this test can't tell which type this is"
                yield from named


def test_there_is_a_specimen_of_each_kind_that_we_write() -> None:
    written = {kind for file in Path(slack.__path__[0]).glob("*.py") for kind in written_kinds(file)}
    there = {part["type"] for part in parts([MESSAGES, MODAL, HOME]) if "type" in part}
    assert {"plan", "markdown", "feedback_buttons", "radio_buttons", "modal"} <= written, (
        "the list is read from the code"
    )
    assert written - NO_BLOCKS <= there


@pytest.mark.parametrize("module", [blocks, views])
def test_a_specimen_has_each_field_that_slack_takes(module: Any) -> None:
    used: dict[str, set[str]] = {}
    for part in parts([MESSAGES, MODAL, HOME]):
        used.setdefault(part.get("type", ""), set()).update(part)
    models = [each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, blocks.Strict)]
    typed = [model for model in models if "type" in model.model_fields]
    assert typed
    for model in typed:
        (kind,) = get_args(model.model_fields["type"].annotation)
        fields = {info.alias or name for name, info in model.model_fields.items()}
        assert fields - UNSEEN <= used.get(kind, set()), kind
