"""The Web API's methods that change something: messages, reactions, an agent's session."""

import json
import re
from collections.abc import Callable
from typing import Any

from peerbot.local.slack import blocks as block_kit
from peerbot.local.slack.arguments import Arguments, messages
from peerbot.local.slack.shapes import BOT_USER, Object
from peerbot.local.slack.world import TEXT_LIMIT, NotOk, World

UPDATE_TEXT_LIMIT = 4_000  # characters
METADATA_LIMIT = 16_384  # bytes of JSON
_EMOJI = re.compile(r"[a-z0-9_+'-]{1,100}(::skin-tone-[2-6])?")
_SESSION_STATES = ("processing", "active", "suspended", "closed")

Method = Callable[[World, Arguments], Object]


def post_message(world: World, args: Arguments) -> Object:
    """`chat.postMessage`."""
    text = args.text("text")
    blocks, metadata = _blocks(world, args), _metadata(args)
    if not (text or blocks):
        raise NotOk("no_text")
    more = {key: value for key, value in (("blocks", blocks), ("metadata", metadata)) if value}
    thread_ts = args.text("thread_ts") or None
    channel = world.direct(args.text("channel"))
    message = world.post(channel, BOT_USER, text, thread_ts=thread_ts, **more)
    answer: Object = {"channel": channel, "ts": message["ts"], "message": message}
    if len(text) > TEXT_LIMIT:
        answer["response_metadata"] = {"warnings": ["message_truncated"]}
    return answer


def post_ephemeral(world: World, args: Arguments) -> Object:
    """`chat.postEphemeral`: a message that one person of the channel sees, and that Slack does not keep."""
    channel, user, text = args.text("channel"), args.text("user"), args.text("text")
    blocks = _blocks(world, args)
    if not (text or blocks):
        raise NotOk("no_text")
    if user not in world.writable(channel, BOT_USER)["members"]:
        raise NotOk("user_not_in_channel")
    more = {key: value for key, value in (("blocks", blocks), ("thread_ts", args.text("thread_ts"))) if value}
    return {"message_ts": world.whisper(channel, user, text, **more)}


def update(world: World, args: Arguments) -> Object:
    """`chat.update`: text without blocks removes the blocks, and blocks alone leave the text."""
    if len(args.text("text")) > UPDATE_TEXT_LIMIT:
        raise NotOk("msg_too_long")
    changes: Object = {}
    if "blocks" in args:
        changes["blocks"] = _blocks(world, args) or None
    elif "text" in args:
        changes["blocks"] = None
    if "text" in args:
        changes["text"] = args.text("text")
    if "metadata" in args:
        changes["metadata"] = _metadata(args) or None
    if not (args.text("text") or changes.get("blocks")):
        raise NotOk("no_text")
    channel, ts = args.text("channel"), args.text("ts")
    edited = not changes.get("blocks")  # the flag "(edited)" is shown for text alone
    message = world.update(channel, BOT_USER, ts, changes, edited=edited)
    shown = {key: value for key, value in message.items() if key not in ("ts", "thread_ts", "parent_user_id")}
    return {"channel": channel, "ts": ts, "text": message["text"], "message": shown}


def delete(world: World, args: Arguments) -> Object:
    """`chat.delete`."""
    world.delete(args.text("channel"), BOT_USER, args.text("ts"))
    return {"channel": args.text("channel"), "ts": args.text("ts")}


def get_permalink(world: World, args: Arguments) -> Object:
    """`chat.getPermalink`."""
    channel, ts = args.text("channel"), args.text("message_ts")
    world.channel(channel, seen_by=BOT_USER)
    message = world.message(channel, ts)
    link = f"{world.url}archives/{channel}/p{ts.replace('.', '')}"
    if message.get("thread_ts", ts) != ts:
        link += f"?thread_ts={message['thread_ts']}&cid={channel}"
    return {"channel": channel, "permalink": link}


def add_reaction(world: World, args: Arguments) -> Object:
    """`reactions.add`."""
    world.react(args.text("channel"), BOT_USER, args.text("timestamp"), _emoji(args))
    return {}


def remove_reaction(world: World, args: Arguments) -> Object:
    """`reactions.remove`."""
    world.unreact(args.text("channel"), BOT_USER, args.text("timestamp"), _emoji(args))
    return {}


def set_session_status(world: World, args: Arguments) -> Object:
    """`agents.sessions.setStatus`, for an app that is declared an agent."""
    world.writable(args.text("channel_id"), BOT_USER)
    status = args.text("status")
    if status not in _SESSION_STATES:
        raise NotOk("invalid_arguments", **messages(f"status must be one of {', '.join(_SESSION_STATES)}"))
    if len(args.text("title")) > 200:
        raise NotOk("invalid_arguments", **messages("title must have at most 200 characters"))
    world.agent_status[args.text("channel_id"), args.text("thread_ts")] = status
    return {"status": status, "title": args.text("title")}


def _emoji(args: Arguments) -> str:
    name = args.text("name").strip(":")
    if not _EMOJI.fullmatch(name):
        raise NotOk("invalid_name")
    return name


def _blocks(world: World, args: Arguments) -> list[Object]:
    blocks = args.structure("blocks", "invalid_blocks_format")
    if not blocks:
        return []
    problems = block_kit.problems(blocks, world.lacking_blocks)
    if problems:
        raise NotOk("invalid_blocks", errors=problems, **messages(*problems))
    if len(json.dumps(blocks, ensure_ascii=False)) > block_kit.MESSAGE_LIMIT:
        raise NotOk("msg_blocks_too_long")
    return block_kit.named(blocks)


def _metadata(args: Arguments) -> Any:
    metadata = args.structure("metadata", "invalid_metadata_format")
    if not metadata:
        return None
    well_formed = (
        isinstance(metadata, dict)
        and isinstance(metadata.get("event_type"), str)
        and isinstance(metadata.get("event_payload"), dict)
    )
    if not well_formed:
        raise NotOk("invalid_metadata_format")
    if len(json.dumps(metadata)) > METADATA_LIMIT:
        raise NotOk("metadata_too_large")
    return metadata


METHODS: dict[str, Method] = {
    "chat.postMessage": post_message,
    "chat.postEphemeral": post_ephemeral,
    "chat.update": update,
    "chat.delete": delete,
    "chat.getPermalink": get_permalink,
    "reactions.add": add_reaction,
    "reactions.remove": remove_reaction,
    "agents.sessions.setStatus": set_session_status,
}
