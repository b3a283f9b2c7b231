"""A cluster is a handful of programs: each has a name, a log of its own, a deadline to come up and one to go."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

END_SECONDS = 20.0
_POLL_SECONDS = 0.05


def until(condition: Callable[[], object], seconds: float, what: str, tail: Callable[[], str] = str) -> None:
    """Wait until `condition()` is true; an `OSError` means not yet. Raises `TimeoutError` that says `what` it was."""
    deadline = time.monotonic() + seconds
    while True:
        last = ""
        try:
            if condition():
                return
        except OSError as error:
            last = f": {error}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}{last}\n{tail()}")
        time.sleep(_POLL_SECONDS)


FIGURES: list[str] = []
"""Tables that pytest shows at its end (`conftest.py`), whatever it captures."""


def tell(text: str) -> None:
    """Tell the person who runs the tests something."""
    sys.stderr.write(f"cluster: {text}\n")
    sys.stderr.flush()


class Program:
    """A program of the cluster that can be started, ended, killed and started again; it writes into `log`."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.arguments = arguments
        self.log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return Path(self.arguments[0]).name

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} was not started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.runs, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until it is up. If it has ended instead, fail at once with the end of its log."""

        def up() -> object:
            if not self.runs:
                raise RuntimeError(f"{self.name} ended by itself\n{self.tail()}")
            return condition()

        until(up, seconds, f"{self.name} to be up", self.tail)

    def end(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process, f"{self.name} was not started"
        self._process.kill()
        self._process.wait(END_SECONDS)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it while the block runs, as on a machine that hangs."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
