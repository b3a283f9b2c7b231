"""Opens files in a place where an agent may have put anything: a link, a pipe, a device, a file without an end.

The promise, for a place `root` that we made ourselves and a name below it:

- Only a regular file is read, and only if no part of the name is a link. So no name leads out of `root`: neither to our
  own memory and environment (`/proc/self/…`) nor to another file of this machine.
- Nothing waits: a pipe or a device is closed again before anything is read from it.
- At most a given number of bytes is read, also of a file that grows meanwhile.
- A name that is too long, too deep, closed to us or damaged is like a name that is not there. It costs nothing else.
- What is written replaces what is there. It never goes through a link.

This holds against a program that changes the files at the same time. It does not say that the words in a file are true:
the agent may write any words, and has the rights of the worker's user.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path, PurePath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK_BYTES = 1024 * 1024

MOST_ENTRIES = 200_000
DEEPEST = 200
WALK_SECONDS = 20.0


class Kind(Enum):
    """What is at a name, itself: a link is a link, wherever it leads."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()
    OTHER = auto()  # a pipe, a socket, a device
    CLOSED = auto()  # a folder that we may not read


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a walk: its name below the place where the walk began, and what it is."""

    name: str
    kind: Kind


def kind(root: Path, name: str | PurePath) -> Kind | None:
    """Say what is at `name` below `root`; None if nothing is there, or a part of the name is a link or too long."""
    parts = _parts(name)
    if not parts:
        return None
    try:
        with _folder(root, parts[:-1]) as folder:
            mode = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return None
    return _kind(mode)


@contextmanager
def opened(root: Path, name: str | PurePath) -> Iterator[int]:
    """Open the regular file `name` below `root` for reading, and yield its descriptor. Raises `OSError` if it is none.

    The promise is the module's.
    """
    parts = _parts(name)
    if not parts:
        raise OSError(f"{str(name)!r} is no name of a file here")
    with _folder(root, parts[:-1]) as folder:
        file = os.open(parts[-1], _FILE, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("this is no regular file")
        yield file
    finally:
        os.close(file)


def read(root: Path, name: str | PurePath, *, most_bytes: int) -> bytes | None:
    """Read the regular file `name` below `root`; None if it is none, can't be read, or has more than `most_bytes`."""
    data = bytearray()
    try:
        with opened(root, name) as file:
            while chunk := os.read(file, _CHUNK_BYTES):
                data += chunk
                if len(data) > most_bytes:
                    return None
    except OSError:
        return None
    return bytes(data)


def copy(file: int, target: Path, *, most_bytes: int) -> None:
    """Copy an open file to `target`. Raises `OSError`, also if it has more than `most_bytes`; then there is no copy."""
    with _written(target) as copied:
        size = 0
        while chunk := os.read(file, _CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise OSError(f"it has more than {most_bytes} bytes")
            _write(copied, chunk)


def write(target: Path, data: bytes) -> None:
    """Write a file in place of what is at `target`. Raises `OSError`."""
    with _written(target) as file:
        _write(file, data)


def walk(root: Path, name: str = "", *, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Yield everything below the folder `name` of `root`, in no order. Folders named as in `skip` are left out.

    It ends after 200,000 entries or 20 seconds, and goes 200 folders deep. What it can't read it leaves out, but for
    folders that are closed to us.
    """
    until, left = time.monotonic() + WALK_SECONDS, MOST_ENTRIES
    start = _parts(name)
    waiting = [start]
    while waiting and left > 0 and time.monotonic() < until:
        parts = waiting.pop()
        for found in _listed(root, parts):
            left -= 1
            if found.kind is not Kind.FOLDER:
                yield found
            elif found.name.rpartition("/")[2] not in skip:
                yield found
                if len(parts) - len(start) < DEEPEST:
                    waiting.append(_parts(found.name))
            if left <= 0:
                break


def _listed(root: Path, parts: tuple[str, ...]) -> Iterator[Found]:
    prefix = "".join(f"{part}/" for part in parts)
    try:
        with _folder(root, parts) as folder, os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield Found(prefix + entry.name, _kind_of(entry))
    except PermissionError:
        if parts:
            yield Found(prefix.rstrip("/"), Kind.CLOSED)
    except OSError:
        return


def _kind_of(entry: "os.DirEntry[str]") -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    return Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER


def _kind(mode: int) -> Kind:
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}
    return kinds.get(stat.S_IFMT(mode), Kind.OTHER)


def _parts(name: str | PurePath) -> tuple[str, ...]:
    """Split a name into its parts; none of them if it would lead out of its place."""
    parts = tuple(part for part in str(name).split("/") if part not in ("", "."))
    return () if ".." in parts or str(name).startswith("/") or any("\0" in part for part in parts) else parts


@contextmanager
def _folder(root: Path, parts: tuple[str, ...]) -> Iterator[int]:
    """Open a folder below `root`, part by part, and yield its descriptor. Raises `OSError` if a part is a link."""
    folder = os.open(root, _FOLDER)
    try:
        for part in parts:
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _written(target: Path) -> Iterator[int]:
    """Yield the descriptor of a new file, which then takes the place of `target`."""
    draft = target.with_name(f".{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield file
        finally:
            os.close(file)
        draft.rename(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
