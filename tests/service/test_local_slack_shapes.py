"""The local Slack against something that we did not write: Slack's own types of answers, blocks and events.

The schemas are made from `@slack/web-api` and `@slack/types` (`npm ci` in tests/npm/slack). They name every field that
Slack is known to send, so a field too many fails as well as a wrong type.
"""

import asyncio
import copy
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from jsonschema import Draft7Validator
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.local.slack import LocalSlack
from peerbot.local.slack.blocks import problems

NPM = Path(__file__).parents[1] / "npm" / "slack"
SOON = 5.0  # seconds

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NPM / "node_modules").is_dir(),
    reason="needs Node.js and `npm ci` in tests/npm/slack",
)

METHODS = (
    "agents.sessions.setStatus",
    "apps.connections.open",
    "auth.test",
    "chat.delete",
    "chat.getPermalink",
    "chat.postMessage",
    "chat.update",
    "conversations.history",
    "conversations.info",
    "conversations.replies",
    "reactions.add",
    "reactions.remove",
    "team.info",
    "users.info",
)
EVENTS = {
    ("app_mention", None): "AppMentionEvent",
    ("message", None): "GenericMessageEvent",
    ("message", "message_changed"): "MessageChangedEvent",
    ("message", "message_deleted"): "MessageDeletedEvent",
}


def answer_type(method: str) -> str:
    """`chat.postMessage` → `ChatPostMessageResponse`, as the packages name it."""
    return "".join(part[0].upper() + part[1:] for part in method.split(".")) + "Response"


Schemas = dict[str, Draft7Validator]


@pytest.fixture
async def schemas(request: pytest.FixtureRequest) -> Schemas:
    """A validator for each of Slack's types, made once for what is installed."""
    types = sorted({*map(answer_type, METHODS), *EVENTS.values(), "KnownBlock"})
    sources = [(NPM / name).read_bytes() for name in ("package-lock.json", "schemas.mjs", "slack.d.ts", "tsconfig.json")]
    key = hashlib.sha256(b"\0".join([*sources, json.dumps(types).encode()])).hexdigest()[:16]
    assert request.config.cache is not None
    file = request.config.cache.mkdir("slack-schemas") / f"{key}.json"
    if not file.exists():
        node = await asyncio.create_subprocess_exec(
            "node", str(NPM / "schemas.mjs"), *types, stdout=asyncio.subprocess.PIPE
        )
        made, _ = await asyncio.wait_for(node.communicate(), 50)
        assert node.returncode == 0
        part = file.with_name(f"{key}.{id(request)}.part")
        part.write_bytes(made)
        part.replace(file)
    return {name: Draft7Validator(schema) for name, schema in json.loads(file.read_text()).items()}


async def test_x(schemas: Schemas) -> None:
    calls, events, blocks = await recorded_run()
    out = []
    for method, answer in calls:
        for e in schemas[answer_type(method)].iter_errors(answer):
            out.append((method, list(e.absolute_path), e.message[:300]))
    for event in events:
        for e in schemas[EVENTS[event["type"], event.get("subtype")]].iter_errors(event):
            out.append((event["type"], event.get("subtype"), list(e.absolute_path), e.message[:300]))
    for block in blocks:
        for e in schemas["KnownBlock"].iter_errors(block):
            out.append(("block", list(e.absolute_path), e.message[:300]))
    for o in out:
        print(o)
    assert not out


RICH = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "main"}]}]}
BUTTON = {"type": "button", "action_id": "run_stop", "text": {"type": "plain_text", "text": "Stop"}, "value": "r1"}
BLOCKS: list[dict[str, Any]] = [
    {"type": "header", "text": {"type": "plain_text", "text": "Run 1"}},
    {
        "type": "plan",
        "block_id": "run_r1_v7",
        "title": "Running tests",
        "tasks": [
            {"type": "task_card", "task_id": "t1", "title": "Cloned", "status": "complete", "details": RICH},
            {"type": "task_card", "task_id": "t3", "title": "Running tests", "status": "in_progress", "output": RICH},
            {"type": "task_card", "task_id": "t4", "title": "Open pull request", "status": "pending"},
        ],
    },
    {"type": "divider"},
    {"type": "markdown", "text": "**done** in `main`"},
    {"type": "section", "text": {"type": "mrkdwn", "text": "*+3 −1*"}, "fields": [{"type": "mrkdwn", "text": "*x*"}]},
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "2m 14s"}]},
    {"type": "actions", "block_id": "runctl", "elements": [BUTTON]},
    RICH,
]


