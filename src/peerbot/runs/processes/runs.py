"""Runs as child processes of the dispatcher, on one machine: in bubblewrap, or without a sandbox (decision 0006).

The machine's dispatchers know of each other's runs from the folder that they share (`folder.py`); each looks there five
times a second. A run ends with the dispatcher that started it.
"""

import asyncio
import contextlib
import math
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from peerbot.conversation.deadlines import PROCESS_GRACE_SECONDS
from peerbot.conversation.ends import DRAINED_EXIT_CODE, RunEnd, by_signal, end_of
from peerbot.conversation.keys import Conversation
from peerbot.errors import Unavailable
from peerbot.logs import logger
from peerbot.protocol.heartbeat import SILENT_SECONDS
from peerbot.runs.port import NOT_ASKED, Phase, RunEvent, Runs, RunSpec, RunState
from peerbot.runs.processes.child import Child
from peerbot.runs.processes.folder import EndNote, HeldFolder, RunFolder, run_names, sweep
from peerbot.runs.processes.sandbox import Sandbox
from peerbot.runs.watchers import Watchers
from peerbot.tasks import kept

_LOOK_SECONDS = 0.2  # how often a dispatcher looks at the shared folder
_SWEEP_SECONDS = 3600.0
_TIDY_SECONDS = 5.0  # how long a dispatcher that closes goes on removing files
_KILL_SECONDS = 10.0  # how long an end may take beyond its grace time

log = logger(__name__)


