"""What the agent's programs leave behind when Claude Code is gone: a tool that never ends, a server in the background.

A CLI that is killed takes none of its tools along, and what a tool put into the background is nobody's. All of them
have inherited the run's own token in their environment, by which they are found. A program that cleared its
environment is not; it ends with the run (`runs/guard.py`).
"""

import os
import signal
from pathlib import Path

from peerbot.logs import logger

log = logger(__name__)

_PROC = Path("/proc")


def end_leftovers(mark: str) -> None:
    """End (SIGKILL) every process whose environment holds `mark`, until none is left. Nothing where there is no /proc.

    A program may start another while it is being ended, so it is looked more than once, but not for ever.
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
        return mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended, or is not ours
