"""The folder of runs that the dispatchers of one machine share (decision 0006).

They know of each other's runs only from here.

::

    {directory}/{name of the run}/
        run.json       which run it is, whose, since when
        lock           locked (flock) as long as one of the run's processes lives
        dispatcher     locked by the dispatcher that started it, until it has written how it ended
        wake           grows by a byte with every wake
        end.json       how it ended
        worker.log     what the worker printed, the last of it
        workspace/ home/ tmp/     gone when it has ended

A run's folder appears whole and with both locks held, by one rename: no dispatcher can misread a half-made run, and if
two start the same run, one is first. A lock ends with the processes that hold it, whatever ended them.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from peerbot.conversation.documents import now
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.files.removal import never, remove
from peerbot.logs import logger
from peerbot.runs.port import Phase, RunState

LOG_BYTES = 1024 * 1024  # a log that has grown to twice as much is cut back to this
_KEEP_SECONDS = 24 * 3600.0  # how long the folder of an ended run stays
CLEAR_SECONDS = 300.0  # how long the removal of one folder may take at a time

log = logger(__name__)


class RunNote(BaseModel):
    """`run.json`: which run it is."""

    conversation: str
    run: int
    dispatcher: int  # its process id
    started_at: AwareDatetime = Field(default_factory=now)


class EndNote(BaseModel):
    """`end.json`: how it ended."""

    reason: RunEnd
    detail: str = ""
    said: str = ""
    by_signal: bool = False
    ended_at: AwareDatetime = Field(default_factory=now)


class RunFolder:
    """One run's folder. Every dispatcher may look, wake and read the end; the one that made it writes the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workspace = path / "workspace"
        self.home = path / "home"
        self.tmp = path / "tmp"
        self.log = path / "worker.log"
        self.bootstrap = path / "bootstrap"

    @classmethod
    def create(cls, directory: Path, conversation: Conversation, run: int) -> "HeldFolder | None":
        """Make a run's folder, with both locks held; None if one of its name exists already."""
        draft = directory / f".new-{secrets.token_hex(8)}"
        target = directory / conversation.job_name(run)
        draft.mkdir(mode=0o700)
        held = HeldFolder(draft, target)
        try:
            note = RunNote(conversation=str(conversation), run=run, dispatcher=os.getpid())
            (draft / "run.json").write_text(note.model_dump_json())
            (draft / "wake").touch(0o600)
            for name in ("workspace", "home", "tmp"):
                (draft / name).mkdir(mode=0o700)
            draft.rename(target)
        except OSError as error:
            held.release()
            shutil.rmtree(draft, ignore_errors=True)  # nosemgrep: recursion-over-an-agents-folders (ours)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return None
            raise
        return held

    def state(self) -> RunState | None:
        """Say how the run is now; None if it does not exist."""
        note = self._note()
        if note is None:
            return None
        try:
            conversation = Conversation.parse(note.conversation)
        except ValueError:
            return None  # not of our making
        if not (self.path / "end.json").exists() and any(self._is_held(lock) for lock in ("lock", "dispatcher")):
            return RunState(conversation, note.run, Phase.RUNNING)
        # Only now: its dispatcher writes the end before it releases the locks.
        end = self._read_end() or EndNote(
            reason=RunEnd.DISPATCHER_ENDED, detail=f"it ended with its dispatcher (process {note.dispatcher})"
        )
        return RunState(conversation, note.run, Phase.ENDED, end.reason, end.detail, end.said, end.by_signal)

    def wakes(self) -> int:
        """Count how often it was woken so far."""
        try:
            return (self.path / "wake").stat().st_size
        except FileNotFoundError:
            return 0

    def wake(self) -> None:
        """Wake it. Does nothing if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self.path / "wake", os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, b".")
            finally:
                os.close(descriptor)

    def trim_log(self) -> None:
        """Cut the log back to its last part if it has grown too long. Lines written meanwhile may be lost."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb+") as file:
            if os.fstat(file.fileno()).st_size <= 2 * LOG_BYTES:
                return
            file.seek(-LOG_BYTES, os.SEEK_END)
            last = file.read(LOG_BYTES)
            file.truncate(0)
            file.seek(0)
            file.write(b"(earlier lines are left out)\n" + last)

    def log_tail(self, characters: int = 500) -> str:
        """Read the last lines that the worker printed, in whole."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 4 * characters))
                text = file.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""
        return text if len(text) <= characters else text[-characters:].partition("\n")[2]

    def clear(self, stop: Callable[[], bool] = never) -> None:
        """Remove the agent's files; notes and log stay. Never raises, and ends early if `stop` says so.

        It takes as long as removing a large checkout takes, and `CLEAR_SECONDS` for each folder at most. If something
        stays, the log says so, and a later sweep tries again.
        """
        for place in (self.bootstrap, self.workspace, self.home, self.tmp):
            self._removed(place, stop)

    def remove(self, stop: Callable[[], bool] = never) -> None:
        """Remove all of it, as `clear` does."""
        self._removed(self.path, stop)

    def _removed(self, place: Path, stop: Callable[[], bool]) -> None:
        if stays := remove(place, seconds=CLEAR_SECONDS, stop=stop):
            log.warning("not_all_removed", run=self.path.name, place=place.name, entries=stays)

    def _note(self) -> RunNote | None:
        try:
            return RunNote.model_validate_json((self.path / "run.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def _read_end(self) -> EndNote | None:
        try:
            return EndNote.model_validate_json((self.path / "end.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            return EndNote(reason=RunEnd.GONE, detail=f"its end.json can't be read: {error.error_count()} problems")

    def _is_held(self, name: str) -> bool:
        """Whether somebody else holds a lock. Looks with a shared lock: no looker takes another for the holder."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)


