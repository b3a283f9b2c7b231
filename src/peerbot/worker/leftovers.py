"""Ends the programs that outlive Claude Code: a tool that never ends, a server in the background.

A killed CLI takes none of its tools along, and nobody looks after a program in the background. All have inherited the
run's own token in their environment, and we find them by it. A program that cleared its environment is not found; it
ends with the run (`runs/guard.py`).
"""

import os
import signal
from pathlib import Path

from peerbot.logs import logger

log = logger(__name__)

_PROC = Path("/proc")


def end_leftovers(mark: str) -> None:
    """End (SIGKILL) every process whose environment holds `mark`. Does nothing if there is no /proc.

    A program may start another while it is being ended, so this looks again until none is left, up to ten times.
    """
    ended: set[int] = set()
    for _ in range(10):
        found = [pid for pid in _pids() if _has(pid, mark.encode())]
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                ended.add(pid)
            except (ProcessLookupError, PermissionError):
                continue
    if ended:
        log.info("leftovers_ended", processes=len(ended))


def _pids() -> list[int]:
    try:
        return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]
    except OSError:
        return []


def _has(pid: int, mark: bytes) -> bool:
    try:
        return mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")  # nosemgrep: a-link-is-followed
    except OSError:
        return False  # it has ended, or is not ours
