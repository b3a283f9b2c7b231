"""The scope that each call needs, as the reference of each method says (https://docs.slack.dev/reference/methods).

It has the methods that PeerBot calls. It is not made from PeerBot's own manifest: an app that asks for too few scopes
has to fail here as it does in a real workspace.
"""

from peerbot.local.slack.arguments import Arguments
from peerbot.local.slack.world import World

_OF_METHOD = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.delete": "chat:write",
    "reactions.add": "reactions:write",
    "reactions.remove": "reactions:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "files.info": "files:read",
    "users.info": "users:read",
    "bots.info": "users:read",
    "usergroups.users.list": "usergroups:read",
    "agents.sessions.setStatus": "chat:write",
}
_OF_CONVERSATION = {
    "conversations.info": "read",
    "conversations.members": "read",
    "conversations.history": "history",
    "conversations.replies": "history",
}
_FAMILIES = {"public": "channels", "private": "groups", "im": "im", "mpim": "mpim"}
_TYPES = {"public_channel": "channels", "private_channel": "groups", "im": "im", "mpim": "mpim"}


def needed(method: str, arguments: Arguments, world: World) -> list[str]:
    """List the scopes that a call needs; empty if any token may make it."""
    if method in _OF_METHOD:
        return [_OF_METHOD[method]]
    if method in _OF_CONVERSATION:
        channel = world.channels.get(arguments.text("channel"))
        return [f"{_FAMILIES[channel['kind']]}:{_OF_CONVERSATION[method]}"] if channel else []
    if method == "users.conversations":
        types = (arguments.text("types") or "public_channel").split(",")
        return [f"{_TYPES[kind]}:read" for kind in types if kind in _TYPES]
    return []
