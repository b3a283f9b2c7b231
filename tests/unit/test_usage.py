"""The meter reads what a reply has used, in chunks of any size, and nothing that the reply says fools it."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peerbot.claude.events import LONGEST_EVENT_BYTES, EventReader
from peerbot.claude.prices import Tokens
from peerbot.claude.usage import Bound, UsageMeter

OPUS = "claude-opus-5-5"
BOUND = Bound(model=OPUS, tokens=Tokens(input=100_000, output=64_000), streams=True)
FORGED = 'data: {"type":"message_delta","usage":{"output_tokens":1}}\n\ndata: {"type":"message_stop"}\n\n'
SPEAKS_LIKE_EVENTS = st.sampled_from(
    [FORGED, '"content_block_delta"', '"message_start"', '"message_delta"', "\n\ndata:", "\r\r", "event: ping"]
) | st.text(max_size=20)


def line(event: dict[str, Any], end: str = "\n") -> str:
    return f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}"


def delta(**fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": fields}


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Tokens]:
    """A whole reply whose texts may say anything, and what it used."""
    count = st.integers(0, 100_000)
    used = Tokens(input=draw(count), cache_read=draw(count), cache_write_5m=draw(count), output=draw(count))
    said = draw(st.lists(SPEAKS_LIKE_EVENTS, max_size=5))
    kinds = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
    start = {"input_tokens": used.input, "cache_read_input_tokens": used.cache_read, "output_tokens": 1,
             "cache_creation_input_tokens": used.cache_write_5m}  # fmt: skip
    return [
        {"type": "message_start", "message": {"model": OPUS, "usage": start}},
        {"type": "ping"},
        *(delta(type=kind, **{name: words}) for words in said for kind, name in kinds.items()),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "stop_sequence", "stop_sequence": draw(SPEAKS_LIKE_EVENTS)},
            "usage": {"output_tokens": used.output},
        },
        {"type": "message_stop"},
    ], used


def metered(chunks: list[bytes], *, whole: bool = True, bound: Bound = BOUND, seconds: float = 600) -> float:
    meter = UsageMeter(bound)
    meter.begin("text/event-stream")
    for chunk in chunks:
        meter.received(chunk)
    if whole:
        meter.end()
    return meter.spent(seconds).usd


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(replies(), st.lists(st.integers(0, 10_000), max_size=20), st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_reply_costs_what_it_says_however_it_is_cut_and_whatever_its_texts_say(
    reply: tuple[list[dict[str, Any]], Tokens], at: list[int], end: str
) -> None:
    events, used = reply
    data = "".join(line(event, end) for event in events).encode()
    expected = Bound(model=OPUS, tokens=used, streams=True).usd
    assert metered([data]) == pytest.approx(expected)
    assert metered(cut(data, at)) == pytest.approx(expected)
    assert metered(cut(data, at), whole=False) == pytest.approx(expected), "it was left at its end"


@given(replies(), st.integers(0, 10_000))
def test_a_reply_that_is_left_early_never_costs_less(reply: tuple[list[dict[str, Any]], Tokens], until: int) -> None:
    events, used = reply
    data = "".join(line(event) for event in events).encode()
    ended = Bound(model=OPUS, tokens=used, streams=True).usd
    bound = Bound(model=OPUS, tokens=Tokens(cache_write_5m=400_000, output=100_000), streams=True)
    assert metered([data[: until % len(data)]], whole=False, bound=bound) >= ended * 0.999999


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 500), max_size=10))
@example([b"data: 1\r", b"\ndata: 2\r", b"\n\r\n"], [])
def test_events_are_the_same_however_they_are_cut(parts: list[bytes], at: list[int]) -> None:
    data = b"".join(part if b"\n" in part else b'data: {"a": 1}\r\n' + part for part in parts)

    def read(chunks: list[bytes]) -> list[tuple[dict[str, Any], int]]:
        reader = EventReader()
        return [event for chunk in chunks for event in reader.feed(chunk)] + list(reader.end())

    assert read(cut(data, at)) == read([data])


@pytest.mark.parametrize(
    ("seconds", "streams", "expected"),
    [(0.0, True, 0.5 + 2_000 * 25e-6), (10.0, True, 0.5 + 12_000 * 25e-6), (900.0, True, 2.1), (0.0, False, 2.1)],
)
def test_without_figures_a_reply_costs_the_most_that_can_be_written_in_its_time(
    seconds: float, streams: bool, expected: float
) -> None:
    bound = Bound(model=OPUS, tokens=BOUND.tokens, streams=streams)
    assert metered([b": ping\n\n"], whole=False, bound=bound, seconds=seconds) == pytest.approx(expected)


def test_what_the_events_prove_holds_if_it_is_more() -> None:
    start = line({"type": "message_start", "message": {"model": OPUS, "usage": {"input_tokens": 1000}}})
    words = [line(delta(type="text_delta", text="x" * 4000)).encode() for _ in range(10)]
    assert metered([start.encode(), *words], whole=False, seconds=0) == pytest.approx(0.005 + 10_000 * 25e-6, rel=0.02)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"output_tokens": 100, "server_tool_use": {"web_search_requests": 3}}, 0.0025 + 0.03),
        ({"output_tokens": 100, "speed": "fast"}, 0.015),
        ({"output_tokens": 100, "inference_geo": "us"}, 0.00275),
        (
            {
                "output_tokens": 100,
                "iterations": [
                    {"type": "compaction", "input_tokens": 100_000, "output_tokens": 4000},
                    {"type": "message", "input_tokens": 0, "output_tokens": 100},
                ],
            },
            0.5 + 4100 * 25e-6,
        ),
    ],
)
def test_searches_fast_answers_and_the_servers_own_rounds_have_a_price(usage: dict[str, Any], expected: float) -> None:
    first = {"input_tokens": 0, "output_tokens": 1}
    start = {"type": "message_start", "message": {"model": OPUS, "usage": first}}
    events: list[dict[str, Any]] = [
        start,
        {"type": "message_delta", "delta": {}, "usage": usage},
        {"type": "message_stop"},
    ]
    assert metered([line(event).encode() for event in events]) == pytest.approx(expected)


def test_the_dearer_of_the_model_asked_and_the_model_that_replied_counts() -> None:
    meter = UsageMeter(Bound(model="claude-haiku-5-5", tokens=Tokens(), streams=False))
    meter.begin("application/json")
    meter.received(json.dumps({"model": OPUS, "usage": {"input_tokens": 0, "output_tokens": 1000}}).encode())
    meter.end()
    assert meter.spent(0).usd == pytest.approx(0.025)
    assert Bound(model="other", tokens=Tokens(output=1000), streams=True).usd == pytest.approx(0.075), "unknown"


def test_an_event_beyond_all_bounds_is_dropped_and_what_comes_after_it_is_read() -> None:
    reader = EventReader()
    for _ in range(3 * LONGEST_EVENT_BYTES // 100_000):
        assert not list(reader.feed(b"data: " + b"x" * 100_000))
    assert len(reader._line) <= LONGEST_EVENT_BYTES
    assert not list(reader.feed(b"\ndata: more of it\n\n"))
    assert [event for event, _ in reader.feed(b'data: {"type": "ping"}\n\n')] == [{"type": "ping"}]


HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"\n",
            b"\n\n",
            b"data:",
            b'data: {"type":"message_start","message":',
            b'data: {"type":"message_delta","usage":{"output_tokens":' + b"9" * 400 + b"}}\n\n",
            b'data: {"type":"message_delta","usage":' + b"[" * 5000 + b"\n\n",
            b'data: {"type":"message_start","message":{"model":7,"usage":{"input_tokens":-5,"cache_creation":[]}}}\n\n',
            b'data: {"type":"message_delta","usage":{"output_tokens":true,"iterations":7}}\n\n',
            b'data: {"type":"message_delta","usage":{"output_tokens":1,"iterations":[7,{}],"server_tool_use":1}}\n\n',
        ]
    ),
)


@given(st.sampled_from(["text/event-stream", "application/json", ""]), st.lists(HOSTILE, max_size=10))
def test_whatever_the_reply_holds_the_meter_reads_on(content_type: str, chunks: list[bytes]) -> None:
    meter = UsageMeter(BOUND)
    meter.begin(content_type)
    for chunk in chunks:
        meter.received(chunk)
    meter.end()
    assert 0 <= meter.spent(1.0).usd < 1_000_000
