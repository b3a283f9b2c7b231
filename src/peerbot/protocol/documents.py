"""Requests and replies of the gateway's API, as typed documents.

Every path begins with `/v1/runs/{team}/{channel}/{thread_ts}/{n}`. The supervisor's paths take its own token
(`Authorization: Bearer …`), `model/` and `git/` the agent's, `start` the bootstrap secret in its body.

=====================================  ======================================================================
`POST start`                           `StartRequest` → `Brief`; the same hashes again succeed
`GET  inputs?wait=SECONDS`             → `Inputs`: not answered yet, oldest first; waits until there is one
`POST turns`                           → `TurnBegin`: number of the turn that begins, and what it goes on with
`PUT  turns/{k}/progress`              `Progress` → 204; the newest `seq` wins
`PUT  turns/{k}/session/{part}`        `SessionPart` → 204; create-only: the same part again succeeds
`PUT  turns/{k}/session`               gzip of a `SessionWhole` → 204
`GET  turns/{k}/session`               → gzip of a `SessionWhole`: what the turn before left, and this one so far
`PUT  turns/{k}/work`                  a git bundle of commits that could not be pushed → 204
`GET  turns/{k}/work`                  → the git bundle that the turn goes on with
`GET  turns/{k}/thread`                → `Thread`: what was said in the thread before, for a session that is lost
`POST turns/{k}/finish`                `TurnResult` → `TurnFinished`; the same nonce again gets the same reply
`GET  ready`                           → 204: what this run does can be kept now
`POST close`                           → 204; from here on both tokens are dead
`*    model/…`                         Claude's Messages API, relayed
`*    git/…`                           git's smart HTTP, relayed: one repository, one branch
=====================================  ======================================================================
"""

import hashlib
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from peerbot.conversation.documents import FileChange, KeptWork, PullRequest
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import Note


def new_secret() -> str:
    """Make a token: 256 random bits, printable."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """What the journal keeps of a secret: its SHA-256, in hex. Enough for random tokens (they can't be guessed)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def run_path(conversation: Conversation, run: int) -> str:
    """The part of the gateway's paths that names a run."""
    return f"/v1/runs/{conversation}/{run}"


class Message(BaseModel):
    """A document on the wire. Unknown keys are ignored: the other side may be a release older or newer."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")


class StartRequest(Message):
    """The worker trades its bootstrap secret for two tokens that it made itself."""

    secret: str
    supervisor_hash: str
    agent_hash: str


class Brief(Message):
    """What a worker needs to know of its run."""

    team: str
    channel: str
    thread_ts: str
    run: int
    repository: str  # owner/name
    default_branch: str
    branch: str
    model: str | None = None  # the CLI's own choice where none is set
    model_kind: Literal["claude", "demo"] = "claude"
    turn_seconds: float
    idle_seconds: float
    run_seconds: float = 3600.0  # after so long no new turn is taken
    budget_usd: float
    checkpoint_seconds: float = 30.0


class PersonInput(Message):
    """An input as the agent may read it: Slack's markup is gone."""

    id: str
    user: str
    name: str
    text: str
    context: str = ""  # what others said in the thread before, marked as such


class Inputs(Message):
    """The inputs that wait for an answer, oldest first."""

    inputs: list[PersonInput]


class TurnBegin(Message):
    """A turn begins: its number, and the session to go on with."""

    turn: int
    session_id: str | None = None
    interrupted: bool = False  # a run before worked on this turn and ended: its session and checkpoint are there
    unfinished_since: int | None = None  # from this turn on; an earlier one than this was given up in the middle
    branch: str = ""  # where its work goes; none: the run's own (a gateway of the release before)
    new_branch: str = ""  # why it is a new one, where it is
    kept: KeptWork | None = None  # commits of an earlier turn that are on no branch yet


class Thread(Message):
    """What was said in the thread before a turn: people's messages and the agent's answers, marked as such."""

    text: str


class SessionPart(Message):
    """Some entries of the transcript, in order, as the SDK's session store hands them over."""

    project: str  # the SDK's project key; "workspace" for the run's own
    session_id: str
    subpath: str = ""  # "" is the main transcript, else a subagent's
    entries: list[dict[str, Any]]


class SessionWhole(Message):
    """Whole transcripts: one part for each, the main one among them."""

    transcripts: list[SessionPart]


class TurnResult(Message):
    """What a turn came to, as the worker saw it."""

    nonce: str = Field(default_factory=lambda: secrets.token_hex(8))
    inputs: list[str] = Field(alias="answers")  # ids of those that it answers
    status: Literal["done", "failed"]
    text: str  # the agent's own words
    notes: list[Note] = Field(default_factory=list)  # what people are told besides
    cause: str = ""  # of a failure, for the operator's log
    title: str = ""  # of a pull request
    commit: str | None = None  # the branch's head, if this turn pushed
    began: bool = True  # false: it failed before the agent began, and what was kept before still is
    kept: bool = False  # `PUT work` has what could not be pushed
    base: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # of that: what GitHub's branch points to
    files: list[FileChange] = Field(default_factory=list)
    session_id: str | None = Field(default=None, pattern="^[0-9a-f-]{36}$")
    cost_usd: float | None = None
    seconds: float


class TurnFinished(Message):
    """The turn is in the journal."""

    turn: int
    pull_request: PullRequest | None = None
