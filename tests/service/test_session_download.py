"""A person goes on with a session that they downloaded from its page, as docs/sessions.md says, with the real CLI."""

import asyncio
import io
import json
import os
import re
import stat
import zipfile
from pathlib import Path

import claude_agent_sdk
import pytest
from session_viewers import viewing, with_page
from system import System

CLAUDE = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
DOCS = Path(__file__).parents[2] / "docs/sessions.md"


def commands() -> str:
    """The lines that docs/sessions.md gives."""
    [found] = re.findall(r"```sh\n(cd .*?)```", DOCS.read_text(), re.DOTALL)
    return str(found)


@pytest.mark.parametrize("folder", ["src/project", "src/Jürgen's (old) projects.v2"])
async def test_a_downloaded_session_goes_on_where_it_was(tmp_path: Path, folder: str) -> None:
    home = tmp_path / "home"
    (home / "Downloads").mkdir(parents=True)
    (home / folder).mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin/claude").write_text(f'#!/bin/sh\nexec {CLAUDE} "$@" -p "What did you do?" --output-format json\n')
    (home / "bin/claude").chmod(stat.S_IRWXU)
    async with System(tmp_path / "system") as system:
        await with_page(system).start()
        conversation, identity = await system.say("run `echo the-word-is-heliotrope > made; git add -A`")
        turn = await system.answer(conversation, identity)
        assert turn.session
        async with viewing(system, system.slack.person) as viewer:
            status, packed = await viewer.get(f"/sessions/{conversation}/turns/{turn.k}/session.zip")
        assert status == 200
        (home / "Downloads/session.zip").write_bytes(packed)
        with zipfile.ZipFile(io.BytesIO(packed)) as files:
            assert f"claude --resume {turn.session.id}" in files.read("README.txt").decode()
        told = commands().replace("~/src/project", f'"$HOME/{folder}"').replace("SESSION", turn.session.id)
        system.model.seen.clear()
        process = await asyncio.create_subprocess_exec(
            "sh", "-euc", told, cwd=home, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8",
                "ANTHROPIC_BASE_URL": system.model.url, "ANTHROPIC_AUTH_TOKEN": system.model.api_key,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "1", "IS_SANDBOX": "1",
            },
        )  # fmt: skip
        out, err = (each.decode() for each in await asyncio.wait_for(process.communicate(), 90))
        assert process.returncode == 0, out + err
        assert json.loads(out.splitlines()[-1])["session_id"] == turn.session.id
        read = system.read_by_model()
        assert "heliotrope" in read, "it remembers"
        assert "What did you do?" in read
