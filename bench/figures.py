"""Figures, how they are shown, and the clock that reads their times from our own log events."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report: a measurement, its comparison, and the conclusion from both."""

    what: str
    ours: str
    beside: str
    theirs: str
    comparison: str
    target: str
    samples: int

    def cells(self) -> list[str]:
        return [self.what, self.ours, self.beside, self.theirs, self.comparison, self.target, str(self.samples)]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report, for results that are no pairs of figures."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass(slots=True)
class Section:
    """The report of one bench."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Write the report in the form of docs/performance.md."""
        parts = [f"### {self.title}"]
        if self.figures:
            parts.append(table(FIGURE_HEAD, [figure.cells() for figure in self.figures]))
        for shown in self.tables:
            parts += [shown.caption, table(shown.head, shown.rows)]
        return "\n\n".join([*parts, *self.notes])


FIGURE_HEAD = ["what", "PeerBot", "compared with", "that is", "difference, ratio", "target", "samples"]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def milliseconds(value: float) -> str:
    return f"{value * 1000:.2f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"


def mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


class Clock(logging.Handler):
    """Knows when each log event of this process happened (seconds since the epoch)."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[tuple[float, str]] = []

    @classmethod
    def start(cls) -> Self:
        """Listen to all of PeerBot's own loggers in this process."""
        clock = cls()
        logging.getLogger("peerbot").addHandler(clock)
        return clock

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            self._events.append((record.created, str(record.msg.get("event"))))

    async def first(self, event: str, after: float) -> float:
        """Wait for the first such event after a time; returns the event's time."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                for at, name in self._events:
                    if name == event and at >= after:
                        return at
                await asyncio.sleep(0.01)


def logged(file: Path, conversation: str, after: float) -> dict[str, float]:
    """Find when each kind of event of a conversation came first in another process's log, after a time.

    Events that name no conversation count for every conversation: a worker has only one, and names it once it knows it.
    """
    found: dict[str, float] = {}
    for line in file.read_text().splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            at = datetime.fromisoformat(event["timestamp"]).timestamp()
            if at >= after and event.get("conversation", conversation) == conversation:
                found.setdefault(event["event"], at)
    return found


def now() -> float:
    return time.time()
