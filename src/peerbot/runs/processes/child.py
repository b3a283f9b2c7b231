"""A run's processes as the dispatcher that started them holds them: the guard, below it bubblewrap or the worker."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from peerbot.protocol.heartbeat import FD_VARIABLE
from peerbot.runs import guard
from peerbot.runs.processes.folder import HeldFolder
from peerbot.runs.processes.sandbox import Launch, Sandbox


def base_environment() -> dict[str, str]:
    """Make the variables that every run has besides its caller's: alike on every machine, none of the dispatcher's own.

    The Python that runs us comes last on the path: an agent finds one even if the system brings none.
    """
    return {"PATH": f"/usr/local/bin:/usr/bin:/bin:{sys.base_prefix}/bin", "LANG": "C.UTF-8"}


class Child:
    """A run's processes, from their start until none of them is left."""

    def __init__(self, process: asyncio.subprocess.Process, line: int) -> None:
        self._process = process
        self._line = line  # a pipe to the guard: when it closes, however it closes, all of the run ends

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        bootstrap_secret: str,
        folder: HeldFolder,
        sandbox: Sandbox | None,
        silent_seconds: float,
    ) -> "Child":
        """Start a worker whose processes hold the folder's lock. Raises `OSError` if the system refuses."""
        beats, beating = os.pipe()
        far_end, line = os.pipe()
        environment = {**base_environment(), **environment, FD_VARIABLE: str(beating)}
        output = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            with _launch(command, environment, bootstrap_secret, folder, sandbox) as launch:
                alone = ",".join(map(str, (*launch.fds, beating)))
                depth = "0" if sandbox is None else str(Sandbox.DEPTH)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", guard.__file__),
                    *(str(far_end), str(beats), str(silent_seconds), depth, alone, *launch.argv),
                    env=launch.environment,
                    cwd=folder.workspace,
                    pass_fds=(far_end, beats, beating, folder.lock, *launch.fds),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except BaseException:
            os.close(line)
            raise
        finally:
            for descriptor in (far_end, beats, beating, output):
                os.close(descriptor)
        return cls(process, line)

    @property
    def pid(self) -> int:
        """The process that the dispatcher started: the guard."""
        return self._process.pid

    def terminate(self) -> None:
        """Ask only the worker to end (SIGTERM), as Kubernetes asks a pod's first process."""
        # Not by the process's own `terminate`: before Python 3.12 it may take the exit code away from asyncio if the
        # process has just ended, and asyncio then says 255.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the run at once (SIGKILL). Idempotent."""
        if self._line >= 0:
            os.close(self._line)
            self._line = -1

    async def wait(self) -> int:
        """Wait until no process of the run is left; return the worker's exit code, 128 + n for signal n."""
        code = await self._process.wait()
        self.kill()
        # Processes that a killed guard, or one without a /proc to look into, left behind are still in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return code if code >= 0 else 128 - code


@contextmanager
def _launch(
    command: Sequence[str],
    environment: Mapping[str, str],
    bootstrap_secret: str,
    folder: HeldFolder,
    sandbox: Sandbox | None,
) -> Iterator[Launch]:
    if sandbox is not None:
        with sandbox.launch(
            command,
            environment=environment,
            workspace=folder.workspace,
            bootstrap_secret=bootstrap_secret,
            lock=folder.lock,
        ) as launch:
            yield launch
        return
    folder.bootstrap.touch(0o600)
    folder.bootstrap.write_text(bootstrap_secret)
    places = {"HOME": folder.home, "TMPDIR": folder.tmp, "PEERBOT_BOOTSTRAP_FILE": folder.bootstrap}
    yield Launch(list(command), {**environment, **{name: str(path) for name, path in places.items()}}, ())
