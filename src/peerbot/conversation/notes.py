"""The facts that a turn tells people besides the agent's own words. `slack/words.py` puts them into words.

A replica of the previous release reads a kind of note that it does not know as `Unknown`, so that it can still read
the turn.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from peerbot.conversation.choice_notes import RecordRemoved, Retried, SessionForgotten, Undone
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.fact import Fact
from peerbot.conversation.limits import MONTH, Scope


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
    CHANNEL_NOT_LISTED = "channel_not_listed"
    PERSON_NOT_LISTED = "person_not_listed"
    APP_TOO_OFTEN = "app_too_often"  # an app that may ask has done so many times today
    CHANNEL_CHOSE_OTHERS = "channel_chose_others"  # its members named the people who may ask there


class Left(StrEnum):
    """Why a path of the workspace is not on the branch."""

    UNREADABLE = "unreadable"
    REFUSED_BY_GIT = "refused_by_git"  # its encoding fails, or git takes no such file or name
    TOO_LARGE = "too_large"
    SECRET = "secret"  # noqa: S105 - GitHub's push protection found one in it
    LFS = "lfs"
    CONFLICT = "conflict"
    SUBMODULE = "submodule"  # on a commit that nobody could fetch
    IGNORED = "ignored"  # .gitignore hides it, and the agent wrote it with its own tools


class FileLoss(StrEnum):
    """Why the agent did not get a file that somebody shared."""

    NO_SCOPE = "no_scope"  # the Slack app lacks files:read, or was not installed again with it
    NOT_VISIBLE = "not_visible"  # another organization's, and Slack does not show it to the bot
    EXTERNAL = "external"  # it is somewhere else, and Slack has its address alone
    ELSEWHERE = "elsewhere"  # its address, or one that it redirects to, is not one of Slack's own
    DELETED = "deleted"
    HIDDEN = "hidden"  # beyond the limit of a free plan
    CANVAS = "canvas"  # a canvas or a list: Slack has no file of it
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    EMPTY = "empty"
    FAILED = "failed"  # Slack did not hand it over, or the worker could not keep it


class Failed(Fact):
    """Claude gave no answer."""

    kind: Literal["failed"] = "failed"
    why: Claude


class BudgetUsedUp(Fact):
    """A budget (`of_app`: an app's own) has nothing left. `month`: the month for which it holds."""

    kind: Literal["budget_used_up"] = "budget_used_up"
    budget_usd: float
    scope: Scope = Scope.TURN
    set_by: Literal["operator", "channel", "person"] = "operator"
    month: str = Field(default="", pattern=MONTH)
    of_app: bool = False


class BudgetNear(Fact):
    """Most of a budget is spent. `month` and `of_app` as in `BudgetUsedUp`."""

    kind: Literal["budget_near"] = "budget_near"
    budget_usd: float
    spent_usd: float
    scope: Scope
    set_by: Literal["operator", "channel", "person"] = "operator"
    month: str = Field(default="", pattern=MONTH)
    of_app: bool = False


class TimeUp(Fact):
    """The turn ran out of time: what it waited for, or the steps that are done and left, and the agent's last words."""

    kind: Literal["time_up"] = "time_up"
    minutes: float
    waited_for: Claude | None = None
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    last_words: str = ""


class StoppedBy(Fact):
    """Somebody stopped the turn: the steps that are done and left, and the agent's last words.

    `began`: a worker had begun. If it ended before it could keep its work itself, `saved` says where that is.
    """

    kind: Literal["stopped_by"] = "stopped_by"
    name: str  # of the person, in words
    began: bool = True
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    last_words: str = ""
    saved: "Saved | None" = None


class NotBegun(Fact):
    """The turn failed before it asked its agent. `reason` is a whole sentence."""

    kind: Literal["not_begun"] = "not_begun"
    reason: str


class NewSession(Fact):
    """The agent began a new session, since it could not go on with its earlier one."""

    kind: Literal["new_session"] = "new_session"
    why: SessionLoss


class SessionNotKept(Fact):
    """The turn's session is too long to keep."""

    kind: Literal["session_not_kept"] = "session_not_kept"


class NotPushed(Fact):
    """The turn's changes are not on the branch.

    `kept`: they are in the journal. If not, the worker keeps them for `waits_seconds`. `diverged`: somebody else's
    commits on the branch are in the way. `reason` is a whole sentence.
    """

    kind: Literal["not_pushed"] = "not_pushed"
    reason: str
    kept: bool
    diverged: bool
    waits_seconds: float


class LeftOut(Fact):
    """These paths are not on the branch, or are there as they were before. `kept`: the next turn finds them."""

    kind: Literal["left_out"] = "left_out"
    paths: dict[str, Left]
    kept: bool


class Stopped(Fact):
    """A git operation is in progress. `files` are in conflict. `kept`: the next turn can go on with it."""

    kind: Literal["stopped"] = "stopped"
    operation: str  # merge, rebase, cherry-pick, revert, am or bisect
    files: tuple[str, ...] = ()
    kept: bool


class Rewritten(Fact):
    """The agent rewrote the branch: so many commits that were pushed before are no longer on it."""

    kind: Literal["rewritten"] = "rewritten"
    commits: int


class Moved(Fact):
    """The agent committed on another branch on top of the conversation's; its commits are on the latter now."""

    kind: Literal["moved"] = "moved"
    place: str  # the branch; empty: a detached head


class Place(BaseModel):
    """Commits by the name under which they are kept: a branch, a tag, or `HEAD`."""

    model_config = ConfigDict(frozen=True)

    name: str
    commits: int


class Elsewhere(Fact):
    """Work that does not build on the branch. `files`: uncommitted changes are among it. `kept`: as in `LeftOut`."""

    kind: Literal["elsewhere"] = "elsewhere"
    places: tuple[Place, ...]
    files: bool = False
    kept: bool


class Stashes(Fact):
    """The agent left stashes. `kept`: as in `LeftOut`."""

    kind: Literal["stashes"] = "stashes"
    count: int
    kept: bool


class Nested(Fact):
    """Folders of the workspace that are repositories of their own. `kept`: the next turn finds their files."""

    kind: Literal["nested"] = "nested"
    paths: tuple[str, ...]
    kept: bool


class Replaced(Fact):
    """The agent removed the repository's history, or put another in its place.

    `files`: its files are one commit on top of the branch as it was. If not, there were none.
    """

    kind: Literal["replaced"] = "replaced"
    files: bool


class NoDifference(Fact):
    """The branch has commits, and they change nothing in the end: there is no pull request."""

    kind: Literal["no_difference"] = "no_difference"


class NoPullRequest(Fact):
    """The work is on the branch, and the pull request could not be opened. `reason` is a whole sentence."""

    kind: Literal["no_pull_request"] = "no_pull_request"
    reason: str


class NewBranch(Fact):
    """The turn began a new branch. `reason` says why, without a full stop."""

    kind: Literal["new_branch"] = "new_branch"
    branch: str
    reason: str


class Saved(Fact):
    """The saved work of a turn that we gave up, and the branch if it exists.

    `kept`: the journal has the work. The release before kept it on GitHub: in a `ref` below `folder`, if GitHub
    answered (`known`).
    """

    repository: str
    kept: bool = False
    branch: str = ""
    folder: str = ""
    known: bool = True
    ref: str = ""


class OtherRepository(Fact):
    """The work is in `repository`: `taken` has the name that it would have, and nothing proves that it is theirs."""

    kind: Literal["other_repository"] = "other_repository"
    repository: str
    taken: str


class GivenUp(Fact):
    """The runs that worked on the turn kept ending. `saved` is None if the conversation has no repository yet."""

    kind: Literal["given_up"] = "given_up"
    end: RunEnd  # of the last run
    said: str = ""  # from the runtime, in words for people: why that run ended
    saved: Saved | None = None


class NotStarted(Fact):
    """No worker could be started, and another try would be no use. `said` as in `GivenUp`."""

    kind: Literal["not_started"] = "not_started"
    said: str


class WaitedTooLong(Fact):
    """The message is so old that PeerBot began no work unasked, or went on no longer with it.

    `end`, `said` as in `GivenUp`, if runs were begun for it and kept ending through nobody's fault.
    """

    kind: Literal["waited_too_long"] = "waited_too_long"
    end: RunEnd | None = None
    said: str = ""


class NoRepository(Fact):
    """PeerBot could not find or make a repository. `reason` is one or more whole sentences."""

    kind: Literal["no_repository"] = "no_repository"
    reason: str


class Refused(Fact):
    """This person may not use the bot here."""

    kind: Literal["refused"] = "refused"
    why: Refusal


class NothingAsked(Fact):
    """Somebody called the bot and wrote nothing else."""

    kind: Literal["nothing_asked"] = "nothing_asked"


class LostFile(BaseModel):
    """A file that the agent did not get: its name (empty if Slack does not tell), and why."""

    model_config = ConfigDict(frozen=True)

    name: str
    why: FileLoss


class FilesNotRead(Fact):
    """People shared these files, and the agent did not get them."""

    kind: Literal["files_not_read"] = "files_not_read"
    files: tuple[LostFile, ...]


class Unknown(Fact):
    """A note of a kind that this release does not know. People see nothing of it."""

    kind: str


def _tag(value: Any) -> str:
    kind = str(value.get("kind") if isinstance(value, Mapping) else value.kind)
    return kind if kind in _KINDS else "unknown"


# fmt: off
Note = Annotated[
    Annotated[Failed, Tag("failed")] | Annotated[BudgetUsedUp, Tag("budget_used_up")]
    | Annotated[BudgetNear, Tag("budget_near")] | Annotated[TimeUp, Tag("time_up")]
    | Annotated[StoppedBy, Tag("stopped_by")] | Annotated[NotBegun, Tag("not_begun")]
    | Annotated[NewSession, Tag("new_session")] | Annotated[SessionNotKept, Tag("session_not_kept")]
    | Annotated[NotPushed, Tag("not_pushed")] | Annotated[LeftOut, Tag("left_out")]
    | Annotated[Stopped, Tag("stopped")] | Annotated[Rewritten, Tag("rewritten")] | Annotated[Moved, Tag("moved")]
    | Annotated[Elsewhere, Tag("elsewhere")] | Annotated[Stashes, Tag("stashes")] | Annotated[Nested, Tag("nested")]
    | Annotated[Replaced, Tag("replaced")] | Annotated[NoDifference, Tag("no_difference")]
    | Annotated[NoPullRequest, Tag("no_pull_request")] | Annotated[NewBranch, Tag("new_branch")]
    | Annotated[OtherRepository, Tag("other_repository")] | Annotated[GivenUp, Tag("given_up")]
    | Annotated[NotStarted, Tag("not_started")] | Annotated[WaitedTooLong, Tag("waited_too_long")]
    | Annotated[NoRepository, Tag("no_repository")] | Annotated[Refused, Tag("refused")]
    | Annotated[NothingAsked, Tag("nothing_asked")] | Annotated[FilesNotRead, Tag("files_not_read")]
    | Annotated[Undone, Tag("undone")] | Annotated[Retried, Tag("retried")]
    | Annotated[SessionForgotten, Tag("session_forgotten")] | Annotated[RecordRemoved, Tag("record_removed")]
    | Annotated[Unknown, Tag("unknown")],
    Discriminator(_tag),
]
# fmt: on

_KINDS = {kind.model_fields["kind"].default for kind in Fact.__subclasses__() if "kind" in kind.model_fields}
