"""The arguments of a call, in any form that Slack takes: a JSON body, a form, or the query."""

import json
from typing import Any

from aiohttp import web

from peerbot.local.slack.world import NotOk

Value = Any


class Arguments:
    """One call's arguments by name. Forms carry lists and objects as JSON, numbers and switches as text."""

    def __init__(self, values: dict[str, Value]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}

    @classmethod
    async def of(cls, request: web.Request) -> "Arguments":
        """Read a request. Raises `NotOk` if the body is not JSON, or not an object."""
        values: dict[str, Value] = dict(request.query)
        if request.content_type == "application/json":
            try:
                body = await request.json()
            except ValueError as error:
                raise NotOk("invalid_json") from error
            if not isinstance(body, dict):
                raise NotOk("json_not_object")
            values |= body
        else:
            values |= dict(await request.post())
        return cls(values)

    def take_token(self) -> str:
        """Take the token out of the arguments, if it came as one."""
        return str(self._values.pop("token", ""))

    def recorded(self) -> dict[str, Value]:
        """Copy the arguments for the record of calls."""
        return dict(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """Return an argument as text."""
        return str(self._values.get(name, default))

    def flag(self, name: str) -> bool:
        """Read a switch: `true`, `1` and JSON's true are on."""
        return str(self._values.get(name, "")).lower() in ("true", "1")

    def number(self, name: str, default: int) -> int:
        """Read a number. Raises `NotOk` if it is not one."""
        try:
            return int(self._values.get(name, default))
        except (TypeError, ValueError) as error:
            raise NotOk("invalid_arguments", **messages(f"{name} must be a number")) from error

    def structure(self, name: str, error: str) -> Value:
        """Read a list or an object, None if it was not given. Raises `NotOk(error)` if it can't be read."""
        value = self._values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError as problem:
            raise NotOk(error) from problem


def messages(*problems: str) -> dict[str, Any]:
    """Make the part of an answer that names the problems."""
    return {"response_metadata": {"messages": [f"[ERROR] {problem}" for problem in problems]}}
