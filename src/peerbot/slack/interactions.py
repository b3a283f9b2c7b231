"""What people do with buttons, modals, shortcuts and commands, read into types, and what goes back with the ack. Pure.

Slack sends these once. If the ack is missing, it shows an error to the person, who can try again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.slack.payloads import as_list, as_object, clean, id_of

Fields = Mapping[tuple[str, str], tuple[str, ...]]
"""What stands in the fields of a form, by block and action id: nothing, one string or several."""


@dataclass(frozen=True, slots=True)
class BlockAction:
    """Somebody used an element of a message or a view: pressed a button, made a choice.

    A conversation is found by channel and thread, never by `team`: in a shared channel it can be the person's.
    """

    team: str
    user: str
    channel: str  # this and the next two are empty if the element is in a view
    message_ts: str
    thread_ts: str  # of the message itself if it began a thread or stands alone
    view: str  # its id; empty if the element is in a message
    block_id: str
    action_id: str
    value: str  # a button's own, or the first choice
    action_ts: str
    trigger_id: str  # opens a modal within three seconds
    fields: Fields  # everything that is filled in beside it


@dataclass(frozen=True, slots=True)
class ViewAction:
    """Somebody submitted a modal, or closed it."""

    submitted: bool
    team: str
    user: str
    view: str  # its id
    callback_id: str
    private_metadata: str
    trigger_id: str  # empty if it was closed
    fields: Fields


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Somebody used a shortcut: one of a message, or a global one."""

    team: str
    user: str
    callback_id: str
    channel: str  # this and the next two are empty for a global one
    message_ts: str
    thread_ts: str
    action_ts: str
    trigger_id: str


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody used a slash command."""

    team: str
    user: str
    channel: str
    command: str
    text: str
    trigger_id: str


Interaction = BlockAction | ViewAction | Shortcut | Command
"""Slack sends these once. If the ack is missing, it shows an error to the person, who can try again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What Slack gets with the ack. Only a submitted modal and a command take one."""

    body: Mapping[str, Any]

    @classmethod
    def errors(cls, sentences: Mapping[str, str]) -> "Reply":
        """Keep the modal open and show a sentence at each of these blocks."""
        return cls({"response_action": "errors", "errors": dict(sentences)})

    @classmethod
    def view(cls, view: Mapping[str, Any]) -> "Reply":
        """Put another view in the place of the modal that was submitted."""
        return cls({"response_action": "update", "view": dict(view)})

    @classmethod
    def only_to_them(cls, text: str) -> "Reply":
        """Show a text to the person who used the command, and to nobody else."""
        return cls({"response_type": "ephemeral", "text": text})


def read_interaction(body: Mapping[str, Any]) -> Interaction | None:
    """Read the body of an interaction; None if it is none, or lacks an id that it can't be handled without."""
    match body.get("type"):
        case "block_actions":
            return _block_action(body)
        case "view_submission" | "view_closed":
            return _view_action(body)
        case "shortcut" | "message_action":
            return _shortcut(body)
        case None:
            return _command(body)
        case _:
            return None


def _block_action(body: Mapping[str, Any]) -> BlockAction | None:
    actions = body.get("actions")
    action = as_object(actions[0]) if isinstance(actions, list) and actions else {}  # there is one: what was used
    message, container, view = (
        as_object(body.get("message")),
        as_object(body.get("container")),
        as_object(body.get("view")),
    )
    message_ts = clean(container.get("message_ts") or message.get("ts"))
    found = BlockAction(
        team=id_of(body.get("team")),
        user=id_of(body.get("user")),
        channel=id_of(body.get("channel")) or id_of(container.get("channel_id")),
        message_ts=message_ts,
        thread_ts=clean(container.get("thread_ts") or message.get("thread_ts")) or message_ts,
        view=id_of(view),
        block_id=clean(action.get("block_id")),
        action_id=clean(action.get("action_id")),
        value=next(iter(_said(action)), ""),
        action_ts=clean(action.get("action_ts")),
        trigger_id=clean(body.get("trigger_id")),
        fields=_fields(as_object(body.get("state")) or as_object(view.get("state"))),
    )
    return found if found.user and found.action_id else None


def _view_action(body: Mapping[str, Any]) -> ViewAction | None:
    view = as_object(body.get("view"))
    found = ViewAction(
        submitted=body.get("type") == "view_submission",
        team=id_of(body.get("team")),
        user=id_of(body.get("user")),
        view=id_of(view),
        callback_id=clean(view.get("callback_id")),
        private_metadata=clean(view.get("private_metadata")),
        trigger_id=clean(body.get("trigger_id")),
        fields=_fields(as_object(view.get("state"))),
    )
    return found if found.user and found.view else None


def _shortcut(body: Mapping[str, Any]) -> Shortcut | None:
    message_ts = clean(body.get("message_ts"))
    found = Shortcut(
        team=id_of(body.get("team")),
        user=id_of(body.get("user")),
        callback_id=clean(body.get("callback_id")),
        channel=id_of(body.get("channel")),
        message_ts=message_ts,
        thread_ts=clean(as_object(body.get("message")).get("thread_ts")) or message_ts,
        action_ts=clean(body.get("action_ts")),
        trigger_id=clean(body.get("trigger_id")),
    )
    return found if found.user and found.callback_id else None


def _command(body: Mapping[str, Any]) -> Command | None:
    found = Command(
        team=id_of(body.get("team_id")),
        user=id_of(body.get("user_id")),
        channel=id_of(body.get("channel_id")),
        command=clean(body.get("command")),
        text=clean(body.get("text")),
        trigger_id=clean(body.get("trigger_id")),
    )
    return found if found.user and found.command else None


def _fields(state: Mapping[str, Any]) -> Fields:
    return {
        (clean(block), clean(action)): _said(as_object(element))
        for block, elements in as_object(state.get("values")).items()
        for action, element in as_object(elements).items()
    }


def _said(element: Mapping[str, Any]) -> tuple[str, ...]:
    """What an element was filled in with: a text, ids, or the values of options."""
    options = [element.get("selected_option"), *as_list(element.get("selected_options"))]
    found = [
        element.get("value"),
        element.get("selected_date"),
        element.get("selected_time"),
        element.get("selected_user"),
        element.get("selected_channel"),
        element.get("selected_conversation"),
        *as_list(element.get("selected_users")),
        *as_list(element.get("selected_channels")),
        *as_list(element.get("selected_conversations")),
        *(as_object(option).get("value") for option in options),
    ]
    return tuple(text for text in map(clean, found) if text)
