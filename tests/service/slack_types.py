"""JSON Schemas made from Slack's own types, for the tests that compare our shapes with them (tests/npm/slack)."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

NPM = Path(__file__).parents[1] / "npm" / "slack"

needed = pytest.mark.skipif(
    shutil.which("node") is None or not (NPM / "node_modules" / "@slack" / "bolt").is_dir(),
    reason="Slack's types are not installed: npm ci in tests/npm/slack",
)


async def schemas(request: pytest.FixtureRequest, types: Iterable[str]) -> dict[str, Any]:
    """Make a schema for each of these types, once for the installed packages."""
    wanted = sorted(set(types))
    sources = [
        (NPM / name).read_bytes() for name in ("package-lock.json", "schemas.mjs", "slack.d.ts", "tsconfig.json")
    ]
    key = hashlib.sha256(b"\0".join([*sources, json.dumps(wanted).encode()])).hexdigest()[:16]
    assert request.config.cache is not None
    file = request.config.cache.mkdir("slack-schemas") / f"{key}.json"
    if not file.exists():
        node = await asyncio.create_subprocess_exec(
            "node", str(NPM / "schemas.mjs"), *wanted, stdout=asyncio.subprocess.PIPE
        )
        made, _ = await asyncio.wait_for(node.communicate(), 150)  # two thousand types are read
        assert node.returncode == 0
        part = file.with_name(f"{key}.{id(request)}.part")
        part.write_bytes(made)
        part.replace(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found