class HeldFolder(RunFolder):
    """A run's folder in the hands of the dispatcher that made it."""

    def __init__(self, draft: Path, target: Path) -> None:
        super().__init__(target)
        self._dispatcher = _take_lock(draft / "dispatcher")
        self.lock = _take_lock(draft / "lock")

    def hand_over_lock(self) -> None:
        """Leave `lock` to the run's processes, which inherited it."""
        self._close("lock")

    def end(self, note: EndNote) -> None:
        """Write how the run ended, for every dispatcher to see, then release the locks."""
        draft = self.path / ".end.json"
        draft.write_text(note.model_dump_json())
        draft.rename(self.path / "end.json")
        self.release()

    def release(self) -> None:
        """Release both locks. Idempotent."""
        self._close("lock")
        self._close("_dispatcher")

    def _close(self, attribute: str) -> None:
        if (descriptor := getattr(self, attribute)) >= 0:
            os.close(descriptor)
            setattr(self, attribute, -1)


def run_names(directory: Path) -> Iterator[str]:
    """Yield the name of every run that has a folder: those that live, and all that ended within the last day."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry.name


def sweep(directory: Path, stop: Callable[[], bool] = never) -> None:
    """Clear the leftovers of dispatchers that died, and remove the folders of runs that ended a day ago or more.

    A folder that can't be swept costs itself alone. Ends early if `stop` says so.
    """
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    secrets.SystemRandom().shuffle(names)  # the same folders must not always be the last
    for name in names:
        if stop():
            return
        try:
            _sweep(RunFolder(directory / name), stop)
        except (OSError, ValueError) as error:
            log.warning("not_swept", run=name, reason=str(error))


def _sweep(folder: RunFolder, stop: Callable[[], bool]) -> None:
    state = folder.state()
    if state is not None and state.phase is not Phase.ENDED:
        return
    try:
        age = time.time() - folder.path.lstat().st_mtime
    except FileNotFoundError:
        return  # another dispatcher sweeps too
    if age > _KEEP_SECONDS:
        folder.remove(stop)
    elif state is not None:
        folder.clear(stop)


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor
