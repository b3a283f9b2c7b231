"""The Slack app's manifest: Slack takes it, the product uses all of it, and nothing is missing."""

import ast
import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from peerbot.errors import Refused
from peerbot.local.slack import LocalSlack
from peerbot.slack.api import call, open_client
from peerbot.slack.controls import COMMAND
from peerbot.slack.manifest import APP_SCOPE, EVENTS, NO_SCOPE, SCOPES, Scope
from peerbot.slack.past import _TYPES as KINDS_LOOKED_THROUGH

ROOT = Path(__file__).parents[2]
NPM = ROOT / "tests/npm/slack"


def printed() -> dict[str, Any]:
    """Run `peerbot manifest`; returns its output as Slack reads it."""
    done = subprocess.run([sys.executable, "-m", "peerbot", "manifest"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


NEWER = {"assistant:write", "agent_session_stopped"}
"""What Slack's reference has (https://docs.slack.dev/ai/agent-sessions) and its type of a manifest lacks."""


def without(value: Any, names: set[str]) -> Any:
    """Copy a document without these names in its lists."""
    if isinstance(value, dict):
        return {key: without(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [without(each, names) for each in value if not (isinstance(each, str) and each in names)]
    return value


def test_slacks_types_have_the_newer_names_elsewhere() -> None:
    if not (NPM / "node_modules").is_dir():
        pytest.skip("npm ci in tests/npm/slack")
    slack = NPM / "node_modules/@slack"
    assert "'agent_session_stopped'" in (slack / "types/dist/events/agent.d.ts").read_text()
    of_a_manifest = (slack / "web-api/dist/types/request/manifest.d.ts").read_text()
    assert [name for name in NEWER if f"'{name}'" in of_a_manifest] == [], "the exception is no longer needed"


@pytest.mark.timeout(180)  # two thousand types are read
@pytest.mark.skipif(
    shutil.which("node") is None or not (NPM / "node_modules").is_dir(), reason="npm ci in tests/npm/slack"
)
async def test_slacks_own_type_of_a_manifest_takes_it() -> None:
    takes = "AppsManifestCreateArguments"  # of `apps.manifest.create`, which accepts the same as the page
    node = await asyncio.create_subprocess_exec("node", str(NPM / "schemas.mjs"), takes, stdout=asyncio.subprocess.PIPE)
    made, _ = await asyncio.wait_for(node.communicate(), 150)
    schema = json.loads(made)[takes]
    # Slack's type allows unknown names beside its own. Here an unknown name is a mistake of ours.
    schema["definitions"]["Manifest"]["additionalProperties"] = False
    validator = Draft7Validator(schema)
    document = without(printed(), NEWER)

    assert [error.message for error in validator.iter_errors({"manifest": document})] == []
    spoiled: list[dict[str, Any]] = [
        document | {"setting": {}},
        document | {"oauth_config": {"scopes": {"bot": ["channels:histories"]}}},
        document | {"settings": {"event_subscriptions": {"bot_events": ["message.channel"]}}},
        {"settings": {}},
    ]
    assert [one for one in spoiled if not list(validator.iter_errors({"manifest": one}))] == []


def test_it_keeps_slacks_limits_and_is_for_socket_mode() -> None:
    document = printed()

    assert len(document["display_information"]["name"]) <= 35
    assert len(document["display_information"]["description"]) <= 140
    assert document["settings"]["socket_mode_enabled"] is True
    assert document["settings"]["token_rotation_enabled"] is False
    assert document["features"]["app_home"]["messages_tab_read_only_enabled"] is False
    assert document["features"]["bot_user"]["display_name"] == "peerbotai"  # the name that people mention in the guide


def test_each_scope_and_event_is_printed_with_its_reason() -> None:
    done = subprocess.run([sys.executable, "-m", "peerbot", "manifest"], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()]

    for item in (*SCOPES, *EVENTS):
        (line,) = [line for line in lines if line.split()[:2] == ["-", item.name]]
        assert line.endswith(f"# {item.reason}")


def methods_that_the_product_names() -> set[str]:
    """Find the Web API methods that the product's code calls."""
    found = set()
    for module in (ROOT / "src/peerbot").rglob("*.py"):
        if "local" in module.parts or module.name in ("lanes.py", "manifest.py"):  # budgets, and the manifest itself
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_method(node.value):
                found.add(node.value)
    return found


def _is_method(text: str) -> bool:
    families = ["apps", "auth", "chat", "conversations", "files", "reactions", "team", "users", "agents", "views"]
    families += ["usergroups", "bots"]
    first, _, rest = text.partition(".")
    return first in families and rest.replace(".", "").isalpha()


def test_it_asks_for_what_the_product_calls_and_nothing_else() -> None:
    named = {method for scope in SCOPES for method in scope.methods}

    assert named | {*NO_SCOPE, "apps.connections.open"} == methods_that_the_product_names()
    assert APP_SCOPE == "connections:write"
    for scope in SCOPES:
        needed = scope.methods or scope.name in {event.scope for event in EVENTS} or scope.name == "commands"
        assert needed, f"{scope.name} is for nothing"
    assert [command["command"] for command in printed()["features"]["slash_commands"]] == [COMMAND]


def test_each_kind_of_channel_that_is_looked_through_is_heard_from_too() -> None:
    families = {"channel": "channels", "group": "groups", "mpim": "mpim", "im": "im"}
    heard = {event.name: event.scope for event in EVENTS}
    scopes = {scope.name for scope in SCOPES}

    for spoken in KINDS_LOOKED_THROUGH.values():
        family = families[spoken]
        assert heard[f"message.{family}"] == f"{family}:history"
        assert {f"{family}:history", f"{family}:read"} <= scopes
    assert set(heard.values()) - {""} <= scopes


ARGUMENTS: dict[str, dict[str, Any]] = {
    "chat.postMessage": {"text": "x"},
    "chat.postEphemeral": {"user": LocalSlack.person, "text": "x"},
    "usergroups.users.list": {"usergroup": "S1"},
    "chat.update": {"ts": "1.000001", "text": "x"},
    "bots.info": {"bot": LocalSlack.bot},
    "conversations.replies": {"ts": "1.000001"},
    "reactions.add": {"timestamp": "1.000001", "name": "eyes"},
    "reactions.remove": {"timestamp": "1.000001", "name": "eyes"},
    "files.getUploadURLExternal": {"filename": "x", "length": 1},
    "files.completeUploadExternal": {"files": [{"id": "F1"}]},
    "files.info": {"file": "F1"},
    "agents.sessions.setStatus": {"status": "active"},
}
NO_AGENT = "Slack refused a test: not_authorized."
TYPES = {"channels": "public_channel", "groups": "private_channel", "im": "im", "mpim": "mpim"}


async def refusal(slack: LocalSlack, scope: Scope, method: str) -> str:
    """Return Slack's refusal when `method` is called as the scope is meant; empty if it is done."""
    channels = {"channels": slack.general, "groups": "GPRIVATE", "im": slack.direct, "mpim": "GGROUP"}
    family = scope.name.partition(":")[0]
    channel = "channel_id" if method.startswith("agents.") else "channel"
    asked = {channel: channels.get(family, slack.general), **ARGUMENTS.get(method, {})}
    if method == "users.conversations":
        asked = {"types": TYPES[family]}
    elif method == "users.info":
        asked = {"user": slack.person}
    async with open_client(slack.api_url, slack.bot_token) as client:
        try:
            await call("a test", getattr(client, method.replace(".", "_"))(**asked))
        except Refused as refused:
            return str(refused)
    return ""


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope.methods], ids=lambda scope: scope.name)
async def test_without_a_scope_slack_refuses_what_it_is_for(scope: Scope) -> None:
    async with LocalSlack() as slack:
        slack.add_channel("GPRIVATE", "private", kind="private")
        slack.add_channel("GGROUP", "group", kind="mpim")
        for method in scope.methods:
            assert "lacks" not in await refusal(slack, scope, method)
        slack.grant([other.name for other in SCOPES if other is not scope])
        for method in scope.methods:
            said = await refusal(slack, scope, method)
            assert f"lacks {scope.name}" in said or (scope.name == "assistant:write" and said == NO_AGENT)


def test_the_page_is_made_from_it() -> None:
    script = ROOT / "scripts/slack_app_page.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
