"""Which of Slack's events are for us, and who may use the bot: one row a shape of event, one a kind of person."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.conversation.notes import Refusal, Refused
from peerbot.conversation.policy import Channel, Person, admit
from peerbot.slack.events import Us, read_event
from peerbot.slack.words import note_words

US = Us(team="T1", bot_user="UBOT", trigger_phrase="@peerbotai")
ROOT, TS = "1610241700.000100", "1610241741.000200"

ADA = Person("U2", "Ada Lovelace")
GENERAL = Channel("C1", "public")


def event_body(event_id: str = "Ev1", *, wrapper: dict[str, Any] | None = None, **event: Any) -> dict[str, Any]:
    """The payload of an `events_api` envelope, as Slack sends it for a person's message in a channel."""
    return {
        "token": "v",
        "team_id": "T1",
        "api_app_id": "A1",
        "type": "event_callback",
        "event_id": event_id,
        "event_time": 1610241741,
        "is_ext_shared_channel": False,
        "event_context": "1-message-T1-C1",
        "authorizations": [
            {"enterprise_id": None, "team_id": "T1", "user_id": "UBOT", "is_bot": True, "is_enterprise_install": False}
        ],
        "event": {
            "client_msg_id": "7f6a3b1e-6f0a-4a55-8a55-1d2c3b4a5f60",
            "type": "message",
            "text": "hello",
            "user": "U2",
            "ts": TS,
            "team": "T1",
            "channel": "C1",
            "channel_type": "channel",
            "event_ts": TS,
        }
        | event,
        **(wrapper or {}),
    }


FOR_US = {
    "a mention": {"text": "<@UBOT> fix the test"},
    "a mention with the bot's name in it": {"text": "<@UBOT|peerbot> fix the test"},
    "a mention in the middle": {"text": "could <@UBOT> fix the test?"},
    "a mention in somebody else's thread": {"text": "<@U3> I ask <@UBOT>", "thread_ts": ROOT},
    "nothing but a mention": {"text": "<@UBOT>"},
    "the trigger phrase": {"text": "@peerbotai fix the test"},
    "the trigger phrase in capitals": {"text": "Hey @PeerBotAI, fix the test"},
    "the trigger phrase before a full stop": {"text": "ask @peerbotai."},
    "a direct message": {"channel": "D1", "channel_type": "im"},
    "a direct message that mentions somebody": {"channel": "D1", "channel_type": "im", "text": "<@U3> is away"},
    "a reply in a direct message": {"channel": "D1", "channel_type": "im", "thread_ts": ROOT},
    "a mention with a file": {"subtype": "file_share", "files": [{"id": "F1"}], "text": "<@UBOT> see this"},
    "a file in a direct message": {"channel": "D1", "subtype": "file_share", "files": [{"id": "F1"}], "text": ""},
    "a reply also sent to the channel": {"subtype": "thread_broadcast", "thread_ts": ROOT, "text": "<@UBOT> go on"},
}

PERHAPS_FOR_US = {
    "a reply": {"text": "use tabs please", "thread_ts": ROOT},
    "a reply that names somebody later": {"text": "do it as <@U3> said", "thread_ts": ROOT},
    "a reply that begins with a channel": {"text": "<#C2|dev> has the log", "thread_ts": ROOT},
    "a reply that begins with a link": {"text": "<https://example.com> has the log", "thread_ts": ROOT},
    "a file in a thread": {"text": "", "subtype": "file_share", "files": [{"id": "F1"}], "thread_ts": ROOT},
}

