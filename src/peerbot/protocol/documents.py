"""Requests and replies of the gateway's API, as typed documents.

Every path begins with `/v1/runs/{team}/{channel}/{thread_ts}/{n}`. The body of `start`
carries the bootstrap secret, `model/` and `git/` take the agent's token (`Authorization: Bearer …`), and all other
paths the supervisor's.

=====================================  ======================================================================
`POST start`                           `StartRequest` → `Brief`; the same hashes again succeed
`GET  inputs?wait=SECONDS`             → `Inputs`: the unanswered ones, oldest first; waits until there is one
`POST turns`                           → `TurnBegin`: the number of the turn that begins, and its session
`PUT  turns/{k}/progress`              `Progress` → 204; the newest `seq` wins
`PUT  turns/{k}/session/{part}`        `SessionPart` → 204; create-only: the same part again succeeds
`PUT  turns/{k}/session`               gzip of a `SessionWhole` → 204
`GET  turns/{k}/session`               → gzip of a `SessionWhole`: the turn before, and this one so far
`PUT  turns/{k}/work`                  a git bundle of commits that could not be pushed → 204
`GET  turns/{k}/work`                  → the git bundle with which the turn goes on
`GET  turns/{k}/thread`                → `Thread`: the thread's earlier messages, for a session that is lost
`POST turns/{k}/finish`                `TurnResult` → `TurnFinished`; the same nonce again gets the same reply
`GET  ready`                           → 204: the gateway can keep this run's results now
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
    """Hash a secret for the journal: SHA-256, in hex. That is enough for random tokens, which nobody can guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def run_path(conversation: Conversation, run: int) -> str:
    """Make the part of the gateway's paths that names a run."""
    return f"/v1/runs/{conversation}/{run}"


class Message(BaseModel):
    """A document on the wire. Readers ignore unknown keys: the other side may be a release older or newer."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")


class StartRequest(Message):
    """The worker trades its bootstrap secret for two tokens that it made itself."""

    secret: str
    supervisor_hash: str
    agent_hash: str


class Brief(Message):
    """The facts that a worker needs about its run."""

    team: str
    channel: str
    thread_ts: str
    run: int
    repository: str  # owner/name
    default_branch: str
    branch: str
    model: str | None = None  # None: the CLI chooses
    model_kind: Literal["claude", "demo"] = "claude"
    turn_seconds: float
    idle_seconds: float
    run_seconds: float = 3600.0  # after this time the worker takes no new turn
    budget_usd: float
    checkpoint_seconds: float = 30.0


class PersonInput(Message):
    """An input in the form that the agent reads: without Slack's markup."""

    id: str
    user: str
    name: str
    text: str
    context: str = ""  # earlier messages of others in the thread, marked as such


class Inputs(Message):
    """The inputs that wait for an answer, oldest first."""

    inputs: list[PersonInput]


class TurnBegin(Message):
    """A turn begins: its number, and the session to go on with."""

    turn: int
    session_id: str | None = None
    interrupted: bool = False  # an earlier run worked on this turn and ended: its session and checkpoint exist
    unfinished_since: int | None = None  # first turn of this work; if earlier than `turn`, it was given up midway
    branch: str = ""  # where its work goes; empty: the run's own (from a gateway of the previous release)
    new_branch: str = ""  # why the branch is new; empty if it is not
    kept: KeptWork | None = None  # commits of an earlier turn that are on no branch yet


class Thread(Message):
    """The messages in the thread before a turn: people's and the agent's answers, marked as such."""

    text: str


class SessionPart(Message):
    """Some entries of the transcript, in order, as the SDK's session store hands them over."""

    project: str  # the SDK's project key; "workspace" for the run's own
    session_id: str
    subpath: str = ""  # "" is the main transcript, any other a subagent's
    entries: list[dict[str, Any]]


class SessionWhole(Message):
    """Whole transcripts: one part for each, the main one among them."""

    transcripts: list[SessionPart]


class TurnResult(Message):
    """The result of a turn, as the worker saw it."""

    nonce: str = Field(default_factory=lambda: secrets.token_hex(8))
    inputs: list[str] = Field(alias="answers")  # ids of those that it answers
    status: Literal["done", "failed"]
    text: str  # the agent's own words
    notes: list[Note] = Field(default_factory=list)  # what else we tell people
    cause: str = ""  # of a failure, for the operator's log
    title: str = ""  # of a pull request
    commit: str | None = None  # the branch's head, if this turn pushed
    began: bool = True  # false: it failed before the agent began, and everything kept before is still kept
    kept: bool = False  # the commits that could not be pushed went to `PUT work`
    base: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # of those commits: GitHub's head of the branch
    files: list[FileChange] = Field(default_factory=list)
    session_id: str | None = Field(default=None, pattern="^[0-9a-f-]{36}$")
    cost_usd: float | None = None
    seconds: float


class TurnFinished(Message):
    """The turn is in the journal."""

    turn: int
    pull_request: PullRequest | None = None
