"""Slack's payloads, read into types: which messages are for us, and the content of all others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.slack.events import Candidate, Other, Us, about, read, read_event
from peerbot.slack.interactions import BlockAction, Command, Shortcut, ViewAction

US = Us(team="T1", bot_user="UBOT", trigger_phrase="@peerbotai")
ROOT, TS = "1610241700.000100", "1610241741.000200"


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
    "a message about oneself": {"subtype": "me_message", "text": "asks <@UBOT> to fix the test"},
    "a message about oneself in a direct message": {"channel": "D1", "subtype": "me_message"},
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
    "a message that forwards one that mentions us": {"text": "look", "attachments": [{"text": "<@UBOT> hi"}]},
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


FORWARDED = {"is_msg_unfurl": True, "author_id": "U3", "text": "it &lt;breaks&gt;", "ts": ROOT}


@pytest.mark.parametrize("where", [{"text": "<@UBOT>"}, {"text": "", "channel": "D1", "channel_type": "im"}])
def test_a_message_that_forwards_another_asks_what_that_says(where: dict[str, Any]) -> None:
    found = read_event(event_body(attachments=[FORWARDED], **where), US)

    assert found is not None
    assert found.sure
    words = "&gt; it &lt;breaks&gt;\n(a forwarded message, written by <@U3>)"
    assert found.input.text == "\n\n".join(part for part in (where["text"], words) if part)


def test_whom_a_reply_addresses_is_said_by_its_own_words() -> None:
    reply: dict[str, Any] = {"text": "", "thread_ts": ROOT, "attachments": [FORWARDED | {"text": "<@U9> look"}]}
    found = read_event(event_body(**reply), US)

    assert found is not None
    assert not found.sure


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


@pytest.mark.parametrize("body", [{}, {"type": "event_callback"}, {"type": "event_callback", "event": []}])
def test_what_is_no_event_is_not_for_us(body: dict[str, Any]) -> None:
    assert read_event(body, US) is None


# Everything else

_who = {"team": {"id": "T9", "domain": "elsewhere"}, "user": {"id": "U2", "username": "ada", "team_id": "T9"}}
_button = {"type": "button", "block_id": "b1", "action_id": "stop", "value": "r1", "action_ts": "1610241750.000300"}

PRESSED = _who | {
    "type": "block_actions",
    "container": {"type": "message", "message_ts": TS, "channel_id": "C1", "thread_ts": ROOT, "is_ephemeral": False},
    "channel": {"id": "C1", "name": "general"},
    "message": {"type": "message", "user": "UBOT", "ts": TS, "thread_ts": ROOT, "text": "the card"},
    "state": {
        "values": {
            "why": {"text": {"type": "plain_text_input", "value": "too slow"}},
            "how": {"options": {"type": "checkboxes", "selected_options": [{"value": "now"}, {"value": "hard"}]}},
            "who": {"person": {"type": "users_select", "selected_user": "U3"}},
            "when": {"day": {"type": "datepicker", "selected_date": None}},
        }
    },
    "trigger_id": "1.2.a",
    "response_url": "https://hooks.example.com/1",
    "actions": [_button],
}


def test_a_pressed_button_says_who_pressed_which_and_where() -> None:
    assert read(PRESSED, US) == BlockAction(
        team="T9",
        user="U2",
        channel="C1",
        message_ts=TS,
        thread_ts=ROOT,
        view="",
        block_id="b1",
        action_id="stop",
        value="r1",
        action_ts="1610241750.000300",
        trigger_id="1.2.a",
        fields={
            ("why", "text"): ("too slow",),
            ("how", "options"): ("now", "hard"),
            ("who", "person"): ("U3",),
            ("when", "day"): (),
        },
    )


def test_a_button_that_only_one_person_sees_has_a_container_and_no_message() -> None:
    found = read({name: value for name, value in PRESSED.items() if name not in ("message", "channel")}, US)

    assert isinstance(found, BlockAction)
    assert (found.channel, found.message_ts, found.thread_ts) == ("C1", TS, ROOT)


def test_a_button_of_a_message_outside_a_thread_is_in_the_thread_that_would_begin_there() -> None:
    found = read(PRESSED | {"container": {"message_ts": TS}, "message": {"ts": TS}}, US)

    assert isinstance(found, BlockAction)
    assert found.thread_ts == TS


def test_a_choice_is_the_value_of_what_was_chosen() -> None:
    chosen = {"type": "static_select", "action_id": "model", "selected_option": {"text": {}, "value": "opus"}}
    found = read(PRESSED | {"actions": [chosen]}, US)

    assert isinstance(found, BlockAction)
    assert found.value == "opus"


@pytest.mark.parametrize(("kind", "submitted"), [("view_submission", True), ("view_closed", False)])
def test_a_modal_says_whether_it_was_submitted_and_what_is_in_it(kind: str, submitted: bool) -> None:
    state = {"values": {"why": {"text": {"type": "plain_text_input", "value": "too slow"}}}}
    view = {"id": "V1", "callback_id": "stop", "private_metadata": "r1", "state": state}

    assert read(_who | {"type": kind, "view": view, "trigger_id": "1.2.a"}, US) == ViewAction(
        submitted=submitted,
        team="T9",
        user="U2",
        view="V1",
        callback_id="stop",
        private_metadata="r1",
        trigger_id="1.2.a",
        fields={("why", "text"): ("too slow",)},
    )


def test_a_shortcut_of_a_message_says_which_message_and_a_global_one_none() -> None:
    shortcut = _who | {"callback_id": "ask", "action_ts": "1610241750.000300", "trigger_id": "1.2.a"}
    message = {"message_ts": TS, "message": {"ts": TS, "thread_ts": ROOT}, "channel": {"id": "C1", "name": "general"}}

    common = {"team": "T9", "user": "U2", "callback_id": "ask", "action_ts": "1610241750.000300", "trigger_id": "1.2.a"}
    of_a_message = Shortcut(channel="C1", message_ts=TS, thread_ts=ROOT, **common)
    assert read(shortcut | message | {"type": "message_action"}, US) == of_a_message
    everywhere = Shortcut(channel="", message_ts="", thread_ts="", **common)
    assert read(shortcut | {"type": "shortcut"}, US) == everywhere


def test_a_command_says_who_used_it_where_and_with_which_words() -> None:
    body = {"command": "/peerbot", "text": "status", "team_id": "T1", "channel_id": "C1", "user_id": "U2"}

    assert read(body | {"trigger_id": "1.2.a"}, US) == Command(
        team="T1", user="U2", channel="C1", command="/peerbot", text="status", trigger_id="1.2.a"
    )


def test_a_message_for_us_is_a_candidate_and_any_other_is_named_with_its_ids() -> None:
    candidate = read(event_body(text="<@UBOT> fix it"), US)
    assert isinstance(candidate, Candidate)
    assert candidate.sure
    assert read(event_body(text="lunch?"), US) == Other("message", "", "Ev1", "U2", "C1", TS, event_ts=TS)


OTHERS = {
    "an edit": (
        {"subtype": "message_changed", "user": None, "ts": "1.000001", "message": {"ts": TS, "thread_ts": ROOT}},
        Other("message", "message_changed", "Ev1", "", "C1", TS, ROOT, TS),
    ),
    "a deletion": (
        {"subtype": "message_deleted", "user": None, "ts": "1.000001", "previous_message": {"ts": TS}},
        Other("message", "message_deleted", "Ev1", "", "C1", TS, event_ts=TS),
    ),
    "a reaction": (
        {"type": "reaction_added", "channel": None, "ts": None, "item": {"type": "message", "channel": "C7", "ts": TS}}
        | {"reaction": "x"},
        Other("reaction_added", "", "Ev1", "U2", "C7", TS, event_ts=TS, reaction="x"),
    ),
    "the Home tab": (
        {"type": "app_home_opened", "channel": "D1", "ts": None, "tab": "home"},
        Other("app_home_opened", "", "Ev1", "U2", "D1", event_ts=TS),
    ),
    "a person's new profile": (
        {"type": "user_change", "user": {"id": "U2"}, "channel": None, "ts": None},
        Other("user_change", "", "Ev1", "U2", event_ts=TS),
    ),
}


@pytest.mark.parametrize(("event", "expected"), OTHERS.values(), ids=OTHERS.keys())
def test_another_event_is_named_with_the_ids_of_what_it_is_about(event: dict[str, Any], expected: Other) -> None:
    assert read(event_body(**event), US) == expected


UNREADABLE = {
    "nothing": {},
    "a button without an action": PRESSED | {"actions": []},
    "a button without a name": PRESSED | {"actions": [{"type": "button"}]},
    "a button that nobody pressed": PRESSED | {"user": None},
    "a modal without a view": _who | {"type": "view_submission"},
    "a shortcut without a name": _who | {"type": "shortcut"},
    "a command by nobody": {"command": "/peerbot"},
    "options that are asked for": _who | {"type": "block_suggestion", "action_id": "model"},
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_handled_is_named_and_nothing_more(body: dict[str, Any]) -> None:
    found = read(body, US)

    assert isinstance(found, Other)
    assert found.type == body.get("type", "")


_secret = "what somebody wrote"
_with_secrets = [
    event_body(text=f"<@UBOT> {_secret}"),
    event_body(text=_secret),
    PRESSED | {"actions": [_button | {"value": _secret}], "message": {"text": _secret}},
    PRESSED | {"state": {"values": {"b": {"a": {"value": _secret}}}}},
    _who | {"type": "view_submission", "view": {"id": "V1", "callback_id": "c", "private_metadata": _secret}},
    {"command": "/peerbot", "text": _secret, "user_id": "U2", "trigger_id": _secret},
    _who | {"type": "shortcut", "callback_id": "c", "message": {"text": _secret}, "trigger_id": _secret},
]


@pytest.mark.parametrize("body", _with_secrets)
def test_what_a_log_says_of_it_are_ids_alone(body: dict[str, Any]) -> None:
    said = about(read(body, US))

    assert said
    assert _secret not in str(said)


_odd: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, 7, "", "x", "\ud800", [], [[]], [None], {}, {"id": []}, {"values": {"a": 1}})
)
_types = st.sampled_from(
    ("event_callback", "block_actions", "view_submission", "view_closed", "shortcut", "message_action", None)
)
_names = st.sampled_from(
    (
        *("type", "subtype", "user", "ts", "thread_ts", "channel", "text", "files", "team", "channel_type", "bot_id"),
        *("event", "authorizations", "actions", "container", "message", "view", "state", "values", "item", "command"),
        *("id", "user_id", "selected_option", "selected_options", "selected_users", "action_id", "callback_id"),
    )
)
_inner = st.dictionaries(_names, _odd, max_size=4)
_outer = st.dictionaries(_names, _odd | _inner | st.lists(_inner, max_size=1), max_size=6)


@given(_types | _odd, _outer)
def test_reading_never_raises_whatever_slack_sends(kind: Any, body: dict[str, Any]) -> None:
    said = about(read(body | {"type": kind}, US))

    assert str(said).encode()


@given(_outer, st.dictionaries(st.sampled_from(["authorizations", "team_id", "event_id"]), _odd))
def test_reading_an_event_never_raises_whatever_slack_sends(event: dict[str, Any], wrapper: dict[str, Any]) -> None:
    about(read(event_body(wrapper=wrapper, **event), US))


@given(st.sampled_from(sorted(PRESSED)), _odd)
def test_reading_a_click_never_raises_whatever_slack_sends(name: str, odd: Any) -> None:
    about(read(PRESSED | {name: odd}, US))


STOPS = ["stop", "Stop!", "<@UBOT> cancel", "cancel, <@UBOT>", "@peerbotai stop.", "  STOP\n"]


@pytest.mark.parametrize("text", STOPS)
def test_the_word_stop_alone_is_a_stop(text: str) -> None:
    candidate = read_event(event_body(text=text, thread_ts=ROOT), US)
    assert candidate
    assert candidate.input.kind == "stop"
    assert candidate.input.id == f"{TS}-stop"


@pytest.mark.parametrize(
    "text", ["stop the tests from failing", "<@UBOT> cancel the order", "don't stop", "stop <@U3>"]
)
def test_the_word_among_others_is_a_message(text: str) -> None:
    candidate = read_event(event_body(text=text, thread_ts=ROOT), US)
    assert candidate
    assert candidate.input.kind == "message"
