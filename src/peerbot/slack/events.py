"""Everything that comes in from Slack, read into types, and what may go back with the ack.

This module alone knows what Slack calls the parts of an envelope's body. It is pure, so that every shape is a row in a
table of tests. Nothing here raises, whatever Slack sends.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.documents import Input
from peerbot.slack.text import LEADING_MENTIONS, mentioned_users, phrase_pattern

_A_PERSONS_MESSAGE = (None, "file_share", "thread_broadcast")  # of the subtypes; the rest are edits, joins, bots …
_SLACKBOT = "USLACKBOT"


@dataclass(frozen=True, slots=True)
class Us:
    """Who we are in this workspace."""

    team: str
    bot_user: str
    trigger_phrase: str = "@peerbotai"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that is for us (`sure`), or is if its thread is a conversation already (not `sure`)."""

    input: Input
    sure: bool


Fields = Mapping[tuple[str, str], tuple[str, ...]]
"""What stands in the fields of a form, by block and action id: nothing, one string or several."""


@dataclass(frozen=True, slots=True)
class BlockAction:
    """Somebody used an element of a message or a view: pressed a button, made a choice.

    A conversation is found by channel and thread, never by `team`: in a shared channel it can be the person's.
    """

    team: str
    user: str
    channel: str  # this and the next two are empty if the element is in a view
    message_ts: str
    thread_ts: str  # of the message itself if it began a thread or stands alone
    view: str  # its id; empty if the element is in a message
    block_id: str
    action_id: str
    value: str  # a button's own, or the first choice
    action_ts: str
    trigger_id: str  # opens a modal within three seconds
    fields: Fields  # everything that is filled in beside it


@dataclass(frozen=True, slots=True)
class ViewAction:
    """Somebody submitted a modal, or closed it."""

    submitted: bool
    team: str
    user: str
    view: str  # its id
    callback_id: str
    private_metadata: str
    trigger_id: str  # empty if it was closed
    fields: Fields


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Somebody used a shortcut: one of a message, or a global one."""

    team: str
    user: str
    callback_id: str
    channel: str  # this and the next two are empty for a global one
    message_ts: str
    thread_ts: str
    action_ts: str
    trigger_id: str


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody used a slash command."""

    team: str
    user: str
    channel: str
    command: str
    text: str
    trigger_id: str


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else: what Slack calls it, and the ids that a line in the log needs."""

    type: str
    subtype: str = ""
    event_id: str = ""
    user: str = ""
    channel: str = ""
    ts: str = ""  # of the message that it is about
    thread_ts: str = ""


Interaction = BlockAction | ViewAction | Shortcut | Command
"""Slack sends these once. If the ack is missing, it shows an error to the person, who can try again."""

Incoming = Candidate | Interaction | Other


@dataclass(frozen=True, slots=True)
class Reply:
    """What Slack gets with the ack. Only a submitted modal and a command take one."""

    body: Mapping[str, Any]

    @classmethod
    def errors(cls, sentences: Mapping[str, str]) -> "Reply":
        """Keep the modal open and show a sentence at each of these blocks."""
        return cls({"response_action": "errors", "errors": dict(sentences)})

    @classmethod
    def only_to_them(cls, text: str) -> "Reply":
        """Show a text to the person who used the command, and to nobody else."""
        return cls({"response_type": "ephemeral", "text": text})


def read(body: Mapping[str, Any], us: Us) -> Incoming:
    """Read the body of any envelope. What lacks an id that it can't be handled without comes out as `Other`."""
    found: Incoming | None = None
    match body.get("type"):
        case "event_callback":
            found = read_event(body, us)
        case "block_actions":
            found = _block_action(body)
        case "view_submission" | "view_closed":
            found = _view_action(body)
        case "shortcut" | "message_action":
            found = _shortcut(body)
        case None:
            found = _command(body)
    return found or _other(body)


