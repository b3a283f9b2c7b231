"""Make the chart's schema and `docs/values.md` from `charts/peerbot/values.yaml`. `--check` only compares.

Everything comes from that file. A key's default gives its type, and the comment above it is its description. A comment
line that begins with `@schema` adds to the key's JSON schema. The schema refuses every key that is not in the file.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
VALUES = ROOT / "charts" / "peerbot" / "values.yaml"
SCHEMA = ROOT / "charts" / "peerbot" / "values.schema.json"
PAGE = ROOT / "docs" / "values.md"
HEAD = """\
# Values of the chart

This page is for operators. It lists every value of the chart `charts/peerbot`. The chart refuses a key that is not
listed here. [charts/peerbot/examples](../charts/peerbot/examples) has values files for production, for small and large
teams, for Autopilot and for low cost. (`make docs` makes this page from the chart's `values.yaml`.)

| key | meaning | default |
|---|---|---|
"""
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
QUANTITIES = {
    "additionalProperties": False,
    "patternProperties": {"^(cpu|memory|ephemeral-storage|.+/.+)$": {"type": ["string", "number"]}},
}
"""The schema of requests and limits, for a key whose hint has `resources: true`."""

Row = tuple[str, str, str]


class Reader:
    """Read the values' keys, each with the comment above it."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.rows: list[Row] = []

    def schema_of(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        """Give the schema of a mapping that takes only its own keys."""
        properties = {key.value: self._value(key, value, f"{path}{key.value}") for key, value in node.value}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def _value(self, key: yaml.Node, node: yaml.Node, path: str) -> dict[str, Any]:
        description, hints = self._comment(key.start_mark.line)
        default = yaml.safe_load(yaml.serialize(node))
        open_map = default == {} or hints.pop("resources", False)
        if isinstance(node, yaml.MappingNode) and not open_map:
            if description:
                self.rows.append((path, description, ""))
            schema = self.schema_of(node, f"{path}.")
        else:
            if not description:
                raise SystemExit(f"values.yaml: {path} has no comment that says what it is.")
            self.rows.append((path, description, _shown(default)))
            schema = {"type": TYPES[type(default)]} | (QUANTITIES if default and open_map else {})
        return ({"description": description} if description else {}) | schema | hints

    def _comment(self, line: int) -> tuple[str, dict[str, Any]]:
        """Read the comment right above a line: its words, and the part that it adds to the schema."""
        words: list[str] = []
        hints: dict[str, Any] = {}
        above = line
        while above and self.lines[above - 1].lstrip().startswith("#"):
            above -= 1
        for comment in self.lines[above:line]:
            text = comment.strip().removeprefix("#").strip()
            if text.startswith("@schema"):
                hints |= yaml.safe_load(text.removeprefix("@schema"))
            else:
                words.append(text)
        return " ".join(words), hints


def _shown(default: object) -> str:
    if isinstance(default, dict) and default:
        return ", ".join(f"`{key}: {value}`" for key, value in default.items())
    return f"`{json.dumps(default)}`"


def main() -> int:
    """Write the schema and the page, or compare them; returns the exit code."""
    text = VALUES.read_text()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    reader = Reader(text)
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **reader.schema_of(root, "")}
    made = {
        SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        PAGE: HEAD + "".join(f"| `{path}` | {says} | {default} |\n" for path, says, default in reader.rows),
    }
    if "--check" not in sys.argv:
        for path, content in made.items():
            path.write_text(content)
        return 0
    stale = [str(path.relative_to(ROOT)) for path, content in made.items() if path.read_text() != content]
    if stale:
        print(f"{' and '.join(stale)}: they do not match the chart's values. Run `make docs`.", file=sys.stderr)
    return 1 if stale else 0


sys.exit(main())
