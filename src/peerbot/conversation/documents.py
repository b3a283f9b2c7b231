"""The journal's documents: inputs, runs, turns and their receipts (decision 0001).

Each is written once and never changed. It carries `schema: 1`, and a nonce by which its writer recognizes it after a
lost reply. Readers ignore unknown keys, so that a replica of the previous release can read the documents.
"""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation, input_id
from peerbot.conversation.notes import BudgetUsedUp, Note, NothingAsked, StoppedBy
from peerbot.conversation.spent import Spent


def now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


class Document(BaseModel):
    """One object of the journal."""

    # Validation errors must not quote people's words: such errors end in logs.
    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True, hide_input_in_errors=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    nonce: str = Field(default_factory=lambda: secrets.token_hex(8))


class Started(Document):
    """`conversation.json`: the person who began it, and the repository and branch of its work."""

    began_by: str
    repository: str  # owner/name
    default_branch: str
    branch: str
    instead_of: str = ""  # a repository that is not theirs, and has the name that theirs would have
    base: str = ""  # the branch that people set, from which the work begins; empty: the repository's default branch
    model: str = ""  # that people set
    channel_instructions: str = ""  # of the channel's members, for the agent
    person_instructions: str = ""  # of the person who began it
    began_at: AwareDatetime = Field(default_factory=now)


class Branch(Document):
    """`branches/{i}.json`: the conversation's branch from turn `turn` on, instead of the one before (`i` from 2)."""

    i: int
    branch: str
    turn: int
    reason: str  # why there is a new branch, in words for people
    begun_at: AwareDatetime = Field(default_factory=now)


Door = Literal["message", "button", "reaction", "command", "session"]
"""How somebody did something: they wrote it, pressed our button, put a sign on a message, used our command, or pressed
Slack's own Stop."""


class SharedFile(BaseModel):
    """A file that a person shared with a message, as Slack described it. Of a stub Slack tells the id alone."""

    id: str
    name: str = ""
    size: int = 0  # in bytes
    type: str = ""  # its media type
    mode: str = ""  # Slack's word for what it is: hosted, snippet, external, tombstone …


class Input(Document):
    """`inputs/{ts}-{kind}.json`: a person's action, as Slack reported it."""

    kind: Literal["message", "edit", "delete", "stop", "answer", "choice"] = "message"
    door: Door = "message"
    team: str
    channel: str
    thread_ts: str
    ts: str
    user: str
    user_team: str | None = None
    channel_type: str | None = None
    text: str  # as Slack sent it, escaped
    files: list[SharedFile] = Field(default_factory=list)
    event_id: str
    edited: str = ""  # of a message that was recorded as an edit had left it: the edit's `ts`
    of: str = ""  # of an edit or a deletion: the `ts` of the message; of an answer: the question's id
    picks: list[list[int]] = Field(default_factory=list)  # of an answer: the numbers of the choices, item by item
    turn: int | None = None  # of a stop: the turn that it is for; None: the one that is at work; of a choice: its turn
    act: str = ""  # of a choice: an `Act` (`conversation/choices.py`), or one of a newer release
    received_at: AwareDatetime = Field(default_factory=now)

    @property
    def conversation(self) -> Conversation:
        """The conversation that it belongs to."""
        return Conversation(self.team, self.channel, self.thread_ts)

    @property
    def is_of_an_app(self) -> bool:
        """Whether another app did it: `user` is the id of its bot then."""
        return self.user.startswith("B")

    @property
    def id(self) -> str:
        """Its name within the conversation."""
        return input_id(self.ts, self.kind)


class Settled(Document):
    """`settled/{ts}-{kind}.json`: this input had no effect, and its author was told why (or soon is)."""

    why: str  # as in `conversation/decide.py`, or in `Refusal`
    said: str = ""  # the sentence that its author read, if `why` alone does not say it
    settled_at: AwareDatetime = Field(default_factory=now)


class TellClaim(Document):
    """`settled/{ts}-{kind}.again-{i}`: a dispatcher tells the author again: nobody knows whether they were told."""

    claimed_at: AwareDatetime = Field(default_factory=now)


class Chosen(Document):
    """`chosen/{k}/{i}.json`: of all choices about turn `k`, this one has the effect.

    Number `i` is taken only if the choice before it turned out to have none (it is settled). The highest number holds.
    """

    input: str
    act: str
    user: str
    chosen_at: AwareDatetime = Field(default_factory=now)


class WentBack(Document):
    """`back/{k}.json`: the branch is back at the commit before turn `k`, and `kept_on` has what was there.

    `kept_on` is empty if turn `k` had put nothing on the branch.
    """

    turn: int
    branch: str = ""
    kept_on: str = ""  # the name of a branch
    went_at: AwareDatetime = Field(default_factory=now)


class Feedback(Document):
    """`feedback/{k}/{user}-{ts}.json`: what a person thinks of the answer of turn `k`; their newest counts."""

    user: str
    good: bool
    given_at: AwareDatetime = Field(default_factory=now)


class Marker(Document):
    """`pending/…/{ts}-{kind}`: this input is not answered yet."""

    recorded_at: AwareDatetime = Field(default_factory=now)


class Run(Document):
    """`runs/{n}.json`: reserved before the run exists."""

    n: int
    serves: list[str] = Field(alias="for")  # input ids
    secret_hash: str  # of the one-use bootstrap secret
    repository: str
    default_branch: str
    branch: str
    reserved_by: str  # the dispatcher
    reserved_at: AwareDatetime = Field(default_factory=now)


class Held(BaseModel):
    """What a run was told to keep to when its worker called."""

    model: str = ""  # empty: Claude Code's own default
    budget_usd: float = Field(ge=0)  # of a turn
    turn_seconds: float = Field(ge=0)
    network: str = ""  # what the agent's programs reach, as `runs/port.py` has it; empty: nobody knows


class RunStarted(Document):
    """`runs/{n}.started`: the run's worker has called. Holds the hashes of its tokens."""

    supervisor_hash: str
    agent_hash: str
    held: Held | None = None  # what it was told to keep to; None in runs of the release before
    started_at: AwareDatetime = Field(default_factory=now)


class RunClosed(Document):
    """`runs/{n}.closed`: the run ended, and its tokens are dead."""

    reason: RunEnd
    detail: str = ""
    said: str = ""  # why, for people: the end of a sentence, as "it ran out of memory"
    by_signal: bool = False  # a signal ended its worker, or may have, and as far as we know nobody outside sent it
    closed_at: AwareDatetime = Field(default_factory=now)


class PullRequest(BaseModel):
    """A pull request on the forge."""

    number: int
    url: str


class FileChange(BaseModel):
    """A turn's change to one file, in lines; `None` for binary files."""

    path: str
    added: int | None
    removed: int | None


class SessionRef(BaseModel):
    """The place of the agent's transcript: `sessions/{turn}/{run}/`, as one compressed whole."""

    id: str
    turn: int
    run: int


class KeptWork(BaseModel):
    """The place of work that no branch has: `work/{turn}/{run}/{part}.bundle`, on top of commit `base`."""

    turn: int
    run: int
    part: int | None = None  # None: `work/{turn}/{run}.bundle`, from the release before
    base: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # none: in an empty repository


class TurnTimes(BaseModel):
    """When things of a turn happened, for people to see: by the worker's clock, but `first_request` by the gateway's.

    `cloned`: only of the turn with which a run began. `saved`: the last checkpoint of the last run, one of `saves`.
    """

    cloned: AwareDatetime | None = None
    first_request: AwareDatetime | None = None  # to Claude
    saved: AwareDatetime | None = None
    saves: int = Field(default=0, ge=0)
    pushed: AwareDatetime | None = None


class TurnStatus(StrEnum):
    """How a turn ended."""

    DONE = "done"
    FAILED = "failed"  # with a reason that the user can read
    REFUSED = "refused"  # by policy, without a run


