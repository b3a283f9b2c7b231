"""What comes in from Slack, read into types. Pure, so that every shape of event is a row in a table of tests.

Whoever calls `read_event` looks up what it can't know: is this thread a conversation already?
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


def read_event(body: Mapping[str, Any], us: Us) -> Candidate | None:
    """Read an `event_callback` of the Events API; None where it is never for us.

    A mention's `app_mention` and `message` give the same conversation and the same input id. Never raises,
    whatever Slack sends.
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
