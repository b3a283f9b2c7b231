"""Who may use the bot, and where. Pure, so that every kind of person is a row in a table of tests."""

from dataclasses import dataclass
from typing import Literal

from peerbot.conversation.notes import Refusal


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
) -> Refusal | None:
    """Decide whether this person may use the bot in this channel: None, or why not.

    Fails closed: if the person or the channel could not be found out (None), the answer is no.
    """
    refusals = (
        (person is None, Refusal.UNKNOWN_PERSON),
        (channel is None, Refusal.UNKNOWN_CHANNEL),
        (person and person.is_deactivated, Refusal.DEACTIVATED),
        (person and person.is_bot, Refusal.BOT),
        (person and person.is_outsider, Refusal.OUTSIDER),
        (person and person.is_guest, Refusal.GUEST),
        (channel and channel.is_shared_outside, Refusal.SHARED_CHANNEL),
        (channel and channel.kind == "direct" and not allow_direct_messages, Refusal.DIRECT_MESSAGES_OFF),
        (channel and channel.kind == "private" and not allow_private_channels, Refusal.PRIVATE_CHANNELS_OFF),
    )
    return next((refusal for applies, refusal in refusals if applies), None)
