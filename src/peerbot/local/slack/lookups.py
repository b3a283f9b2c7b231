"""The Web API's methods that only read: people, channels and messages."""

import base64
import binascii

from peerbot.local.slack import shapes
from peerbot.local.slack.arguments import Arguments, messages
from peerbot.local.slack.chat import Method
from peerbot.local.slack.shapes import BOT_USER, ChannelKind, Object
from peerbot.local.slack.world import NotOk, World

_TYPES: dict[str, ChannelKind] = {
    "public_channel": "public",
    "private_channel": "private",
    "im": "im",
    "mpim": "mpim",
}
PAGE_LIMIT = 1_000
HISTORY_PAGE = 100  # if the caller names no limit


def auth_test(world: World, _args: Arguments) -> Object:
    """`auth.test`."""
    return {
        "url": world.url,
        "team": "PeerBot on this machine",
        "user": "peerbot",
        "team_id": shapes.TEAM,
        "user_id": BOT_USER,
        "bot_id": shapes.BOT,
        "is_enterprise_install": False,
    }


def team_info(world: World, _args: Arguments) -> Object:
    """`team.info`."""
    return {
        "team": {
            "id": shapes.TEAM,
            "name": "PeerBot on this machine",
            "url": world.url,
            "domain": "local",
            "email_domain": "",
            "icon": {"image_default": True},
        }
    }


def users_info(world: World, args: Arguments) -> Object:
    """`users.info`."""
    user = world.users.get(args.text("user"))
    if user is None:
        raise NotOk("user_not_found")
    return {"user": user}


def bots_info(world: World, args: Arguments) -> Object:
    """`bots.info`."""
    bot = args.text("bot")
    if bot not in (shapes.BOT, shapes.OTHER_BOT):
        raise NotOk("bot_not_found")
    name = "peerbot" if bot == shapes.BOT else world.other_app
    shown: Object = {"id": bot, "deleted": False, "name": name, "updated": 0, "app_id": shapes.APP}
    return {"bot": shown | ({"user_id": BOT_USER} if bot == shapes.BOT else {"app_id": "A0ALERTS001"})}


def usergroups_users_list(world: World, args: Arguments) -> Object:
    """`usergroups.users.list`."""
    members = world.groups.get(args.text("usergroup"))
    if members is None:
        raise NotOk("no_such_subteam")
    return {"users": members}


def conversations_info(world: World, args: Arguments) -> Object:
    """`conversations.info`."""
    kept = world.channel(args.text("channel"), seen_by=BOT_USER)
    shown = shapes.shown(kept)
    if args.flag("include_num_members"):
        shown["num_members"] = len(kept["members"])
    return {"channel": shown}


def conversations_members(world: World, args: Arguments) -> Object:
    """`conversations.members`: the bot sees those of each channel that it sees."""
    members = world.channel(args.text("channel"), seen_by=BOT_USER)["members"]
    limit, cursor = args.number("limit", 100), args.text("cursor")
    if limit < 1 or limit > PAGE_LIMIT:
        raise NotOk("invalid_limit")
    start = members.index(name) if (name := _decoded(cursor).removeprefix("user:")) in members else 0
    if cursor and not start:
        raise NotOk("invalid_cursor")
    rest = members[start + limit :]
    after = base64.b64encode(f"user:{rest[0]}".encode()).decode() if rest else ""
    return {"members": members[start : start + limit], "response_metadata": {"next_cursor": after}}


