"""The tokens that a reply of the Messages API says that it used, read while the reply passes through.

A reply that is cut off has no final figures, and an agent may cut off every reply of its own. Until the final figures
come, the meter estimates from the bytes that passed, by a rule of thumb, so that no agent gets around its budget.
"""

import json
from dataclasses import replace
from typing import Any

from peerbot.claude.prices import Tokens, cost_usd

_BYTES_A_TOKEN = 4
_DELTA_FRAME_BYTES = 90  # of a content_block_delta line: all that is not text
_MAX_LINE_BYTES = 1024 * 1024
_MAX_JSON_BYTES = 16 * 1024 * 1024
_MOST_TOKENS = 1_000_000_000  # we do not believe a figure above this
_MAX_ESTIMATE_TOKENS = 200_000  # a body may be one large picture


class UsageMeter:
    """Meters one request: `sent` while its body goes out, `received` while the reply comes back."""

    def __init__(self) -> None:
        self.model = ""
        self.free = False  # set if the API charges nothing: an error, a count of tokens
        self._sent_bytes = 0
        self._streamed = 0  # output tokens, estimated
        self._known: Tokens | None = None
        self._is_stream = False
        self._buffer = bytearray()
        self._skipping = False

    @property
    def cost_usd(self) -> float:
        """The approximate cost so far, in US dollars."""
        if self.free:
            return 0.0
        tokens = self._known or Tokens(input=min(self._sent_bytes // _BYTES_A_TOKEN, _MAX_ESTIMATE_TOKENS))
        return cost_usd(self.model, replace(tokens, output=max(tokens.output, self._streamed)))

    def sent(self, chunk: bytes) -> None:
        """Note a part of the request."""
        self._sent_bytes += len(chunk)

    def begin(self, content_type: str) -> None:
        """Note in which form the reply comes: an event stream, or one JSON document."""
        self._is_stream = content_type == "text/event-stream"

    def received(self, chunk: bytes) -> None:
        """Note a part of the reply; a part may end anywhere."""
        if not self._is_stream:
            if len(self._buffer) + len(chunk) <= _MAX_JSON_BYTES:
                self._buffer += chunk
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._line(bytes(self._buffer) + line if not self._skipping else b"")
            self._buffer.clear()
            self._skipping = False
        if len(self._buffer) + len(rest) > _MAX_LINE_BYTES:
            self._buffer.clear()
            self._skipping = True
        elif not self._skipping:
            self._buffer += rest

    def end(self) -> None:
        """Note that the reply is whole."""
        if not self._is_stream:
            self._message(_parse(bytes(self._buffer)))
            self._buffer.clear()

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        if b'"content_block_delta"' in line:
            self._streamed += max(1, (len(line) - _DELTA_FRAME_BYTES) // _BYTES_A_TOKEN)
        elif b'"message_start"' in line:
            self._message(_parse(line[5:]).get("message"))
        elif b'"message_delta"' in line:
            self._usage(_parse(line[5:]).get("usage"))
            self._streamed = 0  # the event gives the total of all output

    def _message(self, message: Any) -> None:
        if isinstance(message, dict):
            self.model = str(message.get("model", self.model))
            self._usage(message.get("usage"))

    def _usage(self, usage: Any) -> None:
        """Take over an event's figures: each is a total that repeats or replaces the one before, never a difference."""
        if not isinstance(usage, dict):
            return
        known = self._known or Tokens()
        writes = usage.get("cache_creation")
        writes = writes if isinstance(writes, dict) else {}
        all_writes = _count(usage, "cache_creation_input_tokens", known.cache_write_5m + known.cache_write_1h)
        hour = min(_count(writes, "ephemeral_1h_input_tokens", known.cache_write_1h), all_writes)
        self._known = Tokens(
            input=_count(usage, "input_tokens", known.input),
            output=_count(usage, "output_tokens", known.output),
            cache_read=_count(usage, "cache_read_input_tokens", known.cache_read),
            cache_write_5m=all_writes - hour,
            cache_write_1h=hour,
        )


def _parse(text: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _count(figures: dict[str, Any], name: str, default: int) -> int:
    value = figures.get(name)
    return value if isinstance(value, int) and 0 <= value <= _MOST_TOKENS else default
