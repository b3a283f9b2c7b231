"""Modals and the Home tab: what an app opened and published, and what people do in it.

Views live as long as this process, as they live as long as a page in a client. Slack refuses unknown fields and types,
and so does this module; `tests/service/test_local_slack_shapes.py` compares it with Slack's own types.
"""

import json
import secrets
import time
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from peerbot.local.slack.arguments import Arguments, messages
from peerbot.local.slack.blocks import (
    ABSENT,
    Actions,
    Block,
    Context,
    Divider,
    Header,
    Option,
    PlainText,
    Section,
    StaticSelect,
    Strict,
    at_most,
    named,
)
from peerbot.local.slack.shapes import APP, BOT, TEAM, Object
from peerbot.local.slack.world import NotOk

TRIGGER_SECONDS = 3.0
VIEW_LIMIT = 250_000  # bytes of JSON
BLOCKS_LIMIT = 100


class _TextInput(Strict):
    type: Literal["plain_text_input"]
    action_id: str = Field(default="", max_length=255)
    initial_value: str = ""
    multiline: bool = False
    min_length: int = Field(default=ABSENT, ge=0, le=3000)
    max_length: int = Field(default=ABSENT, ge=1, le=3000)
    placeholder: Annotated[PlainText, at_most(150)] = ABSENT

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_length and len(self.initial_value) > self.max_length:
            raise ValueError("initial_value should be at most max_length characters long")
        return self


class _NumberInput(Strict):
    type: Literal["number_input"]
    is_decimal_allowed: bool
    action_id: str = Field(default="", max_length=255)
    initial_value: str = ABSENT
    min_value: str = ABSENT
    max_value: str = ABSENT
    placeholder: Annotated[PlainText, at_most(150)] = ABSENT


class _UsersSelect(Strict):
    type: Literal["multi_users_select"]
    action_id: str = Field(default="", max_length=255)
    initial_users: list[str] = ABSENT
    max_selected_items: int = Field(default=ABSENT, ge=1)
    placeholder: Annotated[PlainText, at_most(150)] = ABSENT


class _Checkboxes(Strict):
    type: Literal["checkboxes"]
    options: list[Option] = Field(min_length=1, max_length=10)
    action_id: str = Field(default="", max_length=255)
    initial_options: list[Option] = Field(default=ABSENT, min_length=1)


class _Input(Block):
    type: Literal["input"]
    label: Annotated[PlainText, at_most(2000)]
    element: Annotated[
        _TextInput | _NumberInput | _UsersSelect | _Checkboxes | StaticSelect, Field(discriminator="type")
    ]
    hint: Annotated[PlainText, at_most(2000)] = ABSENT
    optional: bool = False


_BLOCKS = Annotated[
    list[Annotated[Actions | Context | Divider | Header | _Input | Section, Field(discriminator="type")]],
    Field(max_length=BLOCKS_LIMIT),
]
_Title = Annotated[PlainText, at_most(24)]


class _Modal(Strict):
    type: Literal["modal"]
    title: _Title
    blocks: _BLOCKS
    submit: _Title = ABSENT
    close: _Title = ABSENT
    callback_id: str = Field(default="", max_length=255)
    private_metadata: str = Field(default="", max_length=3000)
    notify_on_close: bool = False
    clear_on_close: bool = False

    @model_validator(mode="after")
    def _can_be_submitted(self) -> Self:
        if self.submit is None and any(isinstance(block, _Input) for block in self.blocks):
            raise ValueError("submit should be given if there is an input block")
        return self


class _Home(Strict):
    type: Literal["home"]
    blocks: _BLOCKS
    callback_id: str = Field(default="", max_length=255)
    private_metadata: str = Field(default="", max_length=3000)


_MODAL, _HOME = TypeAdapter(_Modal), TypeAdapter(_Home)


