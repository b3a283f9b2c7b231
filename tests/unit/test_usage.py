"""Metering never gets in the way of the stream that it meters."""

import json

from hypothesis import given
from hypothesis import strategies as st

from peerbot.claude.usage import UsageMeter

HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"\n",
            b"data:",
            b'data: {"type":"message_start","message":',
            b'data: {"type":"message_delta","usage":{"output_tokens":' + b"9" * 400 + b"}}\n",
            b'data: {"type":"message_delta","usage":' + b"[" * 5000 + b"\n",
            b'data: {"type":"message_start","message":{"model":7,"usage":{"input_tokens":-5,"cache_creation":[]}}}\n',
            b'data: {"type":"message_delta","usage":{"output_tokens":true}}\n',
        ]
    ),
)


@given(st.sampled_from(["text/event-stream", "application/json", ""]), st.lists(HOSTILE, max_size=10))
def test_whatever_the_reply_holds_the_meter_reads_on_and_never_falls(content_type: str, chunks: list[bytes]) -> None:
    meter = UsageMeter()
    meter.begin(content_type)
    before = meter.cost_usd
    for chunk in chunks:
        meter.received(chunk)
    meter.end()
    assert 0 <= before <= meter.cost_usd < 1_000_000


def test_a_line_beyond_all_bounds_is_skipped_and_the_next_one_is_read() -> None:
    meter = UsageMeter()
    meter.begin("text/event-stream")
    for _ in range(40):
        meter.received(b"data: " + b"x" * 100_000)
    usage = {"type": "message_delta", "usage": {"output_tokens": 1000}}
    meter.received(b"\ndata: " + json.dumps(usage).encode() + b"\n\n")
    assert meter.cost_usd > 0
    assert len(meter._buffer) < 10


def test_output_is_estimated_until_its_figure_comes() -> None:
    meter = UsageMeter()
    meter.begin("text/event-stream")
    meter.received(b'data: {"type":"message_start","message":{"model":"sonnet","usage":{"output_tokens":1}}}\n')
    for _ in range(10):
        meter.received(b'data: {"type":"content_block_delta","delta":{"text":"' + b"x" * 4000 + b'"}}\n')
    assert 0.1 < meter.cost_usd < 0.2
    meter.received(b'data: {"type":"message_delta","usage":{"output_tokens":1000}}\n')
    assert meter.cost_usd == 0.015
