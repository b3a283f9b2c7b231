"""The local Slack against something that we did not write: Slack's own types of answers, blocks and payloads.

The schemas are made from `@slack/web-api`, `@slack/types` and `@slack/bolt` (`npm ci` in tests/npm/slack). They name
every field that Slack is known to send, so a field too many fails as well as a wrong type.
"""

import asyncio
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import slack_types
from aiohttp import ClientSession
from jsonschema import Draft7Validator
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.local.slack import LocalSlack
from peerbot.local.slack.blocks import problems
from peerbot.local.slack.files import FilePart

SOON = 30.0  # seconds

pytestmark = slack_types.needed

METHODS = (
    "agents.sessions.setStatus",
    "apps.connections.open",
    "auth.test",
    "bots.info",
    "chat.delete",
    "chat.getPermalink",
    "chat.postMessage",
    "chat.update",
    "conversations.history",
    "conversations.info",
    "conversations.replies",
    "files.completeUploadExternal",
    "files.getUploadURLExternal",
    "files.info",
    "reactions.add",
    "reactions.remove",
    "team.info",
    "users.conversations",
    "users.info",
    "views.open",
    "views.publish",
    "views.update",
)
EVENTS = {
    ("app_home_opened", None): "AppHomeOpenedEvent",
    ("app_mention", None): "AppMentionEvent",
    ("message", None): "GenericMessageEvent",
    ("message", "bot_message"): "BotMessageEvent",
    ("message", "me_message"): "MeMessageEvent",
    ("message", "file_share"): "FileShareMessageEvent",
    ("message", "message_changed"): "MessageChangedEvent",
    ("message", "message_deleted"): "MessageDeletedEvent",
}
PAYLOADS = {
    "block_actions": "AnyBlockAction",
    "view_submission": "ViewSubmitAction",
    None: "SlashCommand",
}


def answer_type(method: str) -> str:
    """`chat.postMessage` → `ChatPostMessageResponse`, as the packages name it."""
    return "".join(part[0].upper() + part[1:] for part in method.split(".")) + "Response"


Schemas = dict[str, Draft7Validator]


@pytest.fixture
async def schemas(request: pytest.FixtureRequest) -> Schemas:
    """Make a validator for each of Slack's types, once for the installed packages."""
    types = [*map(answer_type, METHODS), *EVENTS.values(), *PAYLOADS.values(), "KnownBlock", "ModalView", "HomeView"]
    return {name: Draft7Validator(schema) for name, schema in (await slack_types.schemas(request, types)).items()}


@dataclass
class Run:
    """All that the local Slack answered, sent and kept in a run that uses all of it, errors included."""

    answers: list[tuple[str, Any]] = field(default_factory=list)  # by method
    events: list[Any] = field(default_factory=list)
    payloads: list[Any] = field(default_factory=list)  # of interactions and commands
    blocks: list[Any] = field(default_factory=list)


# Of an attachment that is a forwarded message: the types of answers have them.
FORWARDED = ("author_id", "channel_id", "channel_team", "from_url", "id", "is_msg_unfurl", "message_blocks")

# Fields that Slack sends and its types leave out. By type, and the part of the message or channel.
BEYOND: dict[str, set[str]] = {
    "ConversationsHistoryResponse": {"is_share"},
    "ConversationsInfoResponse": {"user"},  # the other person of a direct message
    "ConversationsRepliesResponse": {
        "client_msg_id",
        "subtype",
        "hidden",  # of a tombstone
        "username",  # of an app without a user
        "is_share",  # of a message that another forwards
    },
    "FileShareMessageEvent": {"client_msg_id", "team"},
    "GenericMessageEvent": {
        *FORWARDED,
        "app_id",
        "user_team",
        "source_team",
        "ims",
    },  # ims: of a file
}


def faults(schemas: Schemas, name: str, shown: Any) -> list[str]:
    """List the parts of `shown` that Slack's type `name` does not know, or knows otherwise."""
    found = []
    for error in schemas[name].iter_errors(shown):
        if error.validator == "additionalProperties":
            unknown = set(error.instance) - set(error.schema.get("properties", ())) - BEYOND.get(name, set())
            if not unknown:
                continue
        found.append(f"{name} {error.json_path}: {error.message[:200]}")
    return found


