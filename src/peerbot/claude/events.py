"""Reads the events of a stream (server-sent events) while its bytes pass, however they are cut into chunks."""

from collections.abc import Iterator
from typing import Any

import jiter

LONGEST_EVENT_BYTES = 1024 * 1024


class EventReader:
    """Turns chunks into events. It keeps at most `LONGEST_EVENT_BYTES`, and drops a longer event."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data = b""
        self._after_return = False  # the chunk before ended with CR, so that a LF now ends no line
        self._skips = False  # the event is too long

    def feed(self, chunk: bytes) -> Iterator[tuple[dict[str, Any], int]]:
        """Take the next chunk; yields each event that is whole now, with its size in bytes."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_return = False
        if b"\r" in chunk:
            self._after_return = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        elif chunk:
            self._after_return = False
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = line
            if self._line or len(line) > LONGEST_EVENT_BYTES:
                self._add(line)
                whole = bytes(self._line)
                self._line.clear()
            if whole.startswith(b"data:"):
                self._take(whole[6:] if whole[5:6] == b" " else whole[5:])
            elif not whole:
                yield from self._event()
        if rest:
            self._add(rest)

    def end(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Take the stream's end; yields an event that has no blank line behind it."""
        yield from self.feed(b"\n\n")

    def _add(self, part: bytes) -> None:
        if len(self._line) + len(part) > LONGEST_EVENT_BYTES:
            self._skip()
            self._line[:] = b":"  # a comment, which says nothing: the rest of the line is dropped
        elif not (self._skips and self._line.startswith(b":")):
            self._line += part

    def _take(self, data: bytes) -> None:
        if len(self._data) + len(data) > LONGEST_EVENT_BYTES:
            self._skip()
        elif not self._skips:
            self._data += b"\n" + data if self._data else data

    def _skip(self) -> None:
        self._skips = True
        self._data = b""

    def _event(self) -> Iterator[tuple[dict[str, Any], int]]:
        data, self._data, self._skips = self._data, b"", False
        if data:
            yield parsed(data), len(data)


def parsed(text: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else is an empty one."""
    try:
        found = jiter.from_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
