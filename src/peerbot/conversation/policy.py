"""Which of Slack's events are for us, and who may use the bot (D10).

Pure, so that every shape of event and every kind of person is a row in a table of tests. Whoever calls `read_event`
looks up what it can't know (is this thread a conversation already?), and calls `admit` after the input is recorded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peerbot.conversation.documents import Input
from peerbot.conversation.text import LEADING_MENTIONS, mentioned_users, phrase_pattern

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


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as far as admitting them goes."""

    id: str
    name: str
    is_bot: bool = False
    is_guest: bool = False
    is_outsider: bool = False  # of another organisation, or a stranger
    is_deactivated: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """Where something was said, as far as admitting goes."""

    id: str
    kind: Literal["public", "private", "direct"]  # direct: between two, or a group's
    is_shared_outside: bool = False  # also when the invitation is still pending


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


def admit(
    *, person: Person | None, channel: Channel | None, allow_direct_messages: bool, allow_private_channels: bool
) -> str | None:
    """Decide whether this person may use the bot in this channel: None, or the sentence that refuses.

    Fails closed: where who or where could not be found out (None), the answer is no.
    """
    refusals = (
        (person is None, "Who wrote this could not be found out, so nothing was started. Send the message again."),
        (channel is None, "What kind of channel this is could not be found out, so nothing was started. Try again."),
        (person and person.is_deactivated, "This account is deactivated, so nothing was started."),
        (person and person.is_bot, "Only people can give work here, not bots."),
        (person and person.is_outsider, "Members of other organizations can't use this bot."),
        (person and person.is_guest, "Guests can't use this bot. A full member of the workspace can."),
        (
            channel and channel.is_shared_outside,
            "This channel is shared with another organization, so no work is done here.",
        ),
        (
            channel and channel.kind == "direct" and not allow_direct_messages,
            "Direct messages are switched off for this bot. Mention it in a channel.",
        ),
        (
            channel and channel.kind == "private" and not allow_private_channels,
            "Private channels are switched off for this bot. Mention it in a public channel.",
        ),
    )
    return next((sentence for applies, sentence in refusals if applies), None)


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
