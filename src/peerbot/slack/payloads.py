"""The values in what Slack sends, whatever they are: nothing here raises. Pure."""

from collections.abc import Mapping
from typing import Any


def clean(value: object) -> str:
    """A string that UTF-8 can hold (JSON can carry half of a surrogate pair), or the empty one."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def as_object(value: object) -> Mapping[str, Any]:
    """What Slack sent as an object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """What Slack sent as a list, or an empty one."""
    return value if isinstance(value, list) else []


def id_of(value: object) -> str:
    """An id, which Slack writes as such or as a part of what it names."""
    return clean(value.get("id") if isinstance(value, Mapping) else value)