class Turn(Document):
    """`turns/{k}.json`: one stretch of work, its result and the inputs that it answers."""

    k: int
    run: int | None  # None: the dispatcher itself answered
    inputs: list[str] = Field(alias="answers")  # ids of those that it answers
    status: TurnStatus
    text: str  # the agent's own words, in Markdown; in turns from before notes were kept, these are in it, too
    notes: list[Note] = Field(default_factory=list)  # what else we tell people
    repository: str | None = None
    branch: str | None = None
    commit: str | None = None
    kept: KeptWork | None = None  # work that is on no branch yet
    pull_request: PullRequest | None = None
    files: list[FileChange] = Field(default_factory=list)
    session: SessionRef | None = None
    model: Literal["claude", "demo"] | None = None
    cost_usd: float | None = None  # all of it
    spent: list[Spent] = Field(default_factory=list)  # by model; empty in turns of the release before
    seconds: float | None = None
    began: bool = True  # False: it failed before it asked its agent, and everything saved before is still saved
    deferred: str = ""  # the id of the question for whose answer its agent waits
    before: str | None = None  # the commit at which its work began: the branch's head, or where the branch began
    undoes: int | None = None  # the branch was put back to before this turn, and its saved work no longer counts
    times: TurnTimes = Field(default_factory=TurnTimes)
    forgets: int | None = None  # the agent no longer remembers this turn and those after it, up to this one
    ended_at: AwareDatetime = Field(default_factory=now)

    @property
    def turned_away(self) -> bool:
        """Whether its inputs were refused: their authors may not use the bot. Help for an empty message is none."""
        return self.status is TurnStatus.REFUSED and not any(isinstance(note, NothingAsked) for note in self.notes)

    @property
    def stopped(self) -> StoppedBy | None:
        """Who stopped it, and how far it was; None if nobody did."""
        return next((note for note in self.notes if isinstance(note, StoppedBy)), None)


class Card(Document):
    """`turns/{k}.card`: the turn's progress message in Slack."""

    channel: str
    ts: str


class Posted(Document):
    """`turns/{k}.posted`, the receipt: the whole answer of the turn is in Slack, or it never will be."""

    ts: list[str]  # of its parts, in order
    refused: str = ""  # Slack's error code, if it will never take the answer; then `ts` is empty
    posted_at: AwareDatetime = Field(default_factory=now)


class RepostClaim(Document):
    """`turns/{k}.repost-{i}`: a dispatcher posts the turn again, since there is no receipt. It holds for a while."""

    claimed_by: str  # the dispatcher
    claimed_at: AwareDatetime = Field(default_factory=now)


class Slice(Document):
    """`spent/{k}/{i}.json`: a part of turn `k`'s budget that a dispatcher took, to spend it for run `run`.

    A run that has begun the turn has one, at least of 0.
    """

    run: int
    usd: float
    user: str = ""  # the person who pays for the turn; the first slice that has one counts
    taken_at: AwareDatetime = Field(default_factory=now)


class Returned(Document):
    """`spent/{k}/{i}.returned`: the part of the slice that its dispatcher did not spend, and will not."""

    usd: float


class Usage(Document):
    """`spent/{k}/{i}.used-{n}`: what the dispatcher that took slice `i` first has spent on turn `k` up to now.

    The highest `n` of each `i` counts.
    """

    spent: list[Spent]
    used_up: BudgetUsedUp | None = None  # the budget for which it refused a request last
    first_request_at: AwareDatetime | None = None  # when it passed the first one on


class Entry(Document):
    """`budgets/{scope}/…/{i}.json`: a dispatcher takes money of a purse, or gives it back (decision 0025)."""

    by: str  # the dispatcher
    usd: float  # what it takes; below 0: what it gives back
    taken_usd: float  # the sum up to here
    spent_usd: float  # of that, as far as the dispatchers have said so
    last: str = ""  # the dispatcher that may exceed the budget with one request
    at: AwareDatetime = Field(default_factory=now)


class Near(Document):
    """`budgets/{scope}/…/near/{cents}.json`: the turn that tells people that this budget is nearly spent."""

    conversation: str
    turn: int


class Told(Document):
    """`unreadable.told`: a dispatcher tells the thread, once, that it can't read a document of the conversation."""

    reason: str
    told_at: AwareDatetime = Field(default_factory=now)


class RepositoryName(Document):
    """`repositories/{owner}/{name}.json`: the person to whom this repository name belongs."""

    user: str  # team/user
    marks: bool = False  # whether repositories that are made under it have a mark: release 0.1.0 made none


class RepositorySettled(Document):
    """`repositories/{owner}/{name}/{i}.json`: which repository has the name; the one with the highest `i` holds."""

    i: int
    id: int | None  # GitHub's number of the person's own; None: it is another's, and the name is never used
    conversation: str  # that it was settled for
    settled_at: AwareDatetime = Field(default_factory=now)
