"""A hostile worker can't fill the log with lines of one cause."""

import io
import json
from collections import Counter

import pytest

from peerbot import logs


@pytest.mark.parametrize(
    ("logger", "written"), [("peerbot.gateway.shares", logs.MOST_LINES), ("peerbot.dispatcher.app", 200)]
)
def test_of_lines_that_a_worker_can_cause_a_few_of_each_cause_are_written(logger: str, written: int) -> None:
    stream = io.StringIO()
    logs.configure("INFO", stream=stream)

    for _ in range(200):
        logs.logger(logger).warning("share_used_up", conversation="T/C/1", run=1)
    logs.logger(logger).warning("share_used_up", conversation="T/C/2", run=1)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert Counter(line["conversation"] for line in lines) == {"T/C/1": written, "T/C/2": 1}
    assert [line.get("more_left_out") for line in lines].count(True) == (written < 200)
