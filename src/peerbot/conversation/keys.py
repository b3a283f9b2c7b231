"""The name of a conversation, and every name that is made from it.

All names outside Slack (Job, branch, checkpoint ref) come from here. They are deterministic, so that two replicas make
the same one, and they are valid where they are used, whatever Slack's ids look like.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

BRANCH_PREFIX = "peerbot"
AUTHOR = ("PeerBot", "peerbot@users.noreply.github.com")
"""The name and the e-mail address under which PeerBot commits."""
_MOST_PREFIXES = 9

_ID = re.compile(r"[A-Z][A-Z0-9]{1,30}")
_TS = re.compile(r"\d{1,12}\.\d{6}")


@dataclass(frozen=True, slots=True, order=True)
class Conversation:
    """One Slack thread (or DM thread): its workspace, its channel and its first message.

    Raises `ValueError` if a part does not look like Slack's own: the parts become object keys and paths.
    """

    team: str
    channel: str
    thread_ts: str

    def __post_init__(self) -> None:
        if not (_ID.fullmatch(self.team) and _ID.fullmatch(self.channel) and _TS.fullmatch(self.thread_ts)):
            raise ValueError(f"not a conversation: {self.team!r}/{self.channel!r}/{self.thread_ts!r}")

    @classmethod
    def parse(cls, path: str) -> "Conversation":
        """Read `team/channel/thread_ts`, as `str()` writes it."""
        team, channel, thread_ts = path.split("/")
        return cls(team, channel, thread_ts)

    def __str__(self) -> str:
        return f"{self.team}/{self.channel}/{self.thread_ts}"

    @property
    def id(self) -> str:
        """Sixteen lower-case letters and digits: 80 bits of the name's hash, safe in DNS labels and refs."""
        return base64.b32encode(hashlib.sha256(str(self).encode()).digest()[:10]).decode().lower()

    def job_name(self, run: int) -> str:
        """Name the Kubernetes Job of run `run`: at most 63 characters (RFC 1123), the same on every replica."""
        return f"claude-worker-{self.id}-{run}"

    @property
    def branch(self) -> str:
        """The conversation's first branch, unless the repository or the settings need another prefix."""
        return self.branch_below(BRANCH_PREFIX)

    def branch_below(self, prefix: str) -> str:
        """Name the conversation's first branch below `prefix`: the day on which it began, and its id."""
        day = datetime.fromtimestamp(float(self.thread_ts), UTC).date().isoformat()
        return f"{prefix}/{day}-{self.id}"

    def checkpoint_ref(self, run: int) -> str:
        """Name the ref under which run `run` keeps its checkpoints; it is never under heads or tags."""
        return f"refs/peerbot/{self.id}/{run}"


def later_branch(first: str, number: int) -> str:
    """Name a conversation's next branch, once the one before was merged, closed or deleted; `number` counts from 2."""
    return f"{first}-{number}"


def undone_branch(branch: str, turn: int) -> str:
    """Name the branch that keeps what was on a branch when turn `turn` was undone."""
    return f"{branch}-undone-{turn}"


def branch_prefixes(wanted: str) -> list[str]:
    """List the prefixes of branches to try in turn: git can't have both a branch `peerbot` and one below it."""
    return [wanted, *(f"{wanted}-{number}" for number in range(2, _MOST_PREFIXES + 1))]


def is_ts(text: str) -> bool:
    """Whether a text looks like Slack's own timestamps."""
    return _TS.fullmatch(text) is not None


def input_id(ts: str, kind: str) -> str:
    """Name an input within its conversation by its own Slack `ts` and its kind. Raises `ValueError` for a bad `ts`."""
    if not _TS.fullmatch(ts):
        raise ValueError(f"not a Slack timestamp: {ts!r}")
    return f"{ts}-{kind}"


def input_ts(identity: str) -> str:
    """Read the `ts` out of an input's name: inputs are ordered by it."""
    return identity.partition("-")[0]


def in_order(identity: str) -> tuple[int, int, str]:
    """Make the key by which inputs sort in the order in which Slack says that they happened."""
    seconds, _, micros = input_ts(identity).partition(".")
    return int(seconds), int(micros), identity


def input_kind(identity: str) -> str:
    """Read the kind out of an input's name."""
    return identity.partition("-")[2]