NEVER_FOR_US = {
    "a message in a channel": {"text": "lunch?"},
    "a message of its own thread's beginning": {"text": "lunch?", "thread_ts": TS},
    "the phrase inside a longer word": {"text": "@peerbotaixyz hello"},
    "the phrase inside an address": {"text": "mail me@peerbotai or x@peerbotai.com"},
    "the phrase inside a host name": {"text": "@peerbotai.com is down"},
    "a reply to somebody else": {"text": "<@U3> what do you think?", "thread_ts": ROOT},
    "a reply to several others": {"text": "<@U3>, <@U4> what do you think?", "thread_ts": ROOT},
    "a reply to a group": {"text": "<!subteam^S1|@devs> please look", "thread_ts": ROOT},
    "a reply to everybody there": {"text": "<!here> please look", "thread_ts": ROOT},
    "our own message": {"user": "UBOT", "text": "<@UBOT> done"},
    "our own message by its bot id": {"bot_id": "B1", "text": "<@UBOT> done"},
    "another bot's message": {"subtype": "bot_message", "bot_id": "B2", "text": "<@UBOT> deploy"},
    "another bot's message as a user": {"bot_id": "B2", "bot_profile": {"id": "B2"}, "text": "<@UBOT> deploy"},
    "Slackbot": {"user": "USLACKBOT", "text": "<@UBOT> reminder"},
    "an edit": {"subtype": "message_changed", "hidden": True, "message": {"text": "<@UBOT> hi", "user": "U2"}},
    "an edited mention sent again": {"type": "app_mention", "text": "<@UBOT> hi", "edited": {"user": "U2", "ts": TS}},
    "a deletion": {"subtype": "message_deleted", "hidden": True, "deleted_ts": ROOT},
    "a join": {"subtype": "channel_join", "text": "<@UBOT> has joined the channel"},
    "a new topic": {"subtype": "channel_topic", "text": "<@UBOT> set the topic"},
    "a message without a user": {"user": None, "text": "<@UBOT> hi"},
    "a message without text or file": {"channel": "D1", "text": ""},
    "a message whose text is not one": {"channel": "D1", "text": {"type": "plain_text"}},
    "a reaction": {"type": "reaction_added", "reaction": "eyes"},
    "an id that could climb out of a path": {"channel": "../C1", "text": "<@UBOT> hi"},
    "a timestamp that is none": {"ts": "now", "text": "<@UBOT> hi"},
    "a user that is none": {"user": {"id": "U2"}, "text": "<@UBOT> hi"},
}


@pytest.mark.parametrize("event", FOR_US.values(), ids=FOR_US.keys())
def test_what_addresses_the_bot_is_for_us(event: dict[str, Any]) -> None:
    found = read_event(event_body(**event), US)

    assert found is not None
    assert found.sure
    assert found.input.text == event.get("text", "hello")


@pytest.mark.parametrize("event", PERHAPS_FOR_US.values(), ids=PERHAPS_FOR_US.keys())
def test_a_reply_that_addresses_nobody_is_for_us_only_in_a_conversation(event: dict[str, Any]) -> None:
    found = read_event(event_body(**event), US)

    assert found is not None
    assert not found.sure
    assert found.input.thread_ts == ROOT


@pytest.mark.parametrize("event", NEVER_FOR_US.values(), ids=NEVER_FOR_US.keys())
def test_everything_else_is_not_for_us(event: dict[str, Any]) -> None:
    assert read_event(event_body(**event), US) is None


def test_app_mention_and_message_of_one_mention_are_one_input() -> None:
    """Slack sends both, with different event ids and different fields."""
    text = "<@UBOT> fix the test"
    message = read_event(event_body("Ev1", text=text), US)
    mention = read_event(event_body("Ev2", type="app_mention", text=text, channel_type=None), US)

    assert message is not None
    assert mention is not None
    assert message.sure
    assert mention.sure
    assert message.input.conversation == mention.input.conversation
    assert message.input.id == mention.input.id == f"{TS}-message"


def test_a_message_outside_a_thread_begins_a_conversation_of_its_own() -> None:
    found = read_event(event_body(text="<@UBOT> hi"), US)

    assert found is not None
    assert str(found.input.conversation) == f"T1/C1/{TS}"


def test_a_conversation_belongs_to_the_workspace_that_the_bot_is_in() -> None:
    """In a shared channel the sender's team is another one; the wrapper's may be an enterprise."""
    wrapper = {"team_id": "E1", "is_ext_shared_channel": True}
    found = read_event(event_body(text="<@UBOT> hi", team="T9", user_team="T9", wrapper=wrapper), US)

    assert found is not None
    assert found.input.team == "T1"
    assert found.input.user_team == "T9"


