"""The process between a run and whoever started it: it sees to it that all of the run ends when it should.

When the worker ends, everything that it started ends, also what moved to another session; when the dispatcher ends,
however it ends, so does all of it, also a sandbox that was only half made then; and when the worker hangs (it is
stopped, or its event loop stands still), so does it. A small program of its own, started as a script without the
package so that it costs a few milliseconds::

    python -I -S guard.py LINE BEATS SILENT DEPTH FDS COMMAND…

`LINE` is a pipe whose other end only the dispatcher holds, `BEATS` one into which the worker writes as long as it
moves; after `SILENT` seconds without a byte there it has hung. The worker is `DEPTH` generations below the command (0:
it is the command). `FDS` (`3,4,…`) are for the command alone. The exit code is the command's, 128 + n for signal n, or
`HUNG`.
Where there is no `/proc` (macOS) only the guard's process group is ended, and by the dispatcher.

In a pod it is the first process, which nothing in there can stop or kill; a pod's end is Kubernetes' to ask for::

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

    Counted in looks, not read from a clock: where all of us were stopped for a while, one look is late, and not all.
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
        """Take note of whether the worker was heard; True where it was not for too long."""
        if heard:
            self._silent = 0
            if not os.read(self.pipes[0], 512):
                self.pipes = []  # nobody is left who could write
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
    """Send SIGTERM to the worker; where it is not there yet, end what would have become it."""
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
    """Kill every process below this one; as children die, theirs become ours."""
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
    """Collect the processes that have ended; the child's exit code when it is among them."""
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
    """The living children of a process, the eldest first; none where there is no `/proc`."""
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
    """Be a pod's init: hand SIGTERM on, collect what ends, and end all when the worker ends or hangs."""
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