class Views:
    """The open modals and the published Home tabs. Raises `NotOk` with Slack's errors."""

    def __init__(self) -> None:
        self.home_enabled = True
        self.trigger_seconds = TRIGGER_SECONDS
        self._triggers: dict[str, tuple[str, float]] = {}  # the person, and until when; "" if it was used
        self._open: dict[str, tuple[str, Object]] = {}  # by id: the person, and the view
        self._homes: dict[str, Object] = {}

    def trigger(self, user: str) -> str:
        """Make the id with which an app may open a modal for a person, once and soon."""
        identity = f"{time.time_ns() // 1_000_000}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        self._triggers[identity] = (user, time.monotonic() + self.trigger_seconds)
        return identity

    def opened(self, user: str) -> list[Object]:
        """List the modals that a person sees, the newest last."""
        return [view for owner, view in self._open.values() if owner == user]

    def home(self, user: str) -> Object | None:
        """Return the Home tab that a person sees; None if nothing is published."""
        return self._homes.get(user)

    def close(self, view: Object) -> None:
        """Take a modal away."""
        self._open.pop(view["id"], None)

    def replace(self, view: Object, now: Object) -> None:
        """Put another view in a modal's place, as an app's reply to a submission may."""
        user, _ = self._open[view["id"]]
        self._open[view["id"]] = (user, _made(_checked(_MODAL, now), view["id"]))

    # The Web API's methods

    def views_open(self, args: Arguments) -> Object:
        """`views.open`."""
        shown = _checked(_MODAL, _view(args))
        identity = args.text("trigger_id")
        user, until = self._triggers.get(identity, ("", -1.0))
        if until < 0:
            raise NotOk("invalid_trigger_id")
        if not user:
            raise NotOk("exchanged_trigger_id")
        if time.monotonic() > until:
            raise NotOk("expired_trigger_id")
        self._triggers[identity] = ("", until)
        view = _made(shown)
        self._open[view["id"]] = (user, view)
        return {"view": view}

    def views_update(self, args: Arguments) -> Object:
        """`views.update`."""
        shown, identity = _checked(_MODAL, _view(args)), args.text("view_id")
        if identity not in self._open:
            raise NotOk("not_found")
        user, there = self._open[identity]
        _same(args, there)
        view = _made(shown, identity)
        self._open[identity] = (user, view)
        return {"view": view}

    def views_publish(self, args: Arguments) -> Object:
        """`views.publish`."""
        shown = _checked(_HOME, _view(args))
        if not self.home_enabled:
            raise NotOk("not_enabled")
        there = self._homes.get(args.text("user_id"))
        if there:
            _same(args, there)
        view = _made(shown, there["id"] if there else None)
        self._homes[args.text("user_id")] = view
        return {"view": view}

    METHODS: ClassVar = {"views.open": views_open, "views.update": views_update, "views.publish": views_publish}


def _view(args: Arguments) -> Any:
    return args.structure("view", "invalid_arguments")


def _same(args: Arguments, there: Object) -> None:
    if args.text("hash") and args.text("hash") != there["hash"]:
        raise NotOk("hash_conflict")


def _checked(kind: TypeAdapter[Any], view: Any) -> Object:
    if len(json.dumps(view).encode()) > VIEW_LIMIT:
        raise NotOk("view_too_large")
    try:
        kind.validate_python(view)
    except ValidationError as error:
        found = [f"{item['msg']} [json-pointer:/view/{'/'.join(map(str, item['loc']))}]" for item in error.errors()]
        raise NotOk("invalid_arguments", **messages(*found)) from error
    shown: Object = view
    return shown


def _made(shown: Object, identity: str | None = None) -> Object:
    """Make the view as Slack keeps it."""
    identity = identity or "V" + secrets.token_hex(5).upper()
    kept: Object = {"callback_id": "", "private_metadata": "", "close": None, "submit": None} | shown
    blocks = named(shown["blocks"])
    return kept | {
        "blocks": blocks,
        "id": identity,
        "team_id": TEAM,
        "app_id": APP,
        "app_installed_team_id": TEAM,
        "bot_id": BOT,
        "state": {"values": {}},
        "hash": f"{int(time.time())}.{secrets.token_hex(4)}",
        "root_view_id": identity,
        "previous_view_id": None,
        "clear_on_close": bool(shown.get("clear_on_close")),
        "notify_on_close": bool(shown.get("notify_on_close")),
        "external_id": "",
    }


def filled(view: Object, values: dict[str, Any]) -> Object:
    """Fill a modal in: `values` by block id, for the other fields what stands there. Returns the state's values.

    Raises `LookupError` if there is no such field, and if a field that must be filled in is empty: a client says so.
    """
    fields = {block["block_id"]: block for block in view["blocks"] if block["type"] == "input"}
    if unknown := values.keys() - fields.keys():
        raise LookupError(f"the modal has no field {unknown}")
    found: Object = {}
    for block_id, block in fields.items():
        element = block["element"]
        state = _state(element, values.get(block_id, _initial(element)))
        if not block.get("optional") and not any(value for key, value in state.items() if key != "type"):
            raise LookupError(f"the field {block_id} must be filled in")
        found[block_id] = {element.get("action_id", ""): state}
    return found


def _initial(element: Object) -> Any:
    match element["type"]:
        case "multi_users_select":
            return element.get("initial_users", [])
        case "static_select":
            return (element.get("initial_option") or {}).get("value")
        case "checkboxes":
            return [option["value"] for option in element.get("initial_options", [])]
    return element.get("initial_value") or None


def _state(element: Object, value: Any) -> Object:
    match element["type"]:
        case "multi_users_select":
            return {"type": "multi_users_select", "selected_users": list(value)}
        case "static_select":
            return {"type": "static_select", "selected_option": _option(element, value)}
        case "checkboxes":
            chosen = [option for option in element["options"] if option["value"] in value]
            return {"type": "checkboxes", "selected_options": chosen}
    return {"type": element["type"], "value": value or None}


def _option(element: Object, value: str | None) -> Object | None:
    if not value:
        return None
    found: Object = next(option for option in element["options"] if option["value"] == value)
    return found
