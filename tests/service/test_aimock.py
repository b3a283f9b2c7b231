"""The model's wire against two programs that are not ours: aimock as the server, Anthropic's client as the reader.

They show that Claude Code is driven rightly with any model server, and that the demo model's events are Anthropic's.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from claude_cli import Desk
from system import System

from peerbot.local.model import DemoModel

NPM = Path(__file__).parents[1] / "npm" / "aimock"
AIMOCK = NPM / "node_modules" / ".bin" / "llmock"
FIXTURES = {
    "fixtures": [
        {"match": {"userMessage": "Which file"}, "response": {"content": "answer.py, which prints 42."}},
        {
            "match": {"toolCallId": "call_run"},
            "response": {"content": "I wrote it and ran it; it printed forty-two."},
        },
        {
            "match": {"toolCallId": "call_write"},
            "response": {
                "toolCalls": [{"id": "call_run", "name": "Bash", "arguments": '{"command": "python3 answer.py"}'}]
            },
        },
        {
            "match": {"userMessage": "the answer", "hasToolResult": False},
            "response": {
                "content": "I write it.",
                "toolCalls": [
                    {
                        "id": "call_write",
                        "name": "Write",
                        "arguments": '{"file_path": "answer.py", "content": "print(42)\\n"}',
                    }
                ],
            },
        },
    ]
}

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not AIMOCK.exists(),
    reason="needs Node.js and `npm ci` in tests/npm/aimock",
)


@asynccontextmanager
async def aimock(folder: Path) -> AsyncIterator[str]:
    """Start aimock on a free port; yields its address."""
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    process = await asyncio.create_subprocess_exec(
        AIMOCK, "--port", "0", "--fixtures", fixtures, "--strict", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(20):
            while not (found := re.search(rb"listening on (http://[\d.:]+)", await process.stdout.readline())):
                assert process.returncode is None
        yield found[1].decode()
    finally:
        process.terminate()
        await process.communicate()


async def test_a_turn_of_the_cli_works_with_a_model_server_that_is_not_ours(tmp_path: Path) -> None:
    async with aimock(tmp_path) as url:
        desk = Desk.at(tmp_path, url, "any key")
        answer = await desk.ask("Ada Lovelace (U123) wrote:\nWrite the answer down")
        async with aiohttp.ClientSession() as client, client.get(f"{url}/__aimock/journal") as response:
            journal = await response.json()

    assert (answer.result.is_error, answer.result.terminal_reason) == (False, "completed")
    assert answer.text == "I wrote it and ran it; it printed forty-two."
    assert [call.name for call in answer.calls] == ["Write", "Bash"]
    assert [(result.content, result.is_error) for result in answer.results][1:] == [("42", False)]
    assert (desk.repository / "answer.py").read_text() == "print(42)\n"
    assert [entry["path"] for entry in journal if entry["method"] == "POST"] == ["/v1/messages?beta=true"] * 3


async def test_a_whole_conversation_works_with_a_model_server_that_is_not_ours(tmp_path: Path) -> None:
    async with aimock(tmp_path) as url, System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start(ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="any-key")
        conversation, identity = await system.say("Write the answer down")
        first = await system.answer(conversation, identity)
        second = await system.ask("Which file was it?", thread=conversation)
        pull_requests = await system.github.pull_requests(first.repository or "")

    assert (first.status, first.text) == ("done", "I wrote it and ran it; it printed forty-two.")
    assert [file.path for file in first.files] == ["answer.py"]
    assert [pull_request["number"] for pull_request in pull_requests] == [1]
    assert (second.status, second.text) == ("done", "answer.py, which prints 42.")
    assert first.session
    assert second.session
    assert second.session.id == first.session.id
    assert system.model.requests == 0


async def read_with_anthropics_client(model: DemoModel, request: dict[str, Any]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "node",
        "read-message.mjs",
        json.dumps(request),
        cwd=NPM,
        env=os.environ | {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": model.api_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    document: dict[str, Any] = json.loads(out)
    return document


async def test_anthropics_own_client_reads_the_stream_the_document_and_the_error() -> None:
    command = "echo 'ünïcödé \\\\ \"quoted\" ✓'\n" * 20
    request = {
        "model": "claude-opus-5-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": f"run ```\n{command}```"}],
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
    }
    async with DemoModel() as model:
        read = await read_with_anthropics_client(model, request)

    for message in (read["streamed"], read["plain"]):
        text, call = message["content"]
        assert text["text"].startswith("I am PeerBot's demo model")
        assert (call["name"], call["input"]["command"]) == ("Bash", command.strip("\n"))
        assert (message["role"], message["model"], message["stop_reason"]) == ("assistant", "peerbot-demo", "tool_use")
        assert message["usage"]["output_tokens"] > 100
    assert read["streamed"]["id"] != read["plain"]["id"]
    assert read["streamed"]["usage"] == read["plain"]["usage"]
    error = read["error"]
    assert (error["class"], error["status"], error["type"]) == ("BadRequestError", 400, "invalid_request_error")
    assert error["id"].startswith("req_")
