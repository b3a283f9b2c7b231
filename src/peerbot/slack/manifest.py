"""The Slack app as PeerBot needs it: its scopes and events, each with its reason. `peerbot manifest` prints it.

This is the one list of them: `make docs` makes `docs/slack-app.md` from it, `peerbot doctor` compares an installed app
with it, and the local Slack grants exactly these scopes, so that a scope that is missing here fails there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.slack.controls import COMMAND
from peerbot.slack.sign_in import BACK


@dataclass(frozen=True, slots=True)
class Scope:
    """A right of the bot token, with the Web API methods that need it."""

    name: str
    reason: str
    methods: tuple[str, ...] = ()
    setting: str = ""
    """The attribute of `Settings` that makes the scope needless if it is off or empty."""
    off: str = ""
    """The words for that, if they are not `SETTING=false`."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event that Slack sends, with the scope that it needs."""

    name: str
    scope: str
    reason: str


_HISTORY = ("conversations.history", "conversations.replies")
_READ = ("conversations.info", "conversations.members", "users.conversations")
_PRIVATE, _DIRECT = "slack_allow_private_channels", "slack_allow_direct_messages"

SCOPES = (
    Scope("app_mentions:read", "hears that somebody mentions the bot"),
    Scope(
        "assistant:write",
        "shows in a thread that it works, with Slack's own Stop (its card has a Stop button, too)",
        ("agents.sessions.setStatus",),
    ),
    Scope("channels:history", "reads a thread in a public channel, and what was missed during an outage", _HISTORY),
    Scope("channels:read", "sees whether a public channel is shared with another organization", _READ),
    Scope(
        "chat:write",
        "answers, shows progress by editing its message, and tells one person why a click had no effect",
        ("chat.postMessage", "chat.update", "chat.postEphemeral"),
    ),
    Scope("commands", "takes `/peerbot help`, `status`, `stop`, `settings` and `cost`"),
    Scope(
        "files:read",
        "reads the files that people share with their messages; without it they are named, and not read",
        ("files.info",),
    ),
    Scope(
        "files:write",
        "sends the rest of a very long answer, and files that the agent made",
        ("files.getUploadURLExternal", "files.completeUploadExternal"),
    ),
    Scope("groups:history", "the same as channels:history, in private channels", _HISTORY, _PRIVATE),
    Scope("groups:read", "sees that a channel is private; it may be one where the bot does not work", _READ),
    Scope("im:history", "reads direct messages to the bot", _HISTORY, _DIRECT),
    Scope(
        "im:read",
        "sees that it is a direct message, and finds those missed during an outage",
        _READ,
        _DIRECT,
    ),
    Scope("mpim:history", "the same as channels:history, in group direct messages", _HISTORY, _DIRECT),
    Scope("mpim:read", "the same as im:read, for group direct messages", _READ, _DIRECT),
    Scope("reactions:read", "sees ❌ or 🛑 on its card or on the message that asked, which stops the work"),
    Scope(
        "reactions:write",
        "puts 👀 on a message that was received, ✅ or ⚠️ on one that was answered",
        ("reactions.add", "reactions.remove"),
        "slack_enable_status_reactions",
    ),
    Scope(
        "usergroups:read",
        "sees who is in the user groups that `PEERBOT_ALLOWED_USERS` lists",
        ("usergroups.users.list",),
        "allowed_groups",
        "no user group in `PEERBOT_ALLOWED_USERS`",
    ),
    Scope(
        "users:read",
        "sees who writes: guests and other organizations' members are refused",
        ("users.info", "bots.info"),
    ),
)

USER_SCOPES = {
    "openid": "lets people sign in to session pages",
    "profile": "tells their name, and which workspace it is",
}
"""The rights that somebody grants who signs in. Nothing is done in their name."""

EVENTS = (
    Event("agent_session_stopped", "assistant:write", "somebody pressed Slack's own Stop"),
    Event("app_mention", "app_mentions:read", "a mention, wherever the bot is a member"),
    Event("message.channels", "channels:history", "replies without a mention, and the trigger phrase"),
    Event("message.groups", "groups:history", "the same in private channels"),
    Event("message.im", "im:history", "direct messages, which need no mention"),
    Event("message.mpim", "mpim:history", "replies and the trigger phrase in group direct messages"),
    Event("app_home_opened", "", "somebody opens the Home tab, which shows their work, their settings and budgets"),
    Event("reaction_added", "reactions:read", "❌ or 🛑, which stops the work"),
)

