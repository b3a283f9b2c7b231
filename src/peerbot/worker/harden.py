"""What keeps the supervisor's token from the agent that it supervises.

Both run as the same user, and a process of one's own user may be read through `/proc/PID/environ`, `mem` and `maps`
or attached to, unless it is not dumpable. Called first of all, before there is anything to read.
"""

import ctypes
import sys

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def harden() -> bool:
    """Make this process unreadable to others of its user, and let it and its children gain no privileges.

    True when both hold; False where the system has no such thing (it is not Linux) or refused. Children that
    execute another program are readable again; the privileges stay off for them too.
    """
    if sys.platform != "linux":
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return all(
        prctl(option, value, 0, 0, 0) == 0 for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1))
    )
