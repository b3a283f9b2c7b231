"""The events that an app gets for a change, in the form of Slack's Events API. Pure but for the clock."""

import secrets
import time
from collections.abc import Callable

from peerbot.local.slack.changes import Change
from peerbot.local.slack.shapes import APP, BOT_USER, CHANNEL_TYPES, TEAM, Object, stubbed

MENTION = f"<@{BOT_USER}>"

# Slack does not send the fields that a thread adds to a message, and metadata is an app's own affair.
_NOT_IN_EVENTS = (
    "metadata",
    "reply_count",
    "reply_users_count",
    "latest_reply",
    "reply_users",
    "is_locked",
    "subscribed",
)


def payloads(change: Change, channel: Object, new_ts: Callable[[], str]) -> list[Object]:
    """Make the events that Slack sends for a change in `channel`: none if the bot is not a member."""
    if BOT_USER not in channel["members"]:
        return []
    return [wrapped(event, channel) for event in _events(change, channel, new_ts)]


def _events(change: Change, channel: Object, new_ts: Callable[[], str]) -> list[Object]:
    channel_type = CHANNEL_TYPES[channel["kind"]]
    if change.kind in ("reaction", "whispered"):
        return []
    if change.kind == "posted":
        event = stubbed(sent(change.message)) | {"channel": change.channel, "event_ts": change.ts}
        if channel["shared"] and "team" in event:
            event |= {"user_team": event["team"], "source_team": event["team"]}
        said = event | {"channel_type": channel_type}
        if "files" in event and event["user"] != BOT_USER:
            said |= {"subtype": "file_share", "upload": False, "display_as_bot": False}
        events = [said]
        # In a direct message everything is for the bot, so Slack has no mentions there; and the bot's own
        # messages never mention it. Of messages with a subtype we don't know whether Slack tells it twice.
        once = channel_type == "im" or event.get("subtype") in ("me_message", "bot_message")
        if MENTION in event["text"] and not once and event["user"] != BOT_USER:
            events.insert(0, event | {"type": "app_mention"})
        return events
    ts = new_ts()
    event = {"type": "message", "hidden": True, "channel": change.channel, "channel_type": channel_type}
    event |= {"previous_message": sent(change.previous), "ts": ts, "event_ts": ts}
    if change.kind == "updated" or change.message.get("subtype") == "tombstone":
        return [event | {"subtype": "message_changed", "message": sent(change.message)}]
    return [event | {"subtype": "message_deleted", "deleted_ts": change.ts}]


def sent(message: Object | None) -> Object:
    """Return a message in the form that Slack sends to an app."""
    return {key: value for key, value in (message or {}).items() if key not in _NOT_IN_EVENTS}


def wrapped(event: Object, channel: Object) -> Object:
    """Put an event into the envelope of the Events API."""
    return {
        "token": "verification-tokens-are-deprecated",
        "team_id": TEAM,
        "context_team_id": TEAM,
        "context_enterprise_id": None,
        "api_app_id": APP,
        "event": event,
        "type": "event_callback",
        "event_id": "Ev" + secrets.token_hex(5).upper(),
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": TEAM,
                "user_id": BOT_USER,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": channel["shared"],
        "event_context": f"4-{event['type']}-{TEAM}-{APP}-{channel['id']}",
    }
