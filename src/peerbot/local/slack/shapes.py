"""Slack's objects as the Web API shows them: users, channels, messages. Pure.

Field names and types are Slack's; `tests/service/test_local_slack_shapes.py` compares them with Slack's own types.
"""

from typing import Any, Literal

Object = dict[str, Any]
UserKind = Literal["member", "admin", "guest", "bot", "external", "deactivated"]
ChannelKind = Literal["public", "private", "im", "mpim"]

TEAM = "T0LOCAL0001"
OTHER_TEAM = "T0OTHER0001"  # the organisation that external people belong to
APP = "A0PEERBOT01"
BOT = "B0PEERBOT01"
OTHER_BOT = "B0ALERTS001"  # another app's
BOT_USER = "U0PEERBOT01"
PERSON = "U0ADA000001"
GENERAL = "C0GENERAL01"
DIRECT = "D0ADA000001"

CHANNEL_TYPES: dict[ChannelKind, str] = {"public": "channel", "private": "group", "im": "im", "mpim": "mpim"}
"""Return a channel's kind in the words of events."""


def user(identity: str, name: str, kind: UserKind, created: int) -> Object:
    """A user object; the handle is the first word of the name, in lower case."""
    handle = name.partition(" ")[0].lower()
    team = OTHER_TEAM if kind == "external" else TEAM
    bot = kind == "bot"
    made: Object = {
        "id": identity,
        "team_id": team,
        "name": handle,
        "deleted": kind == "deactivated",
        "color": "9f69e7",
        "real_name": name,
        "tz": "Etc/UTC",
        "tz_label": "Coordinated Universal Time",
        "tz_offset": 0,
        "profile": {
            "title": "",
            "phone": "",
            "real_name": name,
            "real_name_normalized": name,
            "display_name": handle,
            "display_name_normalized": handle,
            "status_text": "",
            "status_emoji": "",
            "status_expiration": 0,
            "avatar_hash": "g0000000000",
            "team": team,
        },
        "is_admin": kind == "admin",
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": kind == "guest",
        "is_ultra_restricted": False,
        "is_bot": bot,
        "is_app_user": False,
        "updated": created,
    }
    if bot:
        made["profile"] |= {"api_app_id": APP, "bot_id": BOT}
    if kind == "external":
        made["is_stranger"] = True
    return made


def channel(identity: str, name: str, kind: ChannelKind, members: list[str], *, shared: bool, created: int) -> Object:
    """The fields that the world keeps of a channel. `shown` makes Slack's object of them."""
    return {
        "id": identity,
        "name": name,
        "kind": kind,
        "members": members,
        "shared": shared,
        "archived": False,
        "created": created,
    }


def shown(kept: Object) -> Object:
    """A channel as `conversations.info` shows it to the bot."""
    kind: ChannelKind = kept["kind"]
    common: Object = {
        "id": kept["id"],
        "created": kept["created"],
        "is_archived": kept["archived"],
        "is_org_shared": False,
        "context_team_id": TEAM,
        "updated": kept["created"] * 1000,
    }
    if kind == "im":
        others = [member for member in kept["members"] if member != BOT_USER]
        return common | {
            "is_im": True,
            "user": others[0] if others else BOT_USER,
            "last_read": "0000000000.000000",
            "is_open": True,
        }
    return common | {
        "name": kept["name"],
        "name_normalized": kept["name"],
        "is_channel": kind == "public",
        "is_group": False,
        "is_im": False,
        "is_mpim": kind == "mpim",
        "is_private": kind != "public",
        "is_general": kept["id"] == GENERAL,
        "is_member": BOT_USER in kept["members"],
        "is_shared": kept["shared"],
        "is_ext_shared": kept["shared"],
        "is_pending_ext_shared": False,
        "pending_shared": [],
        "pending_connected_team_ids": [],
        "shared_team_ids": [TEAM, OTHER_TEAM] if kept["shared"] else [TEAM],
        "unlinked": 0,
        "creator": PERSON,
        "topic": {"value": "", "creator": "", "last_set": 0},
        "purpose": {"value": "", "creator": "", "last_set": 0},
        "previous_names": [],
    }


def listed(kept: Object) -> Object:
    """A channel as `users.conversations` lists it."""
    return {name: value for name, value in shown(kept).items() if name != "is_member"}


def forwarded(message: Object, author: Object, channel: Object, address: str) -> Object:
    """A message as an attachment of one that forwards it. Its words are in `text`, and in its blocks if it has some.

    Its files are the attachment's.
    """
    shown: Object = {
        "id": 1,
        "is_msg_unfurl": True,
        "is_share": True,
        "from_url": address,
        "author_id": author["id"],
        "author_name": author["real_name"],
        "author_subname": author["name"],
        "channel_id": channel["id"],
        "channel_team": TEAM,
        "color": "D0D0D0",
        "fallback": f"{author['real_name']}: {message['text']}",
        "footer": "Direct message" if channel["kind"] == "im" else f"Posted in #{channel['name']}",
        "mrkdwn_in": ["text"],
        "text": message["text"],
        "ts": message["ts"],
    }
    if message.get("blocks"):
        inner = {"team": TEAM, "channel": channel["id"], "ts": message["ts"], "message": {"blocks": message["blocks"]}}
        shown["message_blocks"] = [inner]
    return shown | ({"files": message["files"]} if "files" in message else {})


def stub(file: Object) -> Object:
    """A file in a message: of one that must be asked about (another organization's), the id alone."""
    if file.get("file_access") == "check_file_info":
        return {"id": file["id"], "created": file["created"], "mode": "file_access", "file_access": "check_file_info"}
    return file


def stubbed(message: Object) -> Object:
    """A message with its files as an app gets them."""
    return message | {"files": [stub(file) for file in message["files"]]} if "files" in message else message


def bot_profile(created: int) -> Object:
    """Describe the bot, as each of its messages does."""
    icon = "https://a.slack-edge.com/80588/img/plugins/app/bot_{size}.png"
    return {
        "id": BOT,
        "app_id": APP,
        "name": "peerbot",
        "icons": {f"image_{size}": icon.format(size=size) for size in (36, 48, 72)},
        "deleted": False,
        "updated": created,
        "team_id": TEAM,
    }
