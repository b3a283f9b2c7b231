"""What the chat page shows of the local Slack's world, as documents."""

from typing import TYPE_CHECKING
from urllib.parse import quote

from peerbot.local.key import Key
from peerbot.local.slack import shapes
from peerbot.local.slack.changes import Change
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.world import NotOk, World

if TYPE_CHECKING:
    from peerbot.local.slack.server import LocalSlack

FIRST = 60
"""How many messages of a channel come at first; the others when somebody scrolls up."""


def workspace(world: World, slack: "LocalSlack", key: Key, user: str) -> Object:
    """Everything that `user` sees when they open the workspace, but for the Home tab and modals."""
    seen = [kept for kept in world.channels.values() if kept["kind"] == "public" or user in kept["members"]]
    seen.sort(key=lambda kept: (kept["id"] != shapes.GENERAL, kept["name"]))  # #general is where a page opens
    return {
        "me": user,
        "people": {identity: person(each) for identity, each in world.users.items()},
        "channels": [channel(kept) for kept in seen],
        "messages": {kept["id"]: history(world, key, kept["id"]) for kept in seen},
        "whispers": slack.whispers(user),
    }


def person(user: Object) -> Object:
    """Somebody of the workspace."""
    kind = "bot" if user["is_bot"] else "guest" if user["is_restricted"] else "admin" if user["is_admin"] else "member"
    if user["team_id"] != shapes.TEAM:
        kind = "external"
    return {"id": user["id"], "name": user["real_name"], "handle": user["name"], "kind": kind}


def channel(kept: Object) -> Object:
    """A channel."""
    return {name: kept[name] for name in ("id", "name", "kind", "members", "shared", "archived")}


def history(world: World, key: Key, channel: str, *, before: str = "") -> Object:
    """The last messages of a channel before one, oldest first, and whether there are earlier ones."""
    found = [each for each in world.history(channel) if not before or each["ts"] < before]
    return {"messages": [message(each, key) for each in found[-FIRST:]], "more": len(found) > FIRST}


def message(kept: Object, key: Key) -> Object:
    """A message, with what opens each of its files."""
    files = [file | {"pass": key.pass_for(file["id"])} for file in kept.get("files", ())]
    return kept | {"files": files} if files else kept


def change(world: World, key: Key, changed: Change) -> Object:
    """A change, and what the message at the thread's top says of its replies now."""
    told: Object = {"kind": changed.kind, "channel": changed.channel, "ts": changed.ts}
    told |= {"thread_ts": changed.thread_ts, "message": message(changed.message, key)}
    if changed.thread_ts and changed.thread_ts != changed.ts:
        try:
            told["parent"] = message(world.message(changed.channel, changed.thread_ts), key)
        except NotOk:
            told["parent"] = None
    return told


def quoted(name: str) -> str:
    """A file's name for a header."""
    return quote(name, safe="")
