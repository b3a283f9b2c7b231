"""What a dispatcher asks of the system for its own process: files for its connections, and memory that goes back."""

import ctypes
import os
import resource
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # mallopt(3)
_M_ARENA_MAX = -8
_RETURNED_BYTES = 1024 * 1024


def raise_file_limit() -> int:
    """Let this process open as many files and sockets as the system allows; returns how many that is.

    Each connection is one, and the usual limit is 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS calls its limit unlimited, and takes no such value
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")


def return_large_blocks() -> None:
    """Let glibc give each block of a megabyte or more back to the system as soon as it is free.

    By itself it learns to keep blocks of up to 32 MiB for the next of that size: after a few large transcripts the
    process would stay at three times its size. Elsewhere than on glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)
        libc.mallopt(_M_ARENA_MAX, 2)
