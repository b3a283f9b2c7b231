"""The readers of incoming events against something that we did not write: the types that Slack publishes.

A sample is made of each type. It has every field of the type, and each string in it is its own path. So a value says
where it was read, and a name that Slack does not use reads as nothing.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import slack_types

from peerbot.slack.events import Other, Us, read
from peerbot.slack.interactions import BlockAction, Command, Shortcut, ViewAction

pytestmark = slack_types.needed

US = Us(team="T1", bot_user="UBOT")
DEEP = 5
INTERACTIONS = ("AnyBlockAction", "ViewSubmitAction", "ViewClosedAction", "GlobalShortcut", "MessageShortcut")
EVENTS = {  # who, where, of which message, in which thread
    "AgentSessionStoppedEvent": ("user", "channel", "", "thread_ts"),
    "AppHomeOpenedEvent": ("user", "channel", "", ""),
    "MessageChangedEvent": ("", "channel", "message.ts", "message.thread_ts"),
    "MessageDeletedEvent": ("", "channel", "previous_message.ts", "previous_message.thread_ts"),
    "ReactionAddedEvent": ("user", "item.channel", "item.ts", ""),
}
# Types that no form of ours has: a date with a time, formatted text, uploaded files.
NOT_READ = {"selected_date_time", "rich_text_value", "files"}


class Samples:
    """Makes samples of the types of one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._types: dict[str, Any] = schema["definitions"]

    def of(self, name: str) -> Any:
        return self._made(self._types[name], "", 0)

    def each(self, name: str) -> Iterator[dict[str, Any]]:
        """A sample of each of the types that a type unites."""
        for one in self._types[name]["anyOf"]:
            yield self._made(one, "", 0)

    def fields(self, name: str) -> Iterator[tuple[str, Any]]:
        """A sample of each field of a type."""
        for field, schema in self._types[name]["properties"].items():
            yield field, self._made(schema, field, 0)

    def _made(self, schema: dict[str, Any], path: str, depth: int) -> Any:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/definitions/").replace("%3C", "<").replace("%3E", ">")
            return self._made(self._types[name], path, depth)
        if "const" in schema:
            return schema["const"]
        if "anyOf" in schema:
            return self._made(schema["anyOf"][0], path, depth)
        kind = schema.get("type")
        if kind == "array":
            return [self._made(schema["items"], path, depth + 1)] if depth < DEEP else []
        if kind == "object" and depth < DEEP:
            return {
                name: self._made(field, f"{path}.{name}".removeprefix("."), depth + 1)
                for name, field in schema.get("properties", {}).items()
            }
        return path if kind == "string" or isinstance(kind, list) else {}


@pytest.fixture
async def samples(request: pytest.FixtureRequest) -> dict[str, Samples]:
    schemas = await slack_types.schemas(request, [*INTERACTIONS, "SlashCommand", *EVENTS])
    return {name: Samples(schema) for name, schema in schemas.items()}


def used(samples: dict[str, Samples], **changes: Any) -> BlockAction:
    """Read an element that somebody used."""
    body = samples["AnyBlockAction"].of("BlockAction") | changes
    found = read({name: value for name, value in body.items() if value is not None}, US)
    assert isinstance(found, BlockAction)
    return found


async def test_a_button_of_a_message_is_read_from_the_fields_of_slack_s_type(samples: dict[str, Samples]) -> None:
    assert used(samples, view=None) == BlockAction(
        team="team.id",
        user="user.id",
        channel="channel.id",
        message_ts="message.ts",
        thread_ts="message.ts",
        view="",
        block_id="actions.block_id",
        action_id="actions.action_id",
        value="actions.value",
        action_ts="actions.action_ts",
        trigger_id="trigger_id",
        fields={},
    )


async def test_a_button_of_a_view_is_read_from_the_fields_of_slack_s_type(samples: dict[str, Samples]) -> None:
    found = used(samples, message=None, channel=None)

    assert (found.view, found.channel, found.message_ts, found.thread_ts) == ("view.id", "", "", "")


async def test_a_view_is_read_from_the_fields_of_slack_s_types(samples: dict[str, Samples]) -> None:
    assert read(samples["ViewSubmitAction"].of("ViewSubmitAction"), US) == ViewAction(
        submitted=True,
        team="team.id",
        user="user.id",
        view="view.id",
        callback_id="view.callback_id",
        private_metadata="view.private_metadata",
        trigger_id="trigger_id",
        fields={},
    )
    closed = read(samples["ViewClosedAction"].of("ViewClosedAction"), US)
    assert isinstance(closed, ViewAction)
    assert (closed.submitted, closed.user, closed.view, closed.trigger_id) == (False, "user.id", "view.id", "")


async def test_shortcuts_are_read_from_the_fields_of_slack_s_types(samples: dict[str, Samples]) -> None:
    assert read(samples["MessageShortcut"].of("MessageShortcut"), US) == Shortcut(
        team="team.id",
        user="user.id",
        callback_id="callback_id",
        channel="channel.id",
        message_ts="message_ts",
        thread_ts="message_ts",
        action_ts="action_ts",
        trigger_id="trigger_id",
    )
    everywhere = read(samples["GlobalShortcut"].of("GlobalShortcut"), US)
    assert isinstance(everywhere, Shortcut)
    assert (everywhere.callback_id, everywhere.user, everywhere.channel) == ("callback_id", "user.id", "")


async def test_a_command_is_read_from_the_fields_of_slack_s_type(samples: dict[str, Samples]) -> None:
    assert read(samples["SlashCommand"].of("SlashCommand"), US) == Command(
        team="team_id", user="user_id", channel="channel_id", command="command", text="text", trigger_id="trigger_id"
    )


async def test_the_value_of_every_kind_of_element_is_read(samples: dict[str, Samples]) -> None:
    for action in samples["AnyBlockAction"].each("BlockElementAction"):
        found = used(samples, actions=[action])
        assert found.action_id == "action_id"
        assert bool(found.value) is (action["type"] != "rich_text_input"), action


async def test_everything_that_a_form_can_hold_is_read(samples: dict[str, Samples]) -> None:
    for name, value in samples["AnyBlockAction"].fields("ViewStateValue"):
        found = used(samples, state={"values": {"b1": {"a1": {name: value}}}})
        assert bool(found.fields["b1", "a1"]) is (name not in NOT_READ | {"type"}), name


@pytest.mark.parametrize("name", EVENTS)
async def test_of_other_events_the_ids_are_read(samples: dict[str, Samples], name: str) -> None:
    event = samples[name].of(name)
    found = read({"type": "event_callback", "event_id": "Ev1", "event": event}, US)

    assert isinstance(found, Other)
    assert (found.type, found.subtype, found.event_id) == (event["type"], event.get("subtype", ""), "Ev1")
    assert (found.user, found.channel, found.ts, found.thread_ts) == EVENTS[name]