def without_free_parts(shown: Any) -> Any:
    """Copy without the parts that the types of answers describe badly: blocks, an app's own payload."""
    if isinstance(shown, list):
        return [without_free_parts(item) for item in shown]
    if not isinstance(shown, dict):
        return shown
    return {
        key: {} if key in ("event_payload", "state") else without_free_parts(value)
        for key, value in shown.items()
        # Slack's reference shows a view's parts that are not there as null; its types leave that out.
        if key != "blocks" and not (value is None and key in ("close", "submit", "previous_view_id"))
    }


async def test_every_answer_has_the_shape_that_slack_s_own_has(schemas: Schemas, run: Run) -> None:
    assert {method for method, _ in run.answers} == set(METHODS)
    found = [
        fault
        for method, answer in run.answers
        for fault in faults(schemas, answer_type(method), without_free_parts(answer))
    ]
    assert not found, "\n".join(found)


async def test_every_event_has_the_shape_that_slack_s_own_has(schemas: Schemas, run: Run) -> None:
    assert {(event["type"], event.get("subtype")) for event in run.events} == set(EVENTS)
    found = []
    for sent in run.events:
        event = without_free_parts(sent)
        if "view" in event:  # the event's type has the form that an app publishes
            found += faults(schemas, "ViewsPublishResponse", {"ok": True, "view": event.pop("view")})
        for part in {"message", "previous_message"} & event.keys():
            # Slack's type says that a message within an event is an event; conversations.replies shows its real form.
            found += faults(schemas, "ConversationsRepliesResponse", {"ok": True, "messages": [event[part]]})
            event[part] = {"type": "message", "channel": "C", "user": "U", "ts": "1.0", "event_ts": "1.0"} | {
                "channel_type": "channel"
            }
        # The events' type of a file knows neither a stub nor one that was deleted; conversations.replies shows both.
        brought = {part: event.pop(part) for part in ("files", "attachments") if part in event}
        found += faults(schemas, "ConversationsRepliesResponse", {"ok": True, "messages": [brought]})
        found += faults(schemas, EVENTS[event["type"], event.get("subtype")], event)
    assert not found, "\n".join(found)


async def test_every_interaction_and_command_has_the_shape_that_slack_s_own_has(schemas: Schemas, run: Run) -> None:
    assert {payload.get("type") for payload in run.payloads} == set(PAYLOADS)
    found = [
        fault
        for sent in run.payloads
        for fault in faults(schemas, PAYLOADS[sent.get("type")], sent)
        # Bolt's type thinks of buttons in messages: a click in the Home tab has neither.
        if "view" not in sent or not any(part in fault for part in ("'title' is a req", "'response_url' is a req"))
    ]
    assert not found, "\n".join(found)


async def test_every_kept_block_has_the_shape_that_slack_s_own_has(schemas: Schemas, run: Run) -> None:
    assert {block["type"] for block in run.blocks} == {block["type"] for block in BLOCKS}
    # Slack's type of a plan accepts anything as a task, so each task is checked by itself.
    blocks = run.blocks + [task for block in run.blocks for task in block.get("tasks", [])]
    found = [fault for block in blocks for fault in faults(schemas, "KnownBlock", block)]
    assert not found, "\n".join(found)


async def test_slack_s_types_accept_all_blocks_that_our_check_accepts(schemas: Schemas) -> None:
    """Remove every part of every block, or change it into something else, one at a time."""
    too_kind = [
        json.dumps(spoilt)
        for block in [*BLOCKS, TASK]
        for spoilt in spoilings(block)
        if not problems([spoilt]) and faults(schemas, "KnownBlock", spoilt)
    ]
    assert not too_kind, "\n".join(too_kind)


async def test_slack_s_types_accept_all_views_that_our_check_accepts(schemas: Schemas) -> None:
    async with LocalSlack() as slack:
        client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)
        for name, view in (("ModalView", FORM), ("HomeView", HOME)):
            assert not faults(schemas, name, view)
            for spoilt in spoilings(view):
                try:
                    if name == "ModalView":
                        await client.views_open(trigger_id=slack.views.trigger(slack.person), view=spoilt)
                    else:
                        await client.views_publish(user_id=slack.person, view=spoilt)
                except (SlackApiError, ValueError):
                    continue
                assert not faults(schemas, name, spoilt), spoilt