async def recorded_run() -> tuple[list[tuple[str, Any]], list[Any], list[Any]]:
    """What the local Slack answers and sends in a run that uses all of it, errors too."""
    async with LocalSlack() as slack:
        slack.declare_agent()
        slack.add_user("U0STRANGER1", "Eve Elsewhere", kind="external")
        slack.add_channel("C0SHARED001", "shared", members=["U0STRANGER1", slack.bot_user], shared=True)
        slack.add_channel("C0PRIVATE01", "secret", kind="private")
        slack.add_channel("C0MANY00001", "mpdm-ada--eve-1", kind="mpim")
        client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)
        calls: list[tuple[str, Any]] = []

        async def call(method: str, **arguments: Any) -> Any:
            try:
                answer = await client.api_call(method, json=arguments)
            except SlackApiError as failure:
                answer = failure.response
            calls.append((method, answer.data))
            return answer.data

        opened = await AsyncWebClient(base_url=slack.api_url).apps_connections_open(app_token=slack.app_token)
        calls.append(("apps.connections.open", opened.data))
        events: list[Any] = []
        async with ClientSession() as session, session.ws_connect(opened["url"]) as socket:

            async def listen() -> None:
                async for frame in socket:
                    envelope = json.loads(frame.data)
                    if envelope["type"] == "events_api":
                        events.append(envelope["payload"]["event"])
                        await socket.send_json({"envelope_id": envelope["envelope_id"]})

            listening = asyncio.create_task(listen())
            await _everything(slack, call)
            await slack.wait_for(lambda: slack.undelivered == 0, SOON)
            listening.cancel()
        kept = [message for message in slack.thread(slack.general, slack.faults and "0")]
        return calls, events, [block for message in kept for block in message.get("blocks", [])]


async def _everything(slack: LocalSlack, call: Any) -> None:
    general = slack.general
    await call("auth.test")
    await call("team.info")
    for user in (slack.person, slack.bot_user, "U0STRANGER1", "U0NOBODY001"):
        await call("users.info", user=user)
    for channel in (general, slack.direct, "C0SHARED001", "C0PRIVATE01", "C0MANY00001", "C0NOWHERE01"):
        await call("conversations.info", channel=channel, include_num_members=True)
    root = await slack.say(slack.person, general, f"{slack.mention()} go")
    await slack.say("U0STRANGER1", "C0SHARED001", f"{slack.mention()} hello")
    await slack.say(slack.person, slack.direct, "hello")
    await call("agents.sessions.setStatus", channel_id=general, thread_ts=root, status="processing", title="Go")
    await call("reactions.add", channel=general, timestamp=root, name="eyes")
    await call("reactions.add", channel=general, timestamp=root, name="eyes")
    await call("reactions.remove", channel=general, timestamp=root, name="eyes")
    await call("reactions.add", channel=general, timestamp=root, name="white_check_mark")
    metadata = {"event_type": "peerbot_turn", "event_payload": {"turn": 1}}
    card = await call(
        "chat.postMessage", channel=general, thread_ts=root, text="go", blocks=BLOCKS, metadata=metadata
    )
    await call("chat.update", channel=general, ts=card["ts"], text="on", blocks=BLOCKS)
    plain = await call("chat.postMessage", channel=general, thread_ts=root, text="x" * 40_001)
    await call("chat.update", channel=general, ts=plain["ts"], text="plain")
    await call("chat.postMessage", channel=general, text="no", blocks=[{"type": "section"}])
    await call("chat.postMessage", channel=general)
    await call("chat.getPermalink", channel=general, message_ts=card["ts"])
    await slack.edit(slack.person, general, root, f"{slack.mention()} stop")
    await call("conversations.replies", channel=general, ts=root, limit=2, include_all_metadata=True)
    await call("conversations.history", channel=general)
    await call("chat.delete", channel=general, ts=plain["ts"])
    await slack.delete(slack.person, general, root)
    await call("conversations.replies", channel=general, ts=root)
    await call("conversations.replies", channel=general, ts="1.000000")
