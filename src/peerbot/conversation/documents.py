"""The journal's documents: what was said, what was tried, what was answered (decision 0001).

Each is written once and never changed, carries `schema: 1`, and a nonce by which its writer knows it again after a
lost answer. Unknown keys are ignored, so that a replica of the release before can read them.
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
    """The present, in UTC."""
    return datetime.now(UTC)


class Document(BaseModel):
    """One object of the journal."""

    # What people wrote stays out of the text of validation errors: those end in logs.
    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True, hide_input_in_errors=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    nonce: str = Field(default_factory=lambda: secrets.token_hex(8))


class Started(Document):
    """`conversation.json`: who began it and where its work goes."""

    began_by: str
    repository: str  # owner/name
    default_branch: str
    branch: str
    began_at: AwareDatetime = Field(default_factory=now)


class Branch(Document):
    """`branches/{i}.json`: the conversation's branch from turn `turn` on, in place of the one before (`i` from 2)."""

    i: int
    branch: str
    turn: int
    reason: str  # why, as people read it
    begun_at: AwareDatetime = Field(default_factory=now)


class Input(Document):
    """`inputs/{ts}-{kind}.json`: what a person did, as Slack told it."""

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
    """`runs/{n}.started`: its worker called, and these are its tokens' hashes."""

    supervisor_hash: str
    agent_hash: str
    started_at: AwareDatetime = Field(default_factory=now)


class RunClosed(Document):
    """`runs/{n}.closed`: it ended; its tokens are dead."""

    reason: RunEnd
    detail: str = ""
    said: str = ""  # why, for people: the end of a sentence, as "it ran out of memory"
    closed_at: AwareDatetime = Field(default_factory=now)


class PullRequest(BaseModel):
    """A pull request on the forge."""

    number: int
    url: str


class FileChange(BaseModel):
    """What a turn did to one file, in lines; `None` for binary files."""

    path: str
    added: int | None
    removed: int | None


class SessionRef(BaseModel):
    """Where the agent's transcript is: `sessions/{turn}/{run}/`, as one compressed whole."""

    id: str
    turn: int
    run: int


class KeptWork(BaseModel):
    """Where commits are that could not be pushed: `work/{turn}/{run}.bundle`, on top of commit `base`."""

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
    run: int | None  # none: answered by the dispatcher itself
    inputs: list[str] = Field(alias="answers")  # ids of those that it answers
    status: TurnStatus
    text: str  # the agent's own words, in Markdown; before notes were kept, those were written into it
    notes: list[Note] = Field(default_factory=list)  # what people are told besides
    repository: str | None = None
    branch: str | None = None
    commit: str | None = None
    kept: KeptWork | None = None  # what is on no branch yet
    pull_request: PullRequest | None = None
    files: list[FileChange] = Field(default_factory=list)
    session: SessionRef | None = None
    model: Literal["claude", "demo"] | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    began: bool = True  # False: it failed before its agent was asked, and what was saved before it still is
    ended_at: AwareDatetime = Field(default_factory=now)


class Card(Document):
    """`turns/{k}.card`: the turn's progress message in Slack."""

    channel: str
    ts: str


class Posted(Document):
    """`turns/{k}.posted`: the turn's answer is in Slack, all of it; or it never will be."""

    ts: list[str]  # of its parts, in order
    refused: str = ""  # Slack's word for why it will never take the answer; then there is no `ts`
    posted_at: AwareDatetime = Field(default_factory=now)


class RepostClaim(Document):
    """`turns/{k}.repost-{i}`: somebody posts the turn again, whose writer left no receipt; it holds for a while."""

    claimed_by: str  # the dispatcher
    claimed_at: AwareDatetime = Field(default_factory=now)


class Told(Document):
    """`unreadable.told`: somebody tells the thread, once, that a document of its conversation can't be read."""

    reason: str
    told_at: AwareDatetime = Field(default_factory=now)


class RepositoryName(Document):
    """`repositories/{owner}/{name}.json`: whose repository a name is."""

    user: str  # team/user


class Choice(Document):
    """`settings/{user|channel}/{id}/{seq}.json`: what somebody chose; the highest `seq` holds."""

    repository: str  # owner/name: where a channel's work goes
    chosen_by: str
    chosen_at: AwareDatetime = Field(default_factory=now)
