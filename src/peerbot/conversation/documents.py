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
from peerbot.conversation.notes import Note


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
    began_at: AwareDatetime = Field(default_factory=now)


class Branch(Document):
    """`branches/{i}.json`: the conversation's branch from turn `turn` on, instead of the one before (`i` from 2)."""

    i: int
    branch: str
    turn: int
    reason: str  # why there is a new branch, in words for people
    begun_at: AwareDatetime = Field(default_factory=now)


class Input(Document):
    """`inputs/{ts}-{kind}.json`: a person's action, as Slack reported it."""

    kind: Literal["message"] = "message"
    team: str
    channel: str
    thread_ts: str
    ts: str
    user: str
    user_team: str | None = None
    channel_type: str | None = None
    text: str  # as Slack sent it, escaped
    event_id: str
    received_at: AwareDatetime = Field(default_factory=now)

    @property
    def conversation(self) -> Conversation:
        """The conversation that it belongs to."""
        return Conversation(self.team, self.channel, self.thread_ts)

    @property
    def id(self) -> str:
        """Its name within the conversation."""
        return input_id(self.ts, self.kind)


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


class RunStarted(Document):
    """`runs/{n}.started`: the run's worker has called. Holds the hashes of its tokens."""

    supervisor_hash: str
    agent_hash: str
    started_at: AwareDatetime = Field(default_factory=now)


class RunClosed(Document):
    """`runs/{n}.closed`: the run ended, and its tokens are dead."""

    reason: RunEnd
    detail: str = ""
    said: str = ""  # why, for people: the end of a sentence, as "it ran out of memory"
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
    """The place of commits that could not be pushed: `work/{turn}/{run}.bundle`, on top of commit `base`."""

    turn: int
    run: int
    base: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # none: in an empty repository


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
    kept: KeptWork | None = None  # commits that are on no branch yet
    pull_request: PullRequest | None = None
    files: list[FileChange] = Field(default_factory=list)
    session: SessionRef | None = None
    model: Literal["claude", "demo"] | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    began: bool = True  # False: it failed before it asked its agent, and everything saved before is still saved
    ended_at: AwareDatetime = Field(default_factory=now)


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


class Told(Document):
    """`unreadable.told`: a dispatcher tells the thread, once, that it can't read a document of the conversation."""

    reason: str
    told_at: AwareDatetime = Field(default_factory=now)


class RepositoryName(Document):
    """`repositories/{owner}/{name}.json`: the person to whom this repository name belongs."""

    user: str  # team/user


class Choice(Document):
    """`settings/{user|channel}/{id}/{seq}.json`: a person's choice; the one with the highest `seq` holds."""

    repository: str  # owner/name: where a channel's work goes
    chosen_by: str
    chosen_at: AwareDatetime = Field(default_factory=now)
