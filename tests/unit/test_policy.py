"""The people who may use the bot, and the channels: one row for each kind."""

from dataclasses import replace
from typing import Any

import pytest

from peerbot.conversation.notes import Refusal, Refused
from peerbot.conversation.policy import Admission, Channel, Person, admit
from peerbot.slack.words import note_words

ADA = Person("U2", "Ada Lovelace")
GENERAL = Channel("C1", "public")
PRIVATE = Admission(allow_private_channels=True)

REFUSED = {
    "a guest": ({"person": Person("U3", "Guest", is_guest=True)}, "Guests"),
    "another organisation's member": ({"person": Person("U9", "Eve", is_outsider=True)}, "other organizations"),
    "a bot": ({"person": Person("U4", "ci", is_bot=True)}, "not bots"),
    "a deactivated account": ({"person": Person("U5", "Gone", is_deactivated=True)}, "deactivated"),
    "somebody unknown": ({"person": None}, "could not find out"),
    "an unknown channel": ({"channel": None}, "could not find out"),
    "a shared channel": ({"channel": Channel("C2", "public", is_shared_outside=True)}, "another organization"),
    "a shared private channel": (
        {"channel": Channel("C3", "private", is_shared_outside=True), "admission": PRIVATE},
        "another organization",
    ),
    "a private channel": ({"channel": Channel("C4", "private")}, "Private channels are switched off"),
    "a direct message that is switched off": (
        {"channel": Channel("D1", "direct"), "admission": Admission(allow_direct_messages=False)},
        "Direct messages are switched off",
    ),
    "somebody who is not on the list": ({"admission": Admission(users=frozenset({"U7", "S1"}))}, "Only some people"),
    "somebody of another group": (
        {"person": replace(ADA, groups=frozenset({"S2"})), "admission": Admission(users=frozenset({"S1"}))},
        "Only some people",
    ),
    "a guest who is on the list": (
        {"person": Person("U3", "Guest", is_guest=True), "admission": Admission(users=frozenset({"U3"}))},
        "Guests",
    ),
    "a channel that is not on the list": ({"admission": Admission(channels=frozenset({"C7"}))}, "in this channel"),
}


def decide(**given: Any) -> Refusal | None:
    defaults: dict[str, Any] = {"person": ADA, "channel": GENERAL, "admission": Admission()}
    return admit(**(defaults | given))


@pytest.mark.parametrize(("given", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_person_who_may_not_use_the_bot_is_refused_with_a_sentence(given: dict[str, Any], why: str) -> None:
    refusal = decide(**given)

    assert refusal is not None
    sentence = note_words(Refused(why=refusal))
    assert why in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"channel": Channel("D1", "direct")},
        {"channel": Channel("C4", "private"), "admission": PRIVATE},
        {"admission": Admission(users=frozenset({"U2"}), channels=frozenset({"C1"}))},
        {"person": replace(ADA, groups=frozenset({"S1"})), "admission": Admission(users=frozenset({"U9", "S1"}))},
        {"channel": Channel("D1", "direct"), "admission": Admission(channels=frozenset({"C1"}))},
    ],
    ids=[
        "in a public channel",
        "in a direct message",
        "in a private channel that is allowed",
        "on both lists",
        "in a group that is on the list",
        "in a direct message, whatever the channels",
    ],
)
def test_a_full_member_is_admitted(given: dict[str, Any]) -> None:
    assert decide(**given) is None