async def test_a_planted_wrong_type_and_a_planted_field_are_found(schemas: Schemas, run: Run) -> None:
    method, answer = next((method, answer) for method, answer in run.answers if method == "users.info")
    assert not faults(schemas, answer_type(method), answer)
    wrong = copy.deepcopy(answer)
    wrong["user"]["deleted"] = "no"
    assert [fault for fault in faults(schemas, answer_type(method), wrong) if "$.user.deleted" in fault]
    wrong = copy.deepcopy(answer)
    wrong["user"]["nickname"] = "Ada"
    assert [fault for fault in faults(schemas, answer_type(method), wrong) if "nickname" in fault]
    assert faults(schemas, "KnownBlock", {"type": "plan", "title": 7, "tasks": []})


def spoilings(value: Any) -> Iterator[Any]:
    """Every copy of `value` with one key less, one too many, or something else in one place."""
    if isinstance(value, dict):
        for key in value:
            yield {other: kept for other, kept in value.items() if other != key}
            yield from (value | {key: spoilt} for spoilt in spoilings(value[key]))
        yield value | {"sparkle": 7}
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], spoilt, *value[place + 1 :]] for spoilt in spoilings(item))
    yield from (7, None, [], {}, [7], {"type": "sparkle"}, {"type": 7})


RICH = {
    "type": "rich_text",
    "elements": [
        {
            "type": "rich_text_section",
            "elements": [{"type": "text", "text": "main"}, {"type": "user", "user_id": "U1"}],
        },
        {
            "type": "rich_text_list",
            "style": "bullet",
            "elements": [{"type": "rich_text_section", "elements": [{"type": "link", "url": "https://example.com"}]}],
        },
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "pytest"}]},
    ],
}
SOURCE = {"type": "url", "url": "https://example.com/1", "text": "build.log"}
BUTTON = {"type": "button", "action_id": "run_stop", "text": {"type": "plain_text", "text": "Stop"}, "value": "r1"}
MENU = {
    "type": "overflow",
    "action_id": "more",
    "options": [{"text": {"type": "plain_text", "text": "New session"}, "value": "new_session:1"}],
}
FEEDBACK = {
    "type": "feedback_buttons",
    "action_id": "feedback",
    "positive_button": {"text": {"type": "plain_text", "text": "+"}, "value": "good:1", "accessibility_label": "Yes"},
    "negative_button": {"text": {"type": "plain_text", "text": "-"}, "value": "bad:1"},
}
OPTIONS: dict[str, Any] = {
    "options": [
        {"text": {"type": "plain_text", "text": "Red"}, "value": "0"},
        {"text": {"type": "plain_text", "text": "Blue"}, "value": "1", "description": BUTTON["text"]},
    ]
}
TASK = {
    "type": "task_card",
    "task_id": "t3",
    "title": "Running tests",
    "status": "in_progress",
    "output": RICH,
    "sources": [SOURCE],
}
BLOCKS: list[dict[str, Any]] = [
    {"type": "header", "text": {"type": "plain_text", "text": "Run 1"}},
    {
        "type": "plan",
        "block_id": "run_r1_v7",
        "title": "Running tests",
        "tasks": [
            {"type": "task_card", "task_id": "t1", "title": "Cloned", "status": "complete", "details": RICH},
            TASK,
            {"type": "task_card", "task_id": "t4", "title": "Open pull request", "status": "pending"},
        ],
    },
    {"type": "divider"},
    {"type": "markdown", "text": "**done** in `main`"},
    {"type": "section", "text": {"type": "mrkdwn", "text": "*+3 −1*"}, "fields": [{"type": "mrkdwn", "text": "*x*"}]},
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "2m 14s"}]},
    {
        "type": "actions",
        "block_id": "runctl",
        "elements": [BUTTON, BUTTON | {"action_id": "run_open", "style": "danger", "url": "https://example.com"}, MENU],
    },
    {"type": "context_actions", "elements": [FEEDBACK]},
    {"type": "actions", "block_id": "colour", "elements": [{"type": "radio_buttons", "action_id": "c", **OPTIONS}]},
    {"type": "actions", "block_id": "sizes", "elements": [{"type": "checkboxes", "action_id": "s", **OPTIONS}]},
    RICH,
]


VIEW = {"type": "modal", "callback_id": "stop", "title": {"type": "plain_text", "text": "Stop"}}


def a_field(name: str, **element: Any) -> dict[str, Any]:
    """A field of a form."""
    label = {"type": "plain_text", "text": name}
    return {"type": "input", "block_id": name, "label": label, "hint": label, "optional": True, "element": element}


