"""Removes a directory that an agent may have filled: however deep, however many entries, whatever it locked.

Nothing here recurses, and no path is longer than one name. So 100,000 directories inside each other cost time alone,
and a path that is longer than the kernel takes (`PATH_MAX`) is removed like another. Links are removed, never followed.
"""

import os
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = getattr(os, "O_PATH", 0)  # Linux: a descriptor of a directory that may not be read
_MOST_IN_MEMORY = 10_000


def never() -> bool:
    """Say that nothing has to stop."""
    return False


def remove(path: Path, *, seconds: float, stop: Callable[[], bool] = never) -> int:
    """Remove `path` and everything in it; returns the number of entries that stay, as far as they were seen.

    It takes `seconds` at most, and ends early if `stop` says so. What can't be removed costs itself alone, and no error
    is raised: 0 means that `path` is gone. Another call goes on where this one ended.
    """
    removal = _Removal(time.monotonic() + seconds, stop)
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    except OSError:
        return 1
    try:
        return removal.run(parent, path.name)
    finally:
        os.close(parent)


class _Removal:
    """One removal. It empties one directory at a time, and moves the directories in it up to the top first.

    So the tree becomes flat while it is removed. Each entry is removed, or moved once.
    """

    def __init__(self, until: float, stop: Callable[[], bool]) -> None:
        self._until = until
        self._stop = stop
        self._top = -1
        self._waiting: deque[str] = deque()  # moved up to the top, and not yet emptied
        self._stays = 0
        self._done = 0

    def run(self, parent: int, name: str) -> int:
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=parent)
                return 0
            self._top = _opened(name, parent)
        except FileNotFoundError:
            return 0
        except OSError:
            return 1
        try:
            self._empty_top()
        finally:
            os.close(self._top)
        if not self._stays:
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError:
                self._stays = 1
        return self._stays

    def _empty_top(self) -> None:
        while True:  # a directory that changes while it is read may hide entries from the reader
            self._stays = self._done = 0
            with os.scandir(self._top) as entries:
                for entry in entries:
                    if self._over():
                        self._stays += 1
                        return
                    self._entry(entry)
                    while self._waiting and not self._over():
                        self._folder(self._waiting.popleft())
            if not self._done:
                return

    def _entry(self, entry: "os.DirEntry[str]") -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                self._folder(entry.name)
            else:
                os.unlink(entry.name, dir_fd=self._top)
                self._done += 1
        except FileNotFoundError:
            return
        except OSError:
            self._stays += 1

    def _folder(self, name: str) -> None:
        """Empty a directory of the top's, and remove it."""
        try:
            folder = _opened(name, self._top)
        except FileNotFoundError:
            return
        except OSError:
            self._stays += 1
            return
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self._over():
                        break
                    self._out_of(folder, entry)
        except OSError:
            self._stays += 1
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=self._top)
            self._done += 1
        except OSError:
            self._stays += 1

    def _out_of(self, folder: int, entry: "os.DirEntry[str]") -> None:
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
            else:
                name = f".{secrets.token_hex(12)}"
                try:
                    os.rename(entry.name, name, src_dir_fd=folder, dst_dir_fd=self._top)
                except PermissionError:  # a directory that may not be written can't be moved
                    _unlock(entry.name, folder)
                    os.rename(entry.name, name, src_dir_fd=folder, dst_dir_fd=self._top)
                if len(self._waiting) < _MOST_IN_MEMORY:
                    self._waiting.append(name)
            self._done += 1
        except FileNotFoundError:
            return
        except OSError:
            self._stays += 1

    def _over(self) -> bool:
        return self._stop() or time.monotonic() > self._until


def _opened(name: str, parent: int) -> int:
    """Open a directory, and make sure that we may empty it. Raises `OSError`."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _unlock(name, parent)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    with suppress(OSError):
        os.fchmod(folder, 0o700)
    return folder


def _unlock(name: str, parent: int) -> None:
    """Give a directory back the rights that an agent took from it. Raises `OSError`. Never follows a link."""
    if not _PATH:
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    found = os.open(name, _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{found}").chmod(0o700)  # Linux has no chmod that takes such a descriptor
    finally:
        os.close(found)
