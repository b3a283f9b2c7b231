"""What a request has used, as its reply says while it passes; or the most that it can have used if it does not say.

A reply that was cut off has no final figures, and an agent may cut off every reply of its own. It then counts with what
the events prove, and with the most that a model can write in the time that it had (decision 0024).
"""

from dataclasses import dataclass, replace
from typing import Any

from peerbot.claude.events import EventReader, parsed
from peerbot.claude.prices import FAST, ONE_COUNTRY, Tokens, cost_usd
from peerbot.conversation.spent import Spent

FASTEST_TOKENS_A_SECOND = 1000
"""No model writes as fast as this."""

NOTICED_SECONDS = 2.0
"""How long a model may go on writing after its stream was closed."""

_BYTES_A_TOKEN = 4
_MAX_JSON_BYTES = 4 * 1024 * 1024
_LONGEST_MODEL = 100  # characters of a name
_MOST_TOKENS = 1_000_000_000  # we do not believe a figure above this
_OTHER_BYTES = 90  # of a delta: all that is not text


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a request can use, known before it is sent. `streams`: its model stops if nobody listens."""

    model: str
    tokens: Tokens
    streams: bool

    @property
    def usd(self) -> float:
        """The most that it can cost, in US dollars."""
        return cost_usd((self.model,), self.tokens)


class UsageMeter:
    """Meters one request: `begin` and `received` while its reply comes, and `end` if it came whole."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._models: tuple[str, ...] = (bound.model,)
        self._known: Tokens | None = None
        self._totals = False  # whether `_known` has the output, too
        self._final = False
        self._written = 0  # output tokens that passed, estimated
        self._events: EventReader | None = None
        self._document = bytearray()
        self._too_large = False

    def begin(self, content_type: str) -> None:
        """Note in which form the reply comes: an event stream, or one JSON document."""
        self._events = EventReader() if content_type == "text/event-stream" else None

    def received(self, chunk: bytes) -> None:
        """Note a part of the reply; a part may end anywhere."""
        if self._events:
            for event, size in self._events.feed(chunk):
                self._event(event, size)
        elif len(self._document) + len(chunk) <= _MAX_JSON_BYTES:
            self._document += chunk
        else:
            self._too_large = True

    def end(self) -> None:
        """Note that the reply is whole."""
        if self._events:
            for event, size in self._events.end():
                self._event(event, size)
            self._final = self._totals
        elif not self._too_large:
            self._final = self._message(parsed(bytes(self._document)))
            self._document.clear()

    def spent(self, seconds: float) -> Spent:
        """Say what the request used, and cost, if it ended after `seconds`; without final figures, the most."""
        tokens = self._most_tokens(seconds)
        return Spent(
            model=self._models[-1][:_LONGEST_MODEL],
            usd=cost_usd(self._models, tokens),
            input=tokens.input,
            output=tokens.output,
            cache_read=tokens.cache_read,
            cache_write=tokens.cache_write_5m + tokens.cache_write_1h,
            searches=tokens.searches,
        )

    def _most_tokens(self, seconds: float) -> Tokens:
        most = self._bound.tokens
        if self._known and self._final:
            return self._known
        if self._bound.streams:
            in_time = int((seconds + NOTICED_SECONDS) * FASTEST_TOKENS_A_SECOND)
            most = replace(most, output=min(most.output, in_time))
        if self._known and not most.searches:  # what searches bring is not in the first figures
            most = replace(self._known, output=max(most.output, self._known.output, self._written))
        return most

    def _event(self, event: dict[str, Any], size: int) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._written += max(1, (size - _OTHER_BYTES) // _BYTES_A_TOKEN)
        elif kind == "message_start":
            self._message(event.get("message"))
        elif kind == "message_delta":
            self._totals = self._usage(event.get("usage")) or self._totals
        elif kind == "message_stop":
            self._final = self._totals

    def _message(self, message: Any) -> bool:
        if not isinstance(message, dict):
            return False
        if isinstance(model := message.get("model"), str):
            self._models = (self._bound.model, model)
        return self._usage(message.get("usage"))

    def _usage(self, usage: Any) -> bool:
        """Take over an event's figures: each is a total that repeats or replaces the one before, never a difference.

        False if there are none.
        """
        if not isinstance(usage, dict):
            return False
        known = self._known or Tokens()
        # Each round of the servers' own (a compaction, a fallback) is billed; the totals leave some of them out.
        rounds = usage.get("iterations")
        rounds = [each for each in rounds if isinstance(each, dict)] if isinstance(rounds, list) else []
        found, summed = _tokens(usage, known), _sum([_tokens(each, Tokens()) for each in rounds])
        tools = usage.get("server_tool_use")
        searches = _count(tools if isinstance(tools, dict) else {}, "web_search_requests", known.searches)
        factor = (FAST if usage.get("speed") == "fast" else 1.0) * (
            ONE_COUNTRY if usage.get("inference_geo") == "us" else 1.0
        )
        dearer = max(found, summed, key=lambda tokens: cost_usd(self._models, tokens))
        self._known = replace(dearer, searches=searches, factor=max(factor, known.factor))
        return "output_tokens" in usage


def _tokens(usage: dict[str, Any], known: Tokens) -> Tokens:
    writes = usage.get("cache_creation")
    writes = writes if isinstance(writes, dict) else {}
    all_writes = _count(usage, "cache_creation_input_tokens", known.cache_write_5m + known.cache_write_1h)
    hour = min(_count(writes, "ephemeral_1h_input_tokens", known.cache_write_1h), all_writes)
    return Tokens(
        input=_count(usage, "input_tokens", known.input),
        output=_count(usage, "output_tokens", known.output),
        cache_read=_count(usage, "cache_read_input_tokens", known.cache_read),
        cache_write_5m=all_writes - hour,
        cache_write_1h=hour,
    )


def _sum(rounds: list[Tokens]) -> Tokens:
    return Tokens(
        input=sum(each.input for each in rounds),
        output=sum(each.output for each in rounds),
        cache_read=sum(each.cache_read for each in rounds),
        cache_write_5m=sum(each.cache_write_5m for each in rounds),
        cache_write_1h=sum(each.cache_write_1h for each in rounds),
    )


def _count(figures: dict[str, Any], name: str, default: int) -> int:
    value = figures.get(name)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else default