APP_SCOPE = "connections:write"
"""The one scope of the app-level token: it opens Socket Mode's connections. A manifest can't ask for it."""

NO_SCOPE = ("auth.test", "chat.getPermalink", "views.open", "views.publish", "views.update")
"""The methods that we call and that every bot token may call."""


def manifest(public_url: str = "") -> dict[str, Any]:
    """Make the manifest as a document, in version 2 of Slack's schema.

    `public_url` is where people reach session pages: with it the app lets them sign in.
    """
    scopes: dict[str, Any] = {"bot": [scope.name for scope in SCOPES]}
    oauth: dict[str, Any] = {"scopes": scopes}
    if public_url:
        oauth = {"redirect_urls": [public_url.rstrip("/") + BACK], "scopes": {"user": list(USER_SCOPES), **scopes}}
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": "PeerBot",
            "description": "Claude Code in threads: works in your repository and opens pull requests",
        },
        "features": {
            "agent_view": {"agent_description": "Works in your repository and opens pull requests"},
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "peerbotai", "always_online": True},
            "slash_commands": [
                {
                    "command": COMMAND,
                    "description": "See what PeerBot does here, and stop it",
                    "usage_hint": "help | status | stop | settings | cost",
                    "should_escape": False,
                }
            ],
        },
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": {"bot_events": [event.name for event in EVENTS]},
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }


_REASONS = {
    **{scope.name: scope.reason for scope in SCOPES},
    **{event.name: event.reason for event in EVENTS},
    **USER_SCOPES,
    "display_name": "what people mention; the trigger phrase is @peerbotai too",
    "agent_description": "makes it an agent: Slack shows that it works, with a Stop of its own",
    "home_tab_enabled": "people's work, settings and budgets",
    "messages_tab_enabled": "direct messages",
    "is_enabled": "the buttons on its messages, and the forms for settings",
    "socket_mode_enabled": "events come over a connection that the bot opens: nothing of yours has to be reachable",
    "token_rotation_enabled": "the token has to stay what it is",
}


def as_yaml(public_url: str = "") -> str:
    """Write the manifest for Slack's page “From a manifest”, each scope and event with its reason behind it."""
    return "\n".join(_lines(manifest(public_url))) + "\n"


def sign_in_yaml(public_url: str) -> str:
    """Write the part of the manifest that lets people sign in to session pages."""
    oauth = manifest(public_url)["oauth_config"]
    part = {"redirect_urls": oauth["redirect_urls"], "scopes": {"user": oauth["scopes"]["user"]}}
    return "\n".join(_lines({"oauth_config": part})) + "\n"


def _lines(section: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for item in value:
                if isinstance(item, Mapping):
                    yield from (f"{indent}  {'  ' if i else '- '}{line}" for i, line in enumerate(_lines(item)))
                else:
                    yield _with_reason(f"{indent}  - {item}", item)
        else:
            yield _with_reason(f"{indent}{key}: {json.dumps(value)}", key)  # JSON's scalars are YAML's


def _with_reason(line: str, name: str) -> str:
    return f"{line:<32}  # {_REASONS[name]}" if name in _REASONS else line


def scopes_table() -> str:
    """Write the scopes as a Markdown table: `docs/slack-app.md`."""
    rows = ["| scope | with it PeerBot … | methods | not needed with |", "|---|---|---|---|"]
    for scope in SCOPES:
        methods = ", ".join(f"`{method}`" for method in scope.methods) or "—"
        off = scope.off or (f"`{scope.setting.upper()}=false`" if scope.setting else "—")
        rows.append(f"| `{scope.name}` | {scope.reason} | {methods} | {off} |")
    return "\n".join(rows) + "\n"


def events_table() -> str:
    """Write the events as a Markdown table: `docs/slack-app.md`."""
    rows = ["| event | it brings | its scope |", "|---|---|---|"]
    rows += [f"| `{event.name}` | {event.reason} | {f'`{event.scope}`' if event.scope else '—'} |" for event in EVENTS]
    return "\n".join(rows) + "\n"
