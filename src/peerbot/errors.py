"""All errors that PeerBot raises on purpose, in one small tree.

::

    PeerBotError
    ├── SettingsError            the settings are wrong; lists all problems at once
    ├── Unavailable              a service did not answer in time; trying again may help
    │   └── Busy                 a run asks for more at once than its share
    ├── Refused                  somebody may not do this; trying again does not help
    ├── Conflict                 another writer was first; our result is thrown away
    ├── Unreadable               a document of the journal is damaged, or from a newer release
    └── TurnFailed               the agent's turn ended without an answer; tells the user why

`str(error)` is a sentence for the person who reads it. The chained cause is for the operator.
"""

from collections.abc import Sequence


class PeerBotError(Exception):
    """Something went wrong that we can name."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class SettingsError(PeerBotError):
    """The settings can't be used. `problems` lists them one by one, if there are several."""

    def __init__(self, message: str | None = None, problems: Sequence[str] = ()) -> None:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{message}{listed}" if message else None)
        self.problems = tuple(problems)


class Unavailable(PeerBotError):
    """A service that PeerBot needs did not answer. Try again in a moment."""


class Busy(Unavailable):
    """This run asks for more at once than its share. Try again in a moment."""


class Refused(PeerBotError):
    """This is not allowed."""


class Conflict(PeerBotError):
    """Another writer was first."""


class Unreadable(PeerBotError):
    """PeerBot can't read a document of the journal: it is damaged, or a newer release wrote it."""


class TurnFailed(PeerBotError):
    """The turn ended without an answer."""
