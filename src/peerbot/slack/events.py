"""Everything that comes in from Slack, read into types, and what may go back with the ack.

This module alone knows what Slack calls the parts of an envelope's body. It is pure, so that every shape is a row in a
table of tests. Nothing here raises, whatever Slack sends.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import is_ts
from peerbot.slack.interactions import Interaction, read_interaction
from peerbot.slack.payloads import as_object, clean, id_of
from peerbot.slack.said import attached, text_of
from peerbot.slack.shared import shared_files
from peerbot.slack.text import LEADING_MENTIONS, mentioned_users, phrase_pattern

# Of the subtypes; the rest are edits, joins, bots …
_A_PERSONS_MESSAGE = (None, "file_share", "thread_broadcast", "me_message")
_SLACKBOT = "USLACKBOT"
_STOP_WORDS = ("stop", "cancel")


@dataclass(frozen=True, slots=True)
class Us:
    """Who we are in this workspace."""

    team: str
    bot_user: str
    trigger_phrase: str = "@peerbotai"
    bot: str = ""  # the bot's own id, beside its user's
    apps: frozenset[str] = frozenset()  # ids of the bots of other apps that may give work


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that is for us (`sure`), or is if its thread is a conversation already (not `sure`)."""

    input: Input
    sure: bool


@dataclass(frozen=True, slots=True)
class Edited:
    """Somebody edited their message. `message`: as it reads now, if it may be for us, or may have been before."""

    edit: Input
    message: Candidate | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """Somebody deleted their message. `message`: as it was, if it may be for us."""

    deletion: Input
    message: Candidate | None


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else: what Slack calls it, and the ids that a handler or a line in the log needs."""

    type: str
    subtype: str = ""
    event_id: str = ""
    user: str = ""
    channel: str = ""
    ts: str = ""  # of the message that it is about
    thread_ts: str = ""
    event_ts: str = ""  # of itself
    reaction: str = ""  # the name of the sign, without colons


Change = Edited | Deleted
"""Slack sends these again, as it does messages."""

Incoming = Candidate | Change | Interaction | Other


def read(body: Mapping[str, Any], us: Us) -> Incoming:
    """Read the body of any envelope. What lacks an id that it can't be handled without comes out as `Other`."""
    found: Incoming | None
    if body.get("type") == "event_callback":
        found = read_event(body, us) or _change(body, us)
    else:
        found = read_interaction(body)
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
    if isinstance(incoming, Edited | Deleted):
        changed = incoming.edit if isinstance(incoming, Edited) else incoming.deletion
        return {"conversation": str(changed.conversation), "input": changed.id, "event_id": changed.event_id}
    named = {name: str(getattr(incoming, name, "")) for name in _LOGGED}
    return {"kind": type(incoming).__name__} | {name: value for name, value in named.items() if value}


def read_event(body: Mapping[str, Any], us: Us) -> Candidate | None:
    """Read a message from an `event_callback` of the Events API; None if it is never for us.

    A mention's `app_mention` and `message` give the same conversation and the same input id. The caller looks up what
    can't be known here: whether this thread is a conversation already.
    """
    event = body.get("event")
    if body.get("type") != "event_callback" or not isinstance(event, Mapping):
        return None
    if app := _app_that_asks(event, us):
        asked = _input(body, {**event, "user": app}, _all_words(event), us)
        return Candidate(asked, sure=True) if asked else None
    return _of_a_person(body, event, us) if _is_a_persons_message(event, us) else None


def _of_a_person(body: Mapping[str, Any], event: Mapping[str, Any], us: Us) -> Candidate | None:
    text = text_of(event)
    if not (text or event.get("files") or event.get("attachments")):
        return None
    said = _input(body, event, _all_words(event), us)
    if said is None:
        return None
    if said.channel_type == "im" or addresses_us(text, us):
        return Candidate(said, sure=True)
    if said.thread_ts != said.ts and not LEADING_MENTIONS.match(text):
        return Candidate(said, sure=False)
    return None


