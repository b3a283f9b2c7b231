"""Which objects of a conversation go when what was before is removed, and in which order. Pure (decision 0034)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from peerbot.conversation import keys
from peerbot.journal import paths

NEVER = "0.000000"
"""A `ts` before all inputs."""

_LATEST = "999999999999.999999"

_OF_TURNS = ("sessions", "work", "sent", "questions", "spent", "chosen", "back", "feedback")
_OF_INPUTS = ("asked", "inputs", "settled")
_SINGLE = ("unreadable.told", "repository.json")
_ORDER = (*_OF_TURNS, *_OF_INPUTS, *_SINGLE, "turns", "runs", paths.CONVERSATION_DOCUMENT)
"""What people said goes first. The document that says where the work goes is last: `place.json` has that by then."""

_NUMBER = re.compile(r"([1-9]\d{0,8})(?:[./].*)?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What goes: turns up to `turn`, runs before `run`, inputs up to `until`.

    `place`: there is a `place.json`, so `conversation.json` may go.
    """

    turn: int
    run: int
    until: str
    place: bool

    def goes(self, rest: str) -> bool:
        """Whether an object goes; `rest` is its key below the conversation's folder. Unknown objects stay."""
        folder, _, name = rest.partition("/")
        if not name:
            return folder in _SINGLE or (folder == paths.CONVERSATION_DOCUMENT and self.place)
        if folder in _OF_INPUTS:
            return is_input(named := named_input(rest)) and keys.in_order(named) <= keys.in_order(f"{self.until}-~")
        number = _numbered(name)
        if number is None:
            return False
        if folder == "runs":
            return number < self.run
        if folder == "turns":
            return number <= self.turn and name != f"{self.turn}.{paths.REMOVED}"
        return folder in _OF_TURNS and number <= self.turn


def is_stub(rests: Iterable[str]) -> bool:
    """Whether the keys are those that stay of a removed conversation, and no others that could go."""
    there = list(rests)
    bounds = Bounds(highest_turn(there), highest_run(there), _LATEST, paths.PLACE in there)
    return f"turns/{bounds.turn}.{paths.REMOVED}" in there and not any(map(bounds.goes, there))


def in_order(rests: Iterable[str]) -> list[str]:
    """Sort what goes."""
    return sorted(rests, key=lambda rest: (_ORDER.index(rest.partition("/")[0]), rest))


def named_input(rest: str) -> str:
    """Read the input's name from a key in a folder of inputs: it may be anything."""
    return rest.split("/")[1].removesuffix(".json")


def is_input(name: str) -> bool:
    """Whether it is the name of an input."""
    ts, _, kind = name.partition("-")
    return keys.is_ts(ts) and bool(kind)


def highest_turn(rests: Iterable[str]) -> int:
    """Find the highest number of a turn that anything carries: one that was never written may have left something."""
    return max((_numbered(name) or 0 for folder, name in _parts(rests) if folder in (*_OF_TURNS, "turns")), default=0)


def highest_run(rests: Iterable[str]) -> int:
    """Find the newest run; 0 if there is none."""
    return max((_numbered(name) or 0 for folder, name in _parts(rests) if folder == "runs"), default=0)


def last_input(rests: Iterable[str]) -> str:
    """Find the `ts` of the newest input; `NEVER` if there is none."""
    named = [name.removesuffix(".json") for folder, name in _parts(rests) if folder == "inputs"]
    ids = sorted(filter(is_input, named), key=keys.in_order)
    return keys.input_ts(ids[-1]) if ids else NEVER


def _parts(rests: Iterable[str]) -> Iterable[tuple[str, str]]:
    for rest in rests:
        folder, _, name = rest.partition("/")
        yield folder, name


def _numbered(name: str) -> int | None:
    match = _NUMBER.fullmatch(name)
    return int(match[1]) if match else None