_LOGGED = (
    *("type", "subtype", "event_id", "callback_id", "action_id", "command", "view"),
    *("team", "user", "channel", "message_ts", "ts", "thread_ts", "action_ts"),
)


def about(incoming: Incoming) -> dict[str, str]:
    """The ids by which a log can be followed; nothing that somebody wrote or filled in."""
    if isinstance(incoming, Candidate):
        said = incoming.input
        return {"conversation": str(said.conversation), "input": said.id, "event_id": said.event_id}
    named = {name: str(getattr(incoming, name, "")) for name in _LOGGED}
    return {"kind": type(incoming).__name__} | {name: value for name, value in named.items() if value}


def read_event(body: Mapping[str, Any], us: Us) -> Candidate | None:
    """Read a message from an `event_callback` of the Events API; None if it is never for us.

    A mention's `app_mention` and `message` give the same conversation and the same input id. The caller looks up what
    can't be known here: whether this thread is a conversation already.
    """
    event = body.get("event")
    if body.get("type") != "event_callback" or not isinstance(event, Mapping) or not _is_a_persons_message(event, us):
        return None
    text = _clean(event.get("text"))
    if not (text or event.get("files") or event.get("attachments")):
        return None
    said = _input(body, event, text, us)
    if said is None:
        return None
    if said.channel_type == "im" or addresses_us(text, us):
        return Candidate(said, sure=True)
    if said.thread_ts != said.ts and not LEADING_MENTIONS.match(text):
        return Candidate(said, sure=False)
    return None


def addresses_us(text: str, us: Us) -> bool:
    """Whether the text (as Slack sent it) mentions the bot, or has the trigger phrase as a word of its own."""
    return us.bot_user in mentioned_users(text) or phrase_pattern(us.trigger_phrase).search(text) is not None


def _is_a_persons_message(event: Mapping[str, Any], us: Us) -> bool:
    """Whether a person wrote this, now: no bot (ourselves first), no edit, no deletion, no join."""
    return (
        event.get("type") in ("message", "app_mention")
        and event.get("subtype") in _A_PERSONS_MESSAGE
        and not any(event.get(key) for key in ("bot_id", "bot_profile", "hidden", "edited"))
        and event.get("user") not in (None, us.bot_user, _SLACKBOT)
    )


def _input(body: Mapping[str, Any], event: Mapping[str, Any], text: str, us: Us) -> Input | None:
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    said = Input(
        team=_team(body, us),
        channel=channel,
        thread_ts=str(event.get("thread_ts") or ts),
        ts=ts,
        user=str(event["user"]),
        user_team=_clean(event.get("user_team") or event.get("team")) or None,
        channel_type="im" if channel.startswith("D") else _clean(event.get("channel_type")) or None,
        text=text,
        event_id=_clean(body.get("event_id")),
    )
    try:
        _ = said.conversation, said.id
    except ValueError:  # not what Slack makes; it could not be named in the journal
        return None
    return said if re.fullmatch(r"[A-Z][A-Z0-9]{1,30}", said.user) else None


def _team(body: Mapping[str, Any], us: Us) -> str:
    """The workspace that the bot is in: in a channel that is shared, events carry other teams, too."""
    authorizations = body.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else {}
    team = first.get("team_id") if isinstance(first, Mapping) else None
    return str(team or body.get("team_id") or us.team)


