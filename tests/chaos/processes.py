"""The processes of a chaos run, found from outside: by their folders, not by anything that PeerBot wrote down."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """A process below a run's folder."""

    pid: int
    run: str  # the folder's name: claude-worker-…-2
    command: tuple[str, ...]

    @property
    def is_worker(self) -> bool:
        """Whether it is the worker itself, not its guard, its sandbox or its agent."""
        return self.command[1:] == ("-I", "-m", "peerbot.worker")


def processes_below(runs: Path) -> list[Found]:
    """Every process that works in a folder of a run, sandboxed or not; zombies are none."""
    return [found for pid in _pids() if (found := _look(pid, str(runs)))]


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdecimal():
            yield int(name)


def _look(pid: int, runs: str) -> Found | None:
    proc = Path(f"/proc/{pid}")
    with suppress(OSError):
        command = tuple((proc / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
        if command == ("",):  # a zombie, or the kernel's
            return None
        places = str((proc / "cwd").readlink())
        if runs not in places:
            places = (proc / "mountinfo").read_text()
        if runs in places:
            return Found(pid, places.partition(f"{runs}/")[2].partition("/")[0], command)
    return None


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False if the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