OPTION = {"text": {"type": "plain_text", "text": "One"}, "value": "1"}
PLACE = {"type": "plain_text", "text": "here"}
SELECT = {"type": "static_select", "action_id": "v", "options": [OPTION], "initial_option": OPTION}
FORM = VIEW | {
    "submit": {"type": "plain_text", "text": "Save"},
    "close": {"type": "plain_text", "text": "Cancel"},
    "private_metadata": "{}",
    "blocks": [
        BLOCKS[4],
        a_field("a", type="plain_text_input", action_id="v", multiline=True, max_length=9, initial_value="x"),
        a_field("b", type="number_input", action_id="v", is_decimal_allowed=True, initial_value="1.5"),
        a_field("c", type="multi_users_select", action_id="v", initial_users=["U1"], placeholder=PLACE),
        a_field("d", **SELECT),
        a_field("e", type="checkboxes", action_id="v", options=[OPTION], initial_options=[OPTION]),
    ],
}
HOME = {
    "type": "home",
    "blocks": [
        BLOCKS[0],
        {"type": "section", "text": {"type": "mrkdwn", "text": "Work"}, "accessory": BUTTON},
        BLOCKS[6],
    ],
}
MENU = {"type": "actions", "elements": [SELECT]}


@pytest.fixture
async def run() -> Run:
    """One run, its requests made by Slack's own client."""
    run = Run()
    async with LocalSlack() as slack:
        slack.add_user("U0STRANGER1", "Eve Elsewhere", kind="external")
        slack.add_channel("C0SHARED001", "shared", members=["U0STRANGER1", slack.bot_user], shared=True)
        slack.add_channel("C0PRIVATE01", "secret", kind="private")
        slack.add_channel("C0MANY00001", "mpdm-ada--eve-1", kind="mpim")
        client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)

        async def call(method: str, **arguments: Any) -> Any:
            try:
                answer = await client.api_call(method, json=arguments)
            except SlackApiError as failure:
                answer = failure.response
            run.answers.append((method, answer.data))
            return answer.data

        opened = await AsyncWebClient(base_url=slack.api_url).apps_connections_open(app_token=slack.app_token)
        run.answers.append(("apps.connections.open", opened.data))
        async with ClientSession() as session, session.ws_connect(opened["url"]) as socket:

            async def listen() -> None:
                async for frame in socket:
                    envelope = json.loads(frame.data)
                    if envelope["type"] == "events_api":
                        run.events.append(envelope["payload"]["event"])
                    elif "payload" in envelope:
                        run.payloads.append(envelope["payload"])
                    if "envelope_id" in envelope:
                        await socket.send_json({"envelope_id": envelope["envelope_id"]})

            listening = asyncio.create_task(listen())
            run.blocks = await everything(slack, call)
            await slack.wait_for(lambda: slack.undelivered == 0, SOON)
            listening.cancel()
    return run


