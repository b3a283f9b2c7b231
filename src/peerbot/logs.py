"""Structured logs: one JSON line per event (or a readable line on a terminal), with the values bound to the task.

Bind `conversation`, `run` and `turn` with `structlog.contextvars.bound_contextvars`. No token, prompt text or file
content goes into a log.
"""

import logging
import sys
import time
from collections import OrderedDict
from typing import TextIO

import stamina.instrumentation
import structlog

MOST_LINES, WINDOW_SECONDS = 60, 60.0
"""So many lines of one cause are written in so many seconds, where a worker or a stranger can cause them."""

_MOST_CAUSES = 1000
_CAUSED_FROM_OUTSIDE = ("peerbot.gateway", "peerbot.web", "peerbot.turns", "aiohttp", "asyncio")


class SparingFilter(logging.Filter):
    """Leaves out lines that a hostile worker or client repeats, so that it can't fill the log and hide others.

    A cause is an event of a logger, in one run if the line names one. The last line before a gap says so
    (`more_left_out`), and the first after it says how many are missing (`left_out`). Debug lines always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._causes: OrderedDict[tuple[str, ...], list[float]] = OrderedDict()  # since, lines

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is written."""
        if record.levelno < logging.INFO or not record.name.startswith(_CAUSED_FROM_OUTSIDE):
            return True
        event = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
        cause = (record.name, *(str(event.get(part, "")) for part in ("event", "conversation", "run")))
        now = time.monotonic()
        counted = self._causes.setdefault(cause, [now, 0])
        self._causes.move_to_end(cause)
        if len(self._causes) > _MOST_CAUSES:
            self._causes.popitem(last=False)
        missing = counted[1] - MOST_LINES
        if now - counted[0] >= WINDOW_SECONDS:
            counted[:] = [now, 0]
            if missing > 0 and isinstance(record.msg, dict):
                record.msg["left_out"] = int(missing)
        counted[1] += 1
        if counted[1] == MOST_LINES and isinstance(record.msg, dict):
            record.msg["more_left_out"] = True
        return counted[1] <= MOST_LINES


def configure(level: str = "INFO", *, stream: TextIO | None = None, readable: bool = False) -> None:
    """Send our logs and the libraries' to `stream` (standard error by default), from `level` on.

    Of the libraries' logs, those below WARNING never appear, so that no library writes a payload into our logs.
    """
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if readable else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(SparingFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.getLogger("peerbot").setLevel(level)
    stamina.instrumentation.set_on_retry_hooks([_tries_again])


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Get a module's logger: `log = logger(__name__)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def _tries_again(details: stamina.instrumentation.RetryDetails) -> None:
    """Log one debug line per try. The library's own would be a warning each, and would not say for what.

    The code that tries logs its own line if all tries failed.
    """
    logger(__name__).debug(
        "tries_again",
        reason=str(details.caused_by) or repr(details.caused_by),
        tried=details.retry_num,
        seconds=round(details.wait_for, 2),
    )