@dataclass(eq=False, slots=True)
class _OwnRun:
    """A run that this dispatcher started."""

    child: Child
    folder: HeldFolder
    started: float  # monotonic, seconds
    out_of_memory_before: int  # the machine's count of such kills
    stopping: bool = False
    too_long: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ProcessRuns(Runs):
    """Runs as processes of this machine; implements the port `Runs`.

    `directory` is the shared folder of runs. `command` starts the worker in `sandbox` (None: nothing keeps the agent
    from the user's files). A worker has `grace_seconds` between SIGTERM and SIGKILL. A run is killed if its worker
    gives no sign of life for `silent_seconds`, and, as a backstop, if it is not done after `deadline_seconds`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        command: Sequence[str],
        sandbox: Sandbox | None,
        grace_seconds: float = PROCESS_GRACE_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
        deadline_seconds: float = math.inf,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory.resolve()
        self._command = list(command)
        self._sandbox = sandbox
        self._grace_seconds = grace_seconds
        self._silent_seconds = silent_seconds
        self._deadline_seconds = deadline_seconds
        self.sandboxed = sandbox is not None
        self._own: dict[str, _OwnRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidying: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._tidier = ThreadPoolExecutor(1, "tidy up")
        self._no_more_tidying = threading.Event()
        self._watchers = Watchers()
        self._seen: dict[str, tuple[Phase, int]] = {}  # the phase and the number of wakes last seen
        self._over: dict[str, RunState] = {}  # an ended run stays ended, and a day has many: each is read once
        self._ending = self._closed = False

    @property
    def network(self) -> str:
        """The machine's own: a sandbox has no other."""
        return "machine"

    async def start(self, spec: RunSpec) -> None:
        """Start the run. It is success, too, if a run of this name exists already, alive or ended."""
        if self._closed:
            raise Unavailable("This dispatcher is closing, so it starts no more runs.")
        self._keep()
        try:
            folder = RunFolder.create(self._directory, spec.conversation, spec.run)
        except OSError as error:
            raise Unavailable(f"Could not make the run's folder in {self._directory}: {error.strerror}.") from error
        if folder is None:
            return
        before = _out_of_memory_kills()
        try:
            child = await Child.start(
                self._command, spec.environment, spec.bootstrap_secret, folder, self._sandbox, self._silent_seconds
            )
        except BaseException as error:
            folder.release()
            folder.remove()
            if isinstance(error, OSError):
                raise Unavailable(f"Could not start the worker's process: {error.strerror}.") from error
            raise
        folder.hand_over_lock()
        own = _OwnRun(child, folder, time.monotonic(), before)
        self._own[spec.name] = own
        task = asyncio.create_task(self._attend(spec, own), name=f"attend {spec.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        log.info("process_started", conversation=str(spec.conversation), run=spec.run, pid=child.pid)
        self._observe(folder)

    async def look(self, conversation: Conversation, run: int) -> RunState | None:
        """Look at the folder now; None if there is no such run."""
        return self._folder(conversation, run).state()

    async def list(self) -> list[RunState]:
        """List every run; ended ones stay for a day."""
        states = [self._state(name) for name in self._names()]
        return [state for state in states if state is not None]

    async def wake(self, conversation: Conversation, run: int) -> None:
        """Wake a run: our own watchers hear it at once, other dispatchers' watchers when those next look."""
        folder = self._folder(conversation, run)
        folder.wake()
        self._observe(folder)

    def watch(self) -> AsyncIterator[RunEvent]:
        """Yield every change from now on; several watchers may listen. Ends when the port is closed."""
        if not self._closed:
            self._observe_all()  # runs that exist already are no news
            self._keep()
        return self._watchers.add()

    async def burn(self, conversation: Conversation, run: int) -> None:
        """Do nothing: the worker has removed the file itself, or it was a pipe."""

    def ending(self) -> None:
        """Take a drain from now on as asked for: systemd, for one, asks all of a service's processes at once."""
        self._ending = True

    async def close(self) -> None:
        """End the runs that we started, end the watches, and release all that is held. Idempotent."""
        self._ending = self._closed = True
        for own in self._own.values():
            self._begin_stop(own)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._grace_seconds + _KILL_SECONDS)
            if late:
                log.error("not_all_ended", tasks=[task.get_name() for task in late])
        if self._tidying:
            await asyncio.wait(self._tidying, timeout=_TIDY_SECONDS)
        self._no_more_tidying.set()  # what stays is for the next dispatcher
        for task in filter(None, (self._keeper, self._sweeper)):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._keeper = self._sweeper = None
        self._tidier.shutdown(wait=False, cancel_futures=True)
        self._watchers.close()

    def _folder(self, conversation: Conversation, run: int) -> RunFolder:
        return RunFolder(self._directory / conversation.job_name(run))

    def _begin_stop(self, own: _OwnRun) -> None:
        if own.stopping or own.ended.is_set():
            return
        own.stopping = True
        own.child.terminate()
        asyncio.get_running_loop().call_later(self._grace_seconds, own.child.kill)

    async def _attend(self, spec: RunSpec, own: _OwnRun) -> None:
        """Wait for a run's end and write down how it ended; then clear up after it."""
        code = await self._ended(own)
        own.folder.trim_log()
        end = _how_it_ended(own, code, asked=own.stopping or self._ending)
        try:
            own.folder.end(end)
        except OSError:
            own.folder.release()  # the others then see that it ended, though not how
            log.exception("end_not_written", conversation=str(spec.conversation), run=spec.run)
        del self._own[spec.name]
        own.ended.set()
        log.info("process_ended", conversation=str(spec.conversation), run=spec.run, reason=end.reason, exit_code=code)
        self._observe(own.folder)
        tidying = asyncio.create_task(self._tidied(own.folder.clear), name=f"tidy {spec.name}")
        self._tidying.add(tidying)
        tidying.add_done_callback(self._tidying.discard)

    async def _ended(self, own: _OwnRun) -> int:
        """Wait for a run's end, and kill it if it is not done by its deadline. Returns its exit code."""
        end = asyncio.create_task(own.child.wait())
        timeout = None if math.isinf(self._deadline_seconds) else self._deadline_seconds
        done, _ = await asyncio.wait([end], timeout=timeout)
        if not done:
            own.too_long = True
            own.child.kill()
        return await end

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(kept("runs_followed", self._follow))
            self._sweeper = asyncio.create_task(kept("runs_swept", self._sweep))

    async def _sweep(self) -> None:
        """Sweep the folder of runs, at once and again and again."""
        while True:
            try:
                await self._tidied(partial(sweep, self._directory))
            except OSError:
                log.exception("runs_not_swept", directory=str(self._directory))
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _tidied(self, work: Callable[[Callable[[], bool]], None]) -> None:
        """Remove files in a thread of their own: a large checkout takes seconds, and nothing else waits for that."""
        with contextlib.suppress(RuntimeError):  # the port is closed: the next dispatcher sweeps
            await asyncio.get_running_loop().run_in_executor(self._tidier, work, self._no_more_tidying.is_set)

    async def _follow(self) -> None:
        """Look again and again for other dispatchers' changes, and keep our runs' logs short."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._observe_all()
                for own in list(self._own.values()):
                    own.folder.trim_log()
            except OSError:
                log.exception("runs_not_seen", directory=str(self._directory))

    def _observe_all(self) -> None:
        for name in self._names():
            if name not in self._seen or self._seen[name][0] is not Phase.ENDED:
                self._observe(RunFolder(self._directory / name))

    def _names(self) -> set[str]:
        """List every run, and forget all that is remembered of others."""
        names = set(run_names(self._directory))
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        self._over = {name: state for name, state in self._over.items() if name in names}
        return names

    def _state(self, name: str) -> RunState | None:
        """Say how a run is now."""
        if name not in self._over:
            state = RunFolder(self._directory / name).state()
            if state is None or state.phase is not Phase.ENDED:
                return state
            self._over[name] = state
        return self._over[name]

    def _observe(self, folder: RunFolder) -> None:
        """Tell the watchers the news about a run since we last looked."""
        state = folder.state()
        if state is None:
            return
        phase, wakes = self._seen.get(folder.path.name, (None, 0))
        self._seen[folder.path.name] = (state.phase, folder.wakes())
        if state.phase is not phase:
            self._watchers.tell(RunEvent(state.conversation, state.run, woken=False))
        if state.phase is not Phase.ENDED and folder.wakes() > wakes:
            self._watchers.tell(RunEvent(state.conversation, state.run, woken=True))


def _how_it_ended(own: _OwnRun, code: int, *, asked: bool) -> EndNote:
    """Say the reason, and for the operator the exit code and, if the run died, the last lines of its worker.

    `asked`: we asked it to end, or were asked to end ourselves.
    """
    detail = f"exit code {code}"
    if code > 128:
        with contextlib.suppress(ValueError):
            detail += f" ({signal.Signals(code - 128).name})"
    detail += f" after {time.monotonic() - own.started:.1f} s"
    if own.too_long or own.stopping:
        return EndNote(reason=RunEnd.DEADLINE if own.too_long else RunEnd.DRAINED, detail=detail)
    end = end_of(code, asked=asked)
    if end.died_of_itself and (tail := own.folder.log_tail()):
        detail += f": {tail}"
    if code == 128 + signal.SIGKILL and _out_of_memory_kills() > own.out_of_memory_before:
        return EndNote(reason=RunEnd.OUT_OF_MEMORY, detail=detail)
    said = NOT_ASKED if code == DRAINED_EXIT_CODE and not asked else ""
    return EndNote(reason=end, detail=detail, said=said, by_signal=end.died_of_itself and by_signal(code))


def _out_of_memory_kills() -> int:
    """Count the processes that this machine's kernel killed because memory ran out; 0 if it does not tell."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except FileNotFoundError:
        pass
    return 0
