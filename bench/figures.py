"""Figures, how they are shown, and the clock that they are read from: our own log events, with when they happened."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report: what we measured, beside what, and what follows from both."""

    what: str
    ours: str
    beside: str
    theirs: str
    comparison: str
    target: str
    samples: int

    def cells(self) -> list[str]:
        return [self.what, self.ours, self.beside, self.theirs, self.comparison, self.target, str(self.samples)]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def milliseconds(value: float) -> str:
    return f"{value * 1000:.2f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"


def mebibytes(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"


class Clock(logging.Handler):
    """When which log event of this process happened (seconds since the epoch)."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[tuple[float, str]] = []

    @classmethod
    def start(cls) -> Self:
        """Listen to everything that PeerBot's own loggers say here."""
        clock = cls()
        logging.getLogger("peerbot").addHandler(clock)
        return clock

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            self._events.append((record.created, str(record.msg.get("event"))))

    async def first(self, event: str, after: float) -> float:
        """Wait for the first such event after a time; returns its own."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                for at, name in self._events:
                    if name == event and at >= after:
                        return at
                await asyncio.sleep(0.01)


def logged(file: Path, conversation: str, after: float) -> dict[str, float]:
    """When each kind of event of a conversation came first in another process's log, after a time.

    Events that name no conversation count for every one: a worker has but one, and names it when it knows.
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
