"""What the real CLI sends through the relay passes, all of it; and what the agent sends beside it does not."""

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, create_sdk_mcp_server, tool
from relay_world import ASK, World, relay_world
from scripted_api import Document, Script, calls, png
from system import System
from test_model_relay import ask_claude

from peerbot.claude import allowed
from peerbot.local.model import replies
from peerbot.local.model.replies import Reply
from peerbot.worker.agent import LONGEST_LINE_BYTES, TOOLS

DROPPED = {
    "fallback-credit-2026-06-01",  # money back for the answer of another model
    "dangerous-tool-use-2026-09-03",  # for the field below
    "afk-mode-2026-01-31",
}
"""The betas that the pinned CLI sends, and that do not pass."""

REFUSED = {"PeerBot does not pass `safeguards` on to Claude, in the request."}
"""In plan mode the CLI asks for a judgement of its tool calls, whose price nobody names. It then goes on without."""

PDF = (
    b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\nxref\n0 4\n0000000000 65535 f \n"
    b"0000000009 00000 n \n0000000052 00000 n \n0000000101 00000 n \ntrailer<</Size 4/Root 1 0 R>>\n"
    b"startxref\n164\n%%EOF\n"
)

HELLO = ASK | {"messages": [{"role": "user", "content": "hello"}]}


def rich() -> Document:
    """An answer with everything that Claude's answers may hold and that comes back in the next request."""
    document = replies.message(HELLO, calls("Bash", command="echo rich"))
    document["content"] = [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": "words", "citations": None},
        document["content"][-1] | {"caller": {"type": "direct"}},
    ]
    return document


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with relay_world(tmp_path) as world:
        world.relay = world.make_relay(budget_usd=1000)
        yield world


@tool("picture", "Draw a picture", {"size": int})
async def picture(_: dict[str, Any]) -> dict[str, Any]:
    drawn = {"type": "image", "data": base64.b64encode(png(8)).decode(), "mimeType": "image/png"}
    return {"content": [{"type": "text", "text": "drawn"}, drawn]}


WAYS: dict[str, tuple[list[Reply | Document], dict[str, Any]]] = {
    "a command": ([calls("Bash", command="echo hi"), Reply("It says hi.")], {}),
    "all that an answer may hold": ([rich(), Reply("Done.")], {}),
    "a picture": ([calls("Read", file_path="picture.png")], {}),
    "a document": ([calls("Read", file_path="paper.pdf")], {}),
    "a helper": (
        [calls("Agent", description="Look", prompt="Look around", subagent_type="general-purpose"),
         calls("Bash", command="ls"), Reply("I looked.")],
        {},
    ),
    "a tool of the worker's own": ([calls("mcp__own__picture", size=8)], {"mcp_servers": {
        "own": create_sdk_mcp_server("own", tools=[picture])}}),
    "an answer that is cut short": ([replies.cut_short(HELLO, Reply("One, two, three")), Reply("four")], {}),
    "another model": ([], {"model": "haiku"}),
    "a model that thinks by the token": ([], {"model": "claude-sonnet-4-5-20250929"}),
    "a model with a large context": ([], {"model": "opus[1m]"}),
    "no thinking": ([], {"thinking": {"type": "disabled"}}),
    "much effort": ([], {"thinking": {"type": "adaptive"}, "effort": "high"}),
    "a form for the answer": ([], {"output_format": {"type": "json_schema", "schema": {"type": "object"}}}),
    "a budget for the task": ([], {"task_budget": {"total": 100_000}}),
}  # fmt: skip


def furnish(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "picture.png").write_bytes(png(200))
    (folder / "paper.pdf").write_bytes(PDF)


async def played(world: World, folder: Path, script: Script, options: dict[str, Any], *prompts: str) -> list[str]:
    """Let the real CLI work as the worker's agent does; returns its answers."""
    await asyncio.to_thread(furnish, folder)
    environment = {
        "CLAUDE_CONFIG_DIR": str(folder.with_name("claude")), "ANTHROPIC_BASE_URL": world.url,
        "ANTHROPIC_AUTH_TOKEN": "agent-token", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1", "CLAUDE_CODE_ENABLE_TASKS": "0",
    }  # fmt: skip
    whole: dict[str, Any] = {
        "cwd": folder, "env": environment, "tools": TOOLS, "permission_mode": "bypassPermissions",
        "setting_sources": [], "max_buffer_size": LONGEST_LINE_BYTES, "verbatim_prompts": True,
        "system_prompt": {"type": "preset", "preset": "claude_code", "append": "Be kind."},
    }  # fmt: skip
    world.answer = script.answer
    answers: list[str] = []
    async with asyncio.timeout(90), ClaudeSDKClient(ClaudeAgentOptions(**whole | options)) as client:
        if options.get("permission_mode") == "plan":
            await client.set_permission_mode("plan")
        for prompt in prompts or ("do it",):
            await client.query(prompt)
            async for message in client.receive_response():
                if isinstance(message, ResultMessage):
                    assert not message.is_error, message.result
                    answers.append(message.result or "")
    return answers


