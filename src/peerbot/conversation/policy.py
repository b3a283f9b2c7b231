"""The rules for which people may use the bot in which channels. Pure, so that tests can list every kind."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from peerbot.conversation.notes import Refusal


@dataclass(frozen=True, slots=True)
class Person:
    """The facts about a person that decide if they may use the bot."""

    id: str
    name: str
    is_bot: bool = False
    is_guest: bool = False
    is_outsider: bool = False  # of another organisation, or a stranger
    is_deactivated: bool = False
    groups: frozenset[str] = frozenset()  # of those that the operator lists, the user groups that they are in


@dataclass(frozen=True, slots=True)
class Channel:
    """The facts about a channel that decide if people may use the bot there."""

    id: str
    kind: Literal["public", "private", "direct"]  # direct: between two people or in a group
    is_shared_outside: bool = False  # also when the invitation is still pending


@dataclass(frozen=True, slots=True)
class Admission:
    """The people who may use the bot, and the channels in which they may. An empty list means everybody, everywhere."""

    allow_direct_messages: bool = True
    allow_private_channels: bool = False
    users: frozenset[str] = frozenset()  # ids of people and of user groups
    channels: frozenset[str] = frozenset()  # ids; direct messages are none of them

    @property
    def groups(self) -> frozenset[str]:
        """The user groups among the users."""
        return frozenset(user for user in self.users if user.startswith("S"))


def admit(
    *,
    person: Person | None,
    channel: Channel | None,
    admission: Admission,
    askers: Collection[str] = (),
) -> Refusal | None:
    """Decide whether this person may use the bot in this channel: None if so, otherwise why not.

    `askers`: the people whom the channel's members named, within the operator's rules; none: everybody.
    Fails closed: if Slack did not describe the person or the channel (None), the answer is no.
    """
    listed = person is not None and bool(admission.users & {person.id, *person.groups})
    refusals = (
        (person is None, Refusal.UNKNOWN_PERSON),
        (channel is None, Refusal.UNKNOWN_CHANNEL),
        (person and person.is_deactivated, Refusal.DEACTIVATED),
        (person and person.is_bot, Refusal.BOT),
        (person and person.is_outsider, Refusal.OUTSIDER),
        (person and person.is_guest, Refusal.GUEST),
        (channel and channel.is_shared_outside, Refusal.SHARED_CHANNEL),
        (channel and channel.kind == "direct" and not admission.allow_direct_messages, Refusal.DIRECT_MESSAGES_OFF),
        (channel and channel.kind == "private" and not admission.allow_private_channels, Refusal.PRIVATE_CHANNELS_OFF),
        (
            channel and channel.kind != "direct" and admission.channels and channel.id not in admission.channels,
            Refusal.CHANNEL_NOT_LISTED,
        ),
        (admission.users and not listed, Refusal.PERSON_NOT_LISTED),
        (person and askers and person.id not in askers, Refusal.CHANNEL_CHOSE_OTHERS),
    )
    return next((refusal for applies, refusal in refusals if applies), None)