async def everything(slack: LocalSlack, call: Any) -> list[Any]:
    """Use every method, and every kind of event; returns the blocks that were kept."""
    general = slack.general
    await call("auth.test")
    await call("team.info")
    for bot in (slack.bot, "B0ALERTS001", "B0NOBODY"):
        await call("bots.info", bot=bot)
    for user in (slack.person, slack.bot_user, "U0STRANGER1", "U0NOBODY001"):
        await call("users.info", user=user)
    for types in ("public_channel,private_channel,mpim,im", "im", "planets"):
        await call("users.conversations", types=types, exclude_archived=True, limit=2)
    for channel in (general, slack.direct, "C0SHARED001", "C0PRIVATE01", "C0MANY00001", "C0NOWHERE01"):
        await call("conversations.info", channel=channel, include_num_members=True)
    root = await slack.say(slack.person, general, f"{slack.mention()} go")
    await slack.say("U0STRANGER1", "C0SHARED001", f"{slack.mention()} hello")
    await slack.say(slack.person, slack.direct, "hello")
    await slack.say(slack.person, general, "asks for more", me=True)
    alert = await slack.app_says(general, attachments=[{"title": "CPU", "text": "at 99 %", "fallback": "CPU"}])
    await slack.app_says(general, "Alert", blocks=[BLOCKS[4], RICH], thread_ts=root)
    await slack.forward(slack.person, general, alert, general, "look")
    await slack.forward(slack.person, general, alert, slack.direct)
    await call("agents.sessions.setStatus", channel_id=general, thread_ts=root, status="processing", title="Go")
    await call("reactions.add", channel=general, timestamp=root, name="eyes")
    await call("reactions.add", channel=general, timestamp=root, name="eyes")
    await call("reactions.remove", channel=general, timestamp=root, name="eyes")
    await call("reactions.add", channel=general, timestamp=root, name="white_check_mark")
    metadata = {"event_type": "peerbot_turn", "event_payload": {"turn": 1}}
    card = await call("chat.postMessage", channel=general, thread_ts=root, text="go", blocks=BLOCKS, metadata=metadata)
    await call("chat.update", channel=general, ts=card["ts"], text="on", blocks=BLOCKS)
    plain = await call("chat.postMessage", channel=general, thread_ts=root, text="x" * 40_001)
    await call("chat.update", channel=general, ts=plain["ts"], text="plain")
    await call("chat.postMessage", channel=general, text="no", blocks=[{"type": "section"}])
    await call("chat.postMessage", channel=general)
    place = await call("files.getUploadURLExternal", filename="rest.md", length=5)
    async with ClientSession() as session, session.post(place["upload_url"], data=b"hello") as reply:
        assert reply.status == 200
    sent = [{"id": place["file_id"], "title": "The rest"}]
    await call("files.completeUploadExternal", files=sent, channel_id=general, thread_ts=root, initial_comment="more")
    await call("files.completeUploadExternal", files=sent, channel_id=general)
    await call("files.getUploadURLExternal", filename="rest.md", length=0)
    stubbed = FilePart("theirs.pdf", b"%PDF", {"file_access": "check_file_info"})
    gone = FilePart("", b"", {"mode": "tombstone"})
    shared = slack.share_files(slack.person, general, slack.mention(), [FilePart("a.png", b"x"), stubbed, gone])
    slack.share_files(slack.person, slack.direct, "", [FilePart("notes.txt", b"x")])
    for file in slack.message(general, shared)["files"]:
        await call("files.info", file=file["id"])
    await call("files.info", file="F0NOWHERE01")
    await slack.forward(slack.person, general, shared, general, slack.mention())
    await call("chat.getPermalink", channel=general, message_ts=card["ts"])
    await slack.press(slack.person, general, card["ts"], "more", "new_session:1")
    await slack.press(slack.person, general, card["ts"], "feedback", "bad:1")
    await slack.press(slack.person, general, card["ts"], "run_stop", c=["1"], s=["0", "1"])
    await slack.press(slack.person, general, card["ts"], "c", c=["1"])
    await slack.press(slack.person, general, card["ts"], "s", s=["0"])
    menu = await call("chat.postMessage", channel=general, text="pick", blocks=[MENU])
    await slack.press(slack.person, general, menu["ts"], "v", value="1")
    form = await call("views.open", trigger_id=slack.views.trigger(slack.person), view=FORM)
    await call("views.update", view_id=form["view"]["id"], hash=form["view"]["hash"], view=FORM)
    await call("views.update", view_id="V0", view=FORM)
    await call("views.open", trigger_id="none", view=FORM)
    await slack.client.fill_in(slack.person, {"a": "y"})
    await slack.client.open_home(slack.person)
    for mark in ("", "another"):
        await call("views.publish", user_id=slack.person, hash=mark, view=HOME)
    await call("views.publish", user_id=slack.person, view={"type": "home"})
    await slack.client.open_home(slack.person)
    shown = slack.views.home(slack.person)
    assert shown
    await slack.client.press(slack.person, shown, "run_stop")
    await slack.submit(slack.person, VIEW, {"why": {"text": {"type": "plain_text_input", "value": "too slow"}}})
    await slack.command(slack.person, slack.direct, "/peerbot", "status")
    await slack.edit(slack.person, general, root, f"{slack.mention()} stop")
    await call("conversations.replies", channel=general, ts=root, limit=2, include_all_metadata=True)
    await call("conversations.history", channel=general)
    await call("chat.delete", channel=general, ts=plain["ts"])
    await slack.delete(slack.person, general, root)
    await call("conversations.replies", channel=general, ts=root)
    await call("conversations.replies", channel=general, ts="1.000000")
    kept: list[Any] = slack.message(general, card["ts"])["blocks"]
    return kept
