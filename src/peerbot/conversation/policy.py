"""Who may use the bot, and where (D10). Pure, so that every kind of person is a row in a table of tests."""

from dataclasses import dataclass
from typing import Literal


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