def unknown_betas(world: World) -> set[str]:
    sent = (request.headers.get("anthropic-beta", "") for request in world.asked)
    return {beta.strip() for header in sent for beta in header.split(",") if beta.strip()} - allowed.BETAS


def refusals(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["event"] == "model_request_not_allowed"]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_all_that_the_pinned_cli_sends_passes(world: World, tmp_path: Path) -> None:
    """If this fails with a new CLI, look at what it sends more, and allow or refuse it on purpose."""
    with structlog.testing.capture_logs() as logs:
        for number, (name, (steps, options)) in enumerate(WAYS.items()):
            script = Script()
            script.steps = list(steps)
            assert await played(world, tmp_path / str(number) / "work", script, options), name
            assert not script.steps, name
        more: dict[str, tuple[dict[str, Any], list[str]]] = {
            "a plan": ({"permission_mode": "plan"}, ["plan it"]),
            "a summary": ({"verbatim_prompts": False}, ["hello", "/compact", "go on"]),
        }
        for name, (options, prompts) in more.items():
            assert len(await played(world, tmp_path / name / "work", Script(), options, *prompts)) == len(prompts)
    assert set(refusals(logs)) == REFUSED
    assert unknown_betas(world) == DROPPED
    assert {request.path_qs for request in world.requests} <= {"/v1/messages?beta=true"}
    blocks = {kind for body in world.bodies for kind in _types(json.loads(body).get("messages", []))}
    assert {"image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result"} <= blocks


def _types(value: Any) -> set[str]:
    if isinstance(value, list):
        return {kind for each in value for kind in _types(each)}
    if isinstance(value, dict):
        kind = value.get("type")
        return ({kind} if isinstance(kind, str) else set()) | _types(value.get("content"))
    return set()


async def test_a_search_passes_only_if_the_operator_allows_it(world: World, tmp_path: Path) -> None:
    for server_tools, expected in ((frozenset[str](), False), (frozenset({"web_search"}), True)):
        world.relay = world.make_relay(budget_usd=1000, server_tools=server_tools)
        script = Script()
        script.steps = [calls("WebSearch", query="peerbot")]
        folder = tmp_path / str(expected)
        with structlog.testing.capture_logs() as logs:
            await played(world, folder / "work", script, {"tools": [*TOOLS, "WebSearch"]})
        tools = [each.get("type") for body in world.bodies for each in json.loads(body).get("tools", [])]
        assert ("web_search_20250305" in tools) is expected
        assert bool(refusals(logs)) is not expected


EVIL = {"mcp_servers": [{"type": "url", "url": "https://evil.example", "name": "x"}]}


@pytest.mark.parametrize("path", ["v1/messages", "v1/messages?beta=true", "v1/messages/count_tokens"])
async def test_what_is_not_allowed_is_refused_in_words_and_costs_nothing(world: World, path: str) -> None:
    async with world.post(path, json=ASK | EVIL) as reply:
        assert reply.status == 400
        error = (await reply.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert "`mcp_servers`" in error["message"]
    assert not world.requests
    assert await world.spent_usd() == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda body: {"data": zlib.compress(body), "headers": {"Content-Encoding": "deflate"}},
        lambda body: {"data": body, "headers": {"Content-Encoding": "identity, gzip"}},
        lambda body: {
            "data": body.decode().encode("utf-16"),
            "headers": {"Content-Type": "application/json; charset=utf-16"},
        },
    ],
)
async def test_no_wrapping_gets_anything_past_the_check(world: World, wrap: Callable[[bytes], Document]) -> None:
    body = json.dumps(ASK | EVIL).encode()
    async with world.post(json=None, **wrap(body)) as reply:
        assert reply.status == 400
    assert not world.requests


async def test_what_goes_out_is_what_was_checked_and_says_that_it_is_json(world: World) -> None:
    body = json.dumps(ASK, indent=3).encode() + b" \n"
    headers = {"Content-Type": "multipart/form-data; boundary=x", "anthropic-version": "evil\tthing"}
    async with world.post("v1/messages?beta=evil&beta=true", json=None, data=body, headers=headers) as reply:
        assert reply.status == 200
    assert world.bodies == [body]
    sent = world.requests[0]
    assert sent.path_qs == "/v1/messages"
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers["anthropic-version"] == "2023-06-01"


async def test_the_real_cli_shows_a_refusal_in_words(world: World, tmp_path: Path) -> None:
    """The variable is the CLI's own, and the agent's Bash may start a CLI with it."""
    result = await ask_claude(world, tmp_path, CLAUDE_CODE_EXTRA_BODY=json.dumps(EVIL))
    assert result["is_error"]
    assert "PeerBot does not pass `mcp_servers` on to Claude" in result["result"]


async def test_an_agent_has_the_search_if_the_operator_allows_it(tmp_path: Path) -> None:
    offered: list[bool] = []
    for number, setting in enumerate(("", "web_search")):
        async with System(tmp_path / str(number), {"PEERBOT_SERVER_TOOLS": setting}) as system:
            await system.start()
            await system.ask("hello")
            offered.append("WebSearch" in {each["name"] for each in system.model.seen[-1]["tools"]})
    assert offered == [False, True]