@pytest.mark.parametrize(
    ("wrapper", "team"),
    [
        ({"authorizations": [], "team_id": "T7"}, "T7"),
        ({"authorizations": [{"team_id": None, "enterprise_id": "E1"}], "team_id": "T7"}, "T7"),
        ({"authorizations": None, "team_id": None}, "T1"),
    ],
)
def test_the_workspace_is_found_where_authorizations_do_not_say_it(wrapper: dict[str, Any], team: str) -> None:
    found = read_event(event_body(text="<@UBOT> hi", wrapper=wrapper), US)

    assert found is not None
    assert found.input.team == team


def test_half_a_surrogate_pair_does_not_keep_an_input_from_being_written() -> None:
    found = read_event(event_body(text="<@UBOT> \ud800 hi"), US)

    assert found is not None
    assert found.input.model_dump_json().encode()


def test_another_trigger_phrase_replaces_the_default() -> None:
    us = Us("T1", "UBOT", trigger_phrase="hey <robot>")

    assert read_event(event_body(text="@peerbotai hi"), us) is None
    assert read_event(event_body(text="Hey &lt;Robot&gt; hi"), us) is not None


def test_without_a_trigger_phrase_only_mentions_count() -> None:
    us = Us("T1", "UBOT", trigger_phrase="")

    assert read_event(event_body(text="hello there"), us) is None
    assert read_event(event_body(text="<@UBOT> hello"), us) is not None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_fields = ("type", "subtype", "user", "ts", "thread_ts", "channel", "text", "files", "team", "channel_type", "bot_id")


@given(st.dictionaries(st.sampled_from(_fields), _json), st.dictionaries(st.sampled_from(["authorizations"]), _json))
def test_reading_an_event_never_raises(event: dict[str, Any], wrapper: dict[str, Any]) -> None:
    read_event(event_body(wrapper=wrapper, **event), US)
    read_event({"type": "event_callback", "event": wrapper}, US)


@pytest.mark.parametrize("body", [{}, {"type": "event_callback"}, {"type": "event_callback", "event": []}])
def test_what_is_no_event_is_not_for_us(body: dict[str, Any]) -> None:
    assert read_event(body, US) is None


REFUSED = {
    "a guest": ({"person": Person("U3", "Guest", is_guest=True)}, "Guests"),
    "another organisation's member": ({"person": Person("U9", "Eve", is_outsider=True)}, "other organizations"),
    "a bot": ({"person": Person("U4", "ci", is_bot=True)}, "not bots"),
    "a deactivated account": ({"person": Person("U5", "Gone", is_deactivated=True)}, "deactivated"),
    "somebody unknown": ({"person": None}, "could not be found out"),
    "an unknown channel": ({"channel": None}, "could not be found out"),
    "a shared channel": ({"channel": Channel("C2", "public", is_shared_outside=True)}, "another organization"),
    "a shared private channel": (
        {"channel": Channel("C3", "private", is_shared_outside=True), "allow_private_channels": True},
        "another organization",
    ),
    "a private channel": ({"channel": Channel("C4", "private")}, "Private channels are switched off"),
    "a direct message that is switched off": (
        {"channel": Channel("D1", "direct"), "allow_direct_messages": False},
        "Direct messages are switched off",
    ),
}


def decide(**given: Any) -> Refusal | None:
    defaults: dict[str, Any] = {
        "person": ADA,
        "channel": GENERAL,
        "allow_direct_messages": True,
        "allow_private_channels": False,
    }
    return admit(**(defaults | given))


@pytest.mark.parametrize(("given", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_who_may_not_use_the_bot_is_refused_with_a_sentence(given: dict[str, Any], why: str) -> None:
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
        {"channel": Channel("C4", "private"), "allow_private_channels": True},
    ],
    ids=["in a public channel", "in a direct message", "in a private channel that is allowed"],
)
def test_a_full_member_is_admitted(given: dict[str, Any]) -> None:
    assert decide(**given) is None
