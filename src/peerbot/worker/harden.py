"""Keeps the supervisor's token from the agent that it supervises.

Both run as the same user. A process may read others of its user through `/proc/PID/environ`, `mem` and `maps`, or
attach to them, unless they are not dumpable. Call this first of all, before there is anything to read.
"""

import ctypes
import os
import struct
import sys

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2


def harden() -> bool:
    """Make this process unreadable to others of its user, and let it and its children gain no privileges.

    Returns True if both hold; False if the system is not Linux, or refused. Children that execute another program are
    readable again, but they can't gain privileges either.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    hardened = all(
        libc.prctl(option, value, 0, 0, 0) == 0 for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1))
    )
    _draw_a_line(libc)
    return hardened


def landlock() -> int:
    """Return the version of the kernel's Landlock, or 0 if it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)))


def _draw_a_line(libc: ctypes.CDLL) -> None:
    """Cut this process and its children off from the processes that were there before, as far as the kernel can.

    From Linux 6.12 on (Landlock's sixth ABI) they can't read, trace or signal any process outside, nor connect to
    its abstract sockets: those belong to the network that a sandbox shares with its machine, and carry desktops.
    """
    wanted = struct.pack("QQQ", 0, 0, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)  # files and ports stay as they are
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, wanted, len(wanted), 0)
    if rules >= 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0)
        os.close(rules)
