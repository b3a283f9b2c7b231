"""The process between a run and the dispatcher that started it: it makes sure that all of the run ends when it should.

When the worker ends, everything that it started ends, also a process that moved to another session. When the dispatcher
ends, however it ends, all of the run ends, also a sandbox that was only half made then. When the worker hangs (it is
stopped, or its event loop stands still), the guard ends it. It is a small program of its own, started as a script
without the package, so that it costs only a few milliseconds::

    python -I -S guard.py LINE BEATS SILENT DEPTH FDS COMMAND…

`LINE` is a pipe whose other end only the dispatcher holds, `BEATS` a pipe into which the worker writes while it moves.
After `SILENT` seconds without a byte there, the worker has hung. The worker is `DEPTH` generations below the command
(0: it is the command). `FDS` (`3,4,…`) are for the command alone. The exit code is the command's, 128 + n for signal n,
or `HUNG`. Without a `/proc` (macOS) the dispatcher ends the guard's process group, and nothing beyond it.

In a pod the guard is the first process, which nothing in the pod can stop or kill. Kubernetes asks a pod to end::

    python -I -S guard.py pod SILENT COMMAND…
"""

import os
import signal
import sys
import time
from select import select
from typing import NoReturn

_PR_SET_CHILD_SUBREAPER = 36
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1

HUNG = 124  # `HUNG_EXIT_CODE` of conversation/ends.py: this program starts without the package

_LOOKS = 12


def main(line: int, beats: int, silent_seconds: float, depth: int, fds: list[int], command: list[str]) -> NoReturn:
    """Run `command` until it ends, hangs, or the dispatcher ends; hand SIGTERM on to the worker."""
    _adopt_orphans()
    _leave_keys_behind()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.fork()
    if child == 0:
        os.close(beats)
        _become(command, line)
    for descriptor in fds:
        os.close(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: _ask_to_end(child, depth))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    pulse = _Pulse(beats, silent_seconds)
    while (code := _reap(child)) is None:
        ready, _, _ = select([line, woken, *pulse.pipes], [], [], pulse.left())
        if line in ready:
            _kill_all()
            os.killpg(0, signal.SIGKILL)
        if woken in ready:
            os.read(woken, 512)
        if pulse.is_gone(heard=beats in ready):
            os.write(2, f"the worker gave no sign of life for {silent_seconds:g} s\n".encode())
            code = HUNG
            break
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _kill_all()
    os._exit(code)


class _Pulse:
    """Whether the worker moves.

    It counts looks and does not read a clock: if all of us were stopped for a while, only one look is late.
    """

    def __init__(self, beats: int, silent_seconds: float) -> None:
        self.pipes = [beats]
        self._every = silent_seconds / _LOOKS
        self._silent = 0
        self._next = time.monotonic() + self._every

    def left(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._next - time.monotonic())

    def is_gone(self, *, heard: bool) -> bool:
        """Note whether the worker was heard; True if it has been silent for too long."""
        if heard:
            self._silent = 0
            if not os.read(self.pipes[0], 512):
                self.pipes = []  # no process is left that could write
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self._silent += 1
        return self._silent > _LOOKS


def _become(command: list[str], line: int) -> NoReturn:
    os.close(line)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _ask_to_end(child: int, depth: int) -> None:
    """Send SIGTERM to the worker. If it does not exist yet, kill the process that would have become it."""
    signalled, number = child, signal.SIGTERM
    for _ in range(depth):
        # The eldest: orphans of the worker that its sandbox's first process adopts are younger than the worker.
        children = _children_of(signalled)
        if not children:
            signalled, number = child, signal.SIGKILL
            break
        signalled = children[0]
    _kill(signalled, number)


def _adopt_orphans() -> None:
    """Become the parent of every process below us whose own parent ends, so that none gets away."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - macOS has no use for it

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _leave_keys_behind() -> None:
    """Begin a session keyring of our own, empty: the kernel hands the user's (Kerberos, disks) on to every child."""
    if sys.platform == "linux" and (keyctl := _KEYCTL.get(os.uname().machine)):
        import ctypes  # noqa: PLC0415

        ctypes.CDLL(None).syscall(keyctl, _KEYCTL_JOIN_SESSION_KEYRING, None)


def _kill_all() -> None:
    """Kill every process below this one. When a child dies, its children become ours."""
    while children := _children_of(os.getpid()):
        for child in children:
            _kill(child, signal.SIGKILL)
        for child in children:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                continue


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(child: int) -> int | None:
    """Collect the processes that have ended; return the child's exit code if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            exit_code = os.waitstatus_to_exitcode(status)
            code = exit_code if exit_code >= 0 else 128 - exit_code


def _children_of(pid: int) -> list[int]:
    """List the living children of a process, the eldest first; none if there is no `/proc`."""
    found: list[tuple[int, int]] = []
    try:
        processes = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - pathlib costs 10 ms
    except FileNotFoundError:
        return []
    for name in processes:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, parent, *others = file.read().rpartition(b")")[2].split()
        except (OSError, ValueError):
            continue  # it has ended
        if int(parent) == pid and state not in b"ZX":
            found.append((int(others[17]), int(name)))  # by the time when it started
    return [child for _, child in sorted(found)]


def in_a_pod(silent_seconds: float, command: list[str]) -> NoReturn:
    """Be a pod's init: hand SIGTERM on, collect processes that end, and end all when the worker ends or hangs."""
    line, _kept_open = os.pipe()
    beats, beating = os.pipe()
    os.set_inheritable(beating, True)
    os.environ["PEERBOT_HEARTBEAT_FD"] = str(beating)  # FD_VARIABLE of protocol/heartbeat.py
    main(line, beats, silent_seconds, 0, [beating], command)


if __name__ == "__main__" and sys.argv[1] == "pod":
    in_a_pod(float(sys.argv[2]), sys.argv[3:])
elif __name__ == "__main__":
    _line, _beats, _silent, _depth, _fds, *_command = sys.argv[1:]
    main(int(_line), int(_beats), float(_silent), int(_depth), [int(fd) for fd in _fds.split(",") if fd], _command)