def _clean(value: object) -> str:
    """A string that UTF-8 can hold (JSON can carry half of a surrogate pair), or the empty one."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _block_action(body: Mapping[str, Any]) -> BlockAction | None:
    actions = body.get("actions")
    action = _object(actions[0]) if isinstance(actions, list) and actions else {}  # there is one: what was used
    message, container, view = _object(body.get("message")), _object(body.get("container")), _object(body.get("view"))
    message_ts = _clean(container.get("message_ts") or message.get("ts"))
    found = BlockAction(
        team=_id(body.get("team")),
        user=_id(body.get("user")),
        channel=_id(body.get("channel")) or _id(container.get("channel_id")),
        message_ts=message_ts,
        thread_ts=_clean(container.get("thread_ts") or message.get("thread_ts")) or message_ts,
        view=_id(view),
        block_id=_clean(action.get("block_id")),
        action_id=_clean(action.get("action_id")),
        value=next(iter(_said(action)), ""),
        action_ts=_clean(action.get("action_ts")),
        trigger_id=_clean(body.get("trigger_id")),
        fields=_fields(_object(body.get("state")) or _object(view.get("state"))),
    )
    return found if found.user and found.action_id else None


def _view_action(body: Mapping[str, Any]) -> ViewAction | None:
    view = _object(body.get("view"))
    found = ViewAction(
        submitted=body.get("type") == "view_submission",
        team=_id(body.get("team")),
        user=_id(body.get("user")),
        view=_id(view),
        callback_id=_clean(view.get("callback_id")),
        private_metadata=_clean(view.get("private_metadata")),
        trigger_id=_clean(body.get("trigger_id")),
        fields=_fields(_object(view.get("state"))),
    )
    return found if found.user and found.view else None


def _shortcut(body: Mapping[str, Any]) -> Shortcut | None:
    message_ts = _clean(body.get("message_ts"))
    found = Shortcut(
        team=_id(body.get("team")),
        user=_id(body.get("user")),
        callback_id=_clean(body.get("callback_id")),
        channel=_id(body.get("channel")),
        message_ts=message_ts,
        thread_ts=_clean(_object(body.get("message")).get("thread_ts")) or message_ts,
        action_ts=_clean(body.get("action_ts")),
        trigger_id=_clean(body.get("trigger_id")),
    )
    return found if found.user and found.callback_id else None


def _command(body: Mapping[str, Any]) -> Command | None:
    found = Command(
        team=_id(body.get("team_id")),
        user=_id(body.get("user_id")),
        channel=_id(body.get("channel_id")),
        command=_clean(body.get("command")),
        text=_clean(body.get("text")),
        trigger_id=_clean(body.get("trigger_id")),
    )
    return found if found.user and found.command else None


def _other(body: Mapping[str, Any]) -> Other:
    event = _object(body.get("event")) or body
    item = _object(event.get("item"))  # of a reaction
    message = _object(event.get("message")) or _object(event.get("previous_message"))  # that was edited, or deleted
    return Other(
        type=_clean(event.get("type")),
        subtype=_clean(event.get("subtype")),
        event_id=_clean(body.get("event_id")),
        user=_id(event.get("user")),
        channel=_id(event.get("channel")) or _id(item.get("channel")),
        ts=_clean(message.get("ts") or item.get("ts") or event.get("ts")),
        thread_ts=_clean(event.get("thread_ts") or message.get("thread_ts")),
    )


def _fields(state: Mapping[str, Any]) -> Fields:
    return {
        (_clean(block), _clean(action)): _said(_object(element))
        for block, elements in _object(state.get("values")).items()
        for action, element in _object(elements).items()
    }


def _said(element: Mapping[str, Any]) -> tuple[str, ...]:
    """What an element was filled in with: a text, ids, or the values of options."""
    options = [element.get("selected_option"), *_list(element.get("selected_options"))]
    found = [
        element.get("value"),
        element.get("selected_date"),
        element.get("selected_time"),
        element.get("selected_user"),
        element.get("selected_channel"),
        element.get("selected_conversation"),
        *_list(element.get("selected_users")),
        *_list(element.get("selected_channels")),
        *_list(element.get("selected_conversations")),
        *(_object(option).get("value") for option in options),
    ]
    return tuple(text for text in map(_clean, found) if text)


def _object(value: object) -> Mapping[str, Any]:
    """What Slack sent as an object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: object) -> str:
    """An id, which Slack writes as such or as a part of what it names."""
    return _clean(value.get("id") if isinstance(value, Mapping) else value)