def users_conversations(world: World, args: Arguments) -> Object:
    """`users.conversations`: the channels that the bot is a member of. If the caller names no types, public ones."""
    types = (args.text("types") or "public_channel").split(",")
    if unknown := [name for name in types if name not in _TYPES]:
        raise NotOk("invalid_types", **messages(f"unknown type {unknown[0]}"))
    kinds = {_TYPES[name] for name in types}
    found = [
        kept
        for kept in world.channels.values()
        if kept["kind"] in kinds
        and BOT_USER in kept["members"]
        and not (args.flag("exclude_archived") and kept["archived"])
    ]
    limit, start = args.number("limit", PAGE_LIMIT), _channel_after(args.text("cursor"), found)
    if limit < 1 or limit > PAGE_LIMIT:
        raise NotOk("invalid_limit")
    rest = found[start + limit :]
    cursor = base64.b64encode(f"channel:{rest[0]['id']}".encode()).decode() if rest else ""
    return {
        "channels": [shapes.listed(kept) for kept in found[start : start + limit]],
        "response_metadata": {"next_cursor": cursor},
    }


def _channel_after(cursor: str, found: list[Object]) -> int:
    wanted = _decoded(cursor).removeprefix("channel:") if cursor else ""
    places = [place for place, kept in enumerate(found) if kept["id"] == wanted] if cursor else [0]
    if not places:
        raise NotOk("invalid_cursor")
    return places[0]


def conversations_replies(world: World, args: Arguments) -> Object:
    """`conversations.replies`: oldest first. The thread's first message is always on the first page."""
    channel, ts = args.text("channel"), args.text("ts")
    _readable(world, channel)
    thread = world.thread(channel, ts)
    if not thread:
        raise NotOk("thread_not_found")
    parent = [message for message in thread if message["ts"] == ts]
    replies = _between([message for message in thread if message["ts"] != ts], args)
    return _page(parent + replies, args, default=PAGE_LIMIT)


def conversations_history(world: World, args: Arguments) -> Object:
    """`conversations.history`: newest first, without replies."""
    channel = args.text("channel")
    _readable(world, channel)
    return _page(_between(world.history(channel), args)[::-1], args, default=HISTORY_PAGE) | {"pin_count": 0}


def _readable(world: World, channel: str) -> None:
    if BOT_USER not in world.channel(channel, seen_by=BOT_USER)["members"]:
        raise NotOk("not_in_channel")


def _between(found: list[Object], args: Arguments) -> list[Object]:
    oldest, latest = _moment(args, "oldest", "0"), _moment(args, "latest", "9999999999")
    inclusive = args.flag("inclusive")
    return [
        message
        for message in found
        if oldest < float(message["ts"]) < latest or (inclusive and float(message["ts"]) in (oldest, latest))
    ]


def _moment(args: Arguments, name: str, default: str) -> float:
    try:
        return float(args.text(name) or default)
    except ValueError as error:
        raise NotOk(f"invalid_ts_{name}") from error


def _page(found: list[Object], args: Arguments, *, default: int) -> Object:
    limit = args.number("limit", default)
    if limit < 1 or limit > PAGE_LIMIT:
        raise NotOk("invalid_limit")
    start = _after_cursor(args.text("cursor"), found)
    page, rest = found[start : start + limit], found[start + limit :]
    if not args.flag("include_all_metadata"):
        page = [{key: value for key, value in message.items() if key != "metadata"} for message in page]
    page = [shapes.stubbed(message) for message in page]
    answer: Object = {"messages": page, "has_more": bool(rest)}
    if rest:
        cursor = base64.b64encode(f"next_ts:{rest[0]['ts']}".encode()).decode()
        answer["response_metadata"] = {"next_cursor": cursor}
    return answer


def _after_cursor(cursor: str, found: list[Object]) -> int:
    if not cursor:
        return 0
    ts = _decoded(cursor).removeprefix("next_ts:")
    for place, message in enumerate(found):
        if message["ts"] == ts:
            return place
    raise NotOk("invalid_cursor")


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise NotOk("invalid_cursor") from error


METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "team.info": team_info,
    "users.info": users_info,
    "bots.info": bots_info,
    "users.conversations": users_conversations,
    "usergroups.users.list": usergroups_users_list,
    "conversations.info": conversations_info,
    "conversations.members": conversations_members,
    "conversations.replies": conversations_replies,
    "conversations.history": conversations_history,
}
