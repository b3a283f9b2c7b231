"""The facts that a turn tells people besides the agent's own words. `slack/words.py` puts them into words.

A replica of the previous release reads a kind of note that it does not know as `Unknown`, so that it can still read
the turn.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from peerbot.conversation.ends import RunEnd


class Claude(StrEnum):
    """Why Claude gave no answer."""

    NO_CREDIT = "no_credit"
    NO_SUCH_MODEL = "no_such_model"
    ANSWER_TOO_LONG = "answer_too_long"
    NOT_ACCEPTED = "not_accepted"
    KEY_REFUSED = "key_refused"
    NOT_ALLOWED = "not_allowed"
    CONVERSATION_TOO_LONG = "conversation_too_long"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    DECLINED = "declined"
    NO_ANSWER = "no_answer"
    DIED = "died"  # Claude Code ended in the middle of the turn, twice


class SessionLoss(StrEnum):
    """Why the agent could not go on with an earlier session."""

    DAMAGED = "damaged"
    GONE = "gone"
    UNREADABLE = "unreadable"  # for Claude Code
    TOO_LONG_TO_GO_ON = "too_long_to_go_on"
    TOO_LONG_FOR_CLAUDE = "too_long_for_claude"


class Refusal(StrEnum):
    """Why somebody may not use the bot here."""

    UNKNOWN_PERSON = "unknown_person"
    UNKNOWN_CHANNEL = "unknown_channel"
    DEACTIVATED = "deactivated"
    BOT = "bot"
    OUTSIDER = "outsider"
    GUEST = "guest"
    SHARED_CHANNEL = "shared_channel"
    DIRECT_MESSAGES_OFF = "direct_messages_off"
    PRIVATE_CHANNELS_OFF = "private_channels_off"


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True)


class Failed(_Note):
    """Claude gave no answer."""

    kind: Literal["failed"] = "failed"
    why: Claude


class BudgetUsedUp(_Note):
    """The run has spent its budget."""

    kind: Literal["budget_used_up"] = "budget_used_up"
    budget_usd: float


class TimeUp(_Note):
    """The turn ran out of time: what it waited for, or the steps that are done and left, and the agent's last words."""

    kind: Literal["time_up"] = "time_up"
    minutes: float
    waited_for: Claude | None = None
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    last_words: str = ""


class NotBegun(_Note):
    """The turn failed before it asked its agent. `reason` is a whole sentence."""

    kind: Literal["not_begun"] = "not_begun"
    reason: str


class NewSession(_Note):
    """The agent began a new session, since it could not go on with its earlier one."""

    kind: Literal["new_session"] = "new_session"
    why: SessionLoss


class SessionNotKept(_Note):
    """The turn's session is too long to keep."""

    kind: Literal["session_not_kept"] = "session_not_kept"


class NotPushed(_Note):
    """The turn's changes are not on the branch.

    `kept`: they are in the journal. If not, the worker keeps them for `waits_seconds`. `diverged`: somebody else's
    commits on the branch are in the way. `reason` is a whole sentence.
    """

    kind: Literal["not_pushed"] = "not_pushed"
    reason: str
    kept: bool
    diverged: bool
    waits_seconds: float


class NoPullRequest(_Note):
    """The work is on the branch, and the pull request could not be opened. `reason` is a whole sentence."""

    kind: Literal["no_pull_request"] = "no_pull_request"
    reason: str


class NewBranch(_Note):
    """The turn began a new branch. `reason` says why, without a full stop."""

    kind: Literal["new_branch"] = "new_branch"
    branch: str
    reason: str


class Saved(_Note):
    """The saved work of a turn that we gave up: a ref, and a branch if it exists. `known`: GitHub answered."""

    repository: str
    folder: str  # of the refs with the saved work
    known: bool = True
    ref: str = ""
    branch: str = ""


class GivenUp(_Note):
    """The runs that worked on the turn kept ending. `saved` is None if the conversation has no repository yet."""

    kind: Literal["given_up"] = "given_up"
    end: RunEnd  # of the last run
    said: str = ""  # from the runtime, in words for people: why that run ended
    saved: Saved | None = None


class NotStarted(_Note):
    """No worker could be started, and another try would be no use. `said` as in `GivenUp`."""

    kind: Literal["not_started"] = "not_started"
    said: str


class WaitedTooLong(_Note):
    """The message is so old that PeerBot began no work unasked."""

    kind: Literal["waited_too_long"] = "waited_too_long"


class NoRepository(_Note):
    """PeerBot could not find or make a repository. `reason` is one or more whole sentences."""

    kind: Literal["no_repository"] = "no_repository"
    reason: str


class Refused(_Note):
    """This person may not use the bot here."""

    kind: Literal["refused"] = "refused"
    why: Refusal


class NothingAsked(_Note):
    """Somebody called the bot and wrote nothing else."""

    kind: Literal["nothing_asked"] = "nothing_asked"


class Unknown(_Note):
    """A note of a kind that this release does not know. People see nothing of it."""

    kind: str


def _tag(value: Any) -> str:
    kind = str(value.get("kind") if isinstance(value, Mapping) else value.kind)
    return kind if kind in _KINDS else "unknown"


Note = Annotated[
    Annotated[Failed, Tag("failed")]
    | Annotated[BudgetUsedUp, Tag("budget_used_up")]
    | Annotated[TimeUp, Tag("time_up")]
    | Annotated[NotBegun, Tag("not_begun")]
    | Annotated[NewSession, Tag("new_session")]
    | Annotated[SessionNotKept, Tag("session_not_kept")]
    | Annotated[NotPushed, Tag("not_pushed")]
    | Annotated[NoPullRequest, Tag("no_pull_request")]
    | Annotated[NewBranch, Tag("new_branch")]
    | Annotated[GivenUp, Tag("given_up")]
    | Annotated[NotStarted, Tag("not_started")]
    | Annotated[WaitedTooLong, Tag("waited_too_long")]
    | Annotated[NoRepository, Tag("no_repository")]
    | Annotated[Refused, Tag("refused")]
    | Annotated[NothingAsked, Tag("nothing_asked")]
    | Annotated[Unknown, Tag("unknown")],
    Discriminator(_tag),
]

_KINDS = {kind.model_fields["kind"].default for kind in _Note.__subclasses__() if "kind" in kind.model_fields}