def _change(body: Mapping[str, Any], us: Us) -> Change | None:
    """Read an edit or a deletion of a person's message. What Slack itself changes (a preview of a link) is neither."""
    event = as_object(body.get("event"))
    now, before = as_object(event.get("message")), as_object(event.get("previous_message"))
    gone = event.get("subtype") == "message_deleted" or now.get("subtype") == "tombstone"
    edited = event.get("subtype") == "message_changed" and now.get("edited") and _all_words(now) != _all_words(before)
    message = before if gone else now
    if event.get("type") != "message" or not (gone or edited):
        return None
    said = {name: value for name, value in message.items() if name not in ("edited", "hidden")}
    said |= {"type": "message", "channel": event.get("channel"), "channel_type": event.get("channel_type")}
    if not _is_a_persons_message(said, us):
        return None
    made = _input(body, said, _all_words(said), us)
    at = clean(event.get("event_ts") or event.get("ts"))
    if made is None or not is_ts(at):
        return None
    changed = made.model_copy(update={"kind": "delete" if gone else "edit", "of": made.ts, "ts": at})
    as_it_is = read_event({**body, "event": said}, us)
    if gone:
        return Deleted(changed.model_copy(update={"text": ""}), as_it_is)
    return Edited(changed, _edited_message(as_it_is, read_event({**body, "event": said | _words(before)}, us), changed))


def _edited_message(now: Candidate | None, before: Candidate | None, edit: Input) -> Candidate | None:
    """Make the message as it reads after an edit. If it was for us before, it still is: the first event may be late."""
    if before and (now is None or before.sure):
        now = replace(before, input=before.input.model_copy(update={"text": edit.text, "files": edit.files}))
    return replace(now, input=now.input.model_copy(update={"edited": edit.ts})) if now else None


def _words(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: message.get(name) for name in ("text", "blocks", "attachments", "files")}


def _all_words(message: Mapping[str, Any]) -> str:
    """Read a message's own words, and those of a forwarded message in it. Only the former say whether it is for us."""
    return "\n\n".join(part for part in (text_of(message), attached(message)) if part)


def asks_to_stop(text: str, us: Us) -> bool:
    """Whether the text (as Slack sent it) is the word `stop` or `cancel` and nothing more, but for a mention of us."""
    words = phrase_pattern(us.trigger_phrase).sub(" ", text.replace(f"<@{us.bot_user}>", " "))
    return words.strip(" \t\n.!,:").lower() in _STOP_WORDS


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


def _app_that_asks(event: Mapping[str, Any], us: Us) -> str:
    """The bot's id, if an app that may give work mentions us in a message that begins a thread; empty otherwise.

    In threads apps are not heard: two bots that answer each other would never end.
    """
    bot = clean(event.get("bot_id"))
    asks = (
        bot in us.apps
        and bot != us.bot
        and event.get("user") != us.bot_user
        and event.get("type") in ("message", "app_mention")
        and event.get("subtype") in (None, "bot_message", "file_share")
        and event.get("thread_ts") in (None, event.get("ts"))
        and not any(event.get(key) for key in ("hidden", "edited"))
        and addresses_us(text_of(event), us)
    )
    return bot if asks else ""


def _input(body: Mapping[str, Any], event: Mapping[str, Any], text: str, us: Us) -> Input | None:
    channel, ts = str(event.get("channel", "")), str(event.get("ts", ""))
    said = Input(
        kind="stop" if asks_to_stop(text, us) else "message",
        team=_team(body, us),
        channel=channel,
        thread_ts=str(event.get("thread_ts") or ts),
        ts=ts,
        user=str(event["user"]),
        user_team=clean(event.get("user_team") or event.get("team")) or None,
        channel_type="im" if channel.startswith("D") else clean(event.get("channel_type")) or None,
        text=text,
        files=shared_files(event),
        event_id=clean(body.get("event_id")),
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


def _other(body: Mapping[str, Any]) -> Other:
    event = as_object(body.get("event")) or body
    item = as_object(event.get("item"))  # of a reaction
    message = as_object(event.get("message")) or as_object(event.get("previous_message"))  # that was edited, or deleted
    return Other(
        type=clean(event.get("type")),
        subtype=clean(event.get("subtype")),
        event_id=clean(body.get("event_id")),
        user=id_of(event.get("user")),
        channel=id_of(event.get("channel")) or id_of(item.get("channel")),
        ts=clean(message.get("ts") or item.get("ts") or event.get("ts")),
        thread_ts=clean(event.get("thread_ts") or message.get("thread_ts")),
        event_ts=clean(event.get("event_ts")),
        reaction=clean(event.get("reaction")),
    )
