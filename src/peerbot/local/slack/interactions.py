"""The payloads that Slack sends when people press buttons, submit modals and use commands. Pure except for the clock.

Field names and types are Slack's; `tests/service/test_local_slack_shapes.py` compares them with Slack's own types.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence

from peerbot.local.slack.events import sent
from peerbot.local.slack.shapes import APP, BOT, TEAM, Object

_DOMAIN = "local"


Filled = Mapping[str, Sequence[str]]
"""What a person chose in a message's fields: the options' values, by action."""


def pressed(
    user: Object, channel: Object, message: Object, action_id: str, at: str, trigger: str, *, value: str = "",
    filled: Filled,
) -> Object:  # fmt: skip
    """Make the payload of a pressed button, or of a choice in a field. Raises `LookupError` if there is no such one.

    `value`: of a menu, the option that the person chose; of feedback buttons, the one that they pressed.
    """
    element, block_id = next(_elements(message, action_id))
    state = _state(message, {**filled, action_id: [value]} if value else filled)
    used = _used(element, value)
    if action_id in state.get(block_id, {}):
        used = state[block_id][action_id] | {"action_id": action_id}
    container = {"type": "message", "message_ts": message["ts"], "channel_id": channel["id"], "is_ephemeral": False}
    if "thread_ts" in message:
        container["thread_ts"] = message["thread_ts"]
    payload = _common("block_actions", user)
    payload["user"]["username"] = user["name"]
    return payload | {
        "container": container,
        "trigger_id": trigger,
        "response_url": _response_url(),
        "channel": {"id": channel["id"], "name": channel["name"] or "directmessage"},
        "message": sent(message),
        "state": {"values": state},
        "actions": [used | {"block_id": block_id, "action_ts": at}],
    }


def pressed_in_view(user: Object, view: Object, action_id: str, at: str, trigger: str) -> Object:
    """Make the payload of a button that was pressed in a modal or the Home tab, the first with this id or value."""
    button, block_id = next(_elements(view, action_id))
    payload = _common("block_actions", user)
    payload["user"]["username"] = user["name"]
    return payload | {
        "container": {"type": "view", "view_id": view["id"]},
        "trigger_id": trigger,
        "view": view,
        "actions": [button | {"block_id": block_id, "action_ts": at}],
    }


def _state(message: Object, filled: Filled) -> Object:
    """Say what is chosen in the message's fields, as Slack does: nothing is chosen at first."""
    found: Object = {}
    for block in message.get("blocks", ()):
        for element in _of(block):
            if element["type"] in ("radio_buttons", "checkboxes", "static_select"):
                wanted = filled.get(element["action_id"], ())
                shown = [{"text": option["text"], "value": option["value"]} for option in element["options"]]
                options = [option for option in shown if option["value"] in wanted]
                one = {"selected_option": next(iter(options), None)}
                said = {"selected_options": options} if element["type"] == "checkboxes" else one
                found.setdefault(block["block_id"], {})[element["action_id"]] = {"type": element["type"]} | said
    return found


def _of(block: Object) -> list[Object]:
    """List the elements that people use in a block: those in it, or the one beside its text."""
    beside = [block["accessory"]] if "accessory" in block else []
    return [*beside, *(block.get("elements", ()) if block["type"] in ("actions", "context_actions") else ())]


def _elements(message: Object, action_id: str) -> Iterator[tuple[Object, str]]:
    for block in message.get("blocks", ()):
        for element in _of(block):
            if action_id in (element.get("action_id"), element.get("value")):
                yield element, block["block_id"]
    raise LookupError(f"the message has no button {action_id}")


def _used(element: Object, value: str) -> Object:
    """Say what Slack tells of an element that somebody used. Raises `LookupError` if it offers no such value."""
    match element["type"]:
        case "overflow":
            for option in element["options"]:
                if option["value"] == value:
                    return {"type": "overflow", "action_id": element["action_id"], "selected_option": option}
        case "feedback_buttons":
            for button in (element["positive_button"], element["negative_button"]):
                if button["value"] == value:
                    used = {"type": "feedback_buttons", "action_id": element["action_id"]}
                    return used | {"text": button["text"], "value": value}
        case _:
            return element
    raise LookupError(f"there is no such choice: {value}")


def submitted(user: Object, view: Object, values: Object, trigger: str) -> Object:
    """Make the payload of a submitted modal.

    `view` has the form that an app gives to `views.open`. `values` are by block and action.
    """
    identity = "V" + secrets.token_hex(5).upper()
    shown: Object = {"callback_id": "", "private_metadata": "", "blocks": [], "close": None, "submit": None} | view
    return _common("view_submission", user) | {
        "trigger_id": trigger,
        "view": {
            "id": identity,
            "team_id": TEAM,
            "app_id": APP,
            "app_installed_team_id": TEAM,
            "bot_id": BOT,
            "hash": f"{int(time.time())}.{secrets.token_hex(4)}",
            "root_view_id": identity,
            "previous_view_id": None,
            "clear_on_close": False,
            "notify_on_close": False,
            "external_id": "",
        }
        | shown
        | {"state": {"values": values}},
        "response_urls": [],
    }


def command(user: Object, channel: Object, name: str, text: str, trigger: str) -> Object:
    """Make the payload of a slash command."""
    return {
        "token": "verification-tokens-are-deprecated",
        "team_id": TEAM,
        "team_domain": _DOMAIN,
        "channel_id": channel["id"],
        "channel_name": channel["name"] or "directmessage",
        "user_id": user["id"],
        "user_name": user["name"],
        "command": name,
        "text": text,
        "api_app_id": APP,
        "is_enterprise_install": "false",
        "response_url": _response_url(),
        "trigger_id": trigger,
    }


def _common(kind: str, user: Object) -> Object:
    return {
        "type": kind,
        "user": {"id": user["id"], "name": user["name"], "team_id": user["team_id"]},
        "api_app_id": APP,
        "token": "verification-tokens-are-deprecated",
        "team": {"id": TEAM, "domain": _DOMAIN},
        "is_enterprise_install": False,
    }


def _response_url() -> str:
    return f"https://hooks.example.com/actions/{TEAM}/{secrets.token_hex(12)}"  # nothing listens there
