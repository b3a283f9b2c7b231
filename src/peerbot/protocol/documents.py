"""Requests and replies of the gateway's API, as typed documents.

Every path begins with `/v1/runs/{team}/{channel}/{thread_ts}/{n}`. The body of `start`
carries the bootstrap secret, `model/`, `git/` and `modules/…` take the agent's token (`Authorization: Bearer …`), and
all other paths the supervisor's.

=====================================  ======================================================================
`POST start`                           `StartRequest` → `Brief`; the same hashes again succeed
`GET  inputs?wait=SECONDS`             → `Inputs`: the unanswered ones, oldest first; waits until there is one
`GET  inputs/{id}/files/{n}`           → the bytes of a message's `n`th file (from 0); 422 `FileRefused`
`POST turns`                           → `TurnBegin`: the number of the turn that begins, and its session
`POST turns/{k}/steer`                 `SteerRequest` → `Steer`: stops and new messages; waits until there is one
`POST turns/{k}/ask`                   `AskRequest` → `AskReply`: asks people; the same call again is asked once
`PUT  turns/{k}/progress`              `Progress` → 204; the newest `seq` wins
`PUT  turns/{k}/session/{part}`        `SessionPart` → 204; create-only: the same part again succeeds
`PUT  turns/{k}/session`               gzip of a `SessionWhole` → 204
`GET  turns/{k}/session`               → gzip of a `SessionWhole`: the turn before, and this one so far
`PUT  turns/{k}/work/{part}`           a git bundle: the saved state of the workspace → 204; the highest part counts
`PUT  turns/{k}/work`                  the same, from a worker of the release before, which saves only once
`GET  turns/{k}/work`                  → the saved state with which the turn goes on
`PUT  turns/{k}/sent?name=NAME`        a file for the thread → 204; the same again is sent once; 422 `FileRefused`
`GET  turns/{k}/thread`                → `Thread`: the thread's earlier messages, for a session that is lost
`POST turns/{k}/finish`                `TurnResult` → `TurnFinished`; the same nonce again gets the same reply
`GET  ready`                           → 204: the gateway can keep this run's results now
`POST close`                           → 204; from here on both tokens are dead
`*    model/…`                         Claude's Messages API, relayed
`*    git/…`                           git's smart HTTP, relayed: one repository, one branch
`GET  modules`                         → `Submodules`: those that the repository's default branch names
`*    modules/{owner}/{name}/…`        git's smart HTTP, relayed: one of these, to read
=====================================  ======================================================================
"""

import hashlib
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from peerbot.conversation.documents import FileChange, KeptWork, PullRequest, TurnTimes
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import Note
from peerbot.conversation.questions import LONGEST_PLAN, MOST_ITEMS, Asked, Item, QuestionSettled

LARGEST_PROGRESS_BYTES = 256 * 1024
LARGEST_RESULT_BYTES = 2 * 1024 * 1024
"""The largest `Progress` and `TurnResult` that the gateway reads."""


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
    server_tools: list[str] = Field(default_factory=list)  # of Claude's servers, that the agent may use
    question_seconds: float = 0.0  # how long a turn waits for people's answers, in all; 0: the release before
    base: str = ""  # the branch from which the work begins, and into which it goes; empty: the default branch
    channel_instructions: str = ""  # that the channel's members set
    person_instructions: str = ""  # that the person set who began the thread


class PersonFile(Message):
    """A file that a person shared with an input; its place in the list is its number."""

    name: str
    size: int  # in bytes, as Slack says
    type: str  # its media type, as Slack says


class FileRefused(Message):
    """The reply (422) about a file that can't be had or sent: why, and a sentence for the agent about one to send."""

    why: str = ""  # a `FileLoss`
    said: str = ""


class EarlierFiles(Message):
    """The files of an earlier message of the thread, `id` as if it were an input's.

    `heard`: the agent has read its words, in an earlier turn. If not, the words are in the input's context.
    """

    id: str
    files: list[PersonFile]
    heard: bool = True


class PersonInput(Message):
    """An input in the form that the agent reads: without Slack's markup."""

    id: str
    user: str
    name: str
    text: str
    edits: list[str] = Field(default_factory=list)  # ids of the edits that are in the text
    plan: bool = False  # people want to approve a plan before the work
    answers: str = ""  # the id of the question that it answers
    changes: bool = False  # it is itself an edit, of a message that the agent has read
    context: str = ""  # earlier messages of others in the thread, marked as such
    files: list[PersonFile] = Field(default_factory=list)
    earlier: list[EarlierFiles] = Field(default_factory=list)  # of the first of the inputs alone

    @property
    def ids(self) -> list[str]:
        """The ids of all that it stands for."""
        return [self.id, *self.edits]


class Inputs(Message):
    """The inputs that wait for an answer, oldest first."""

    inputs: list[PersonInput]


class SteerRequest(Message):
    """The worker asks what people did since; `have`: the ids of the messages that it knows."""

    have: list[str] = Field(max_length=1000)
    wait: float = Field(default=0.0, ge=0.0)  # up to so many seconds
    heard: list[str] = Field(default_factory=list, max_length=1000)  # questions whose end it knows


class StopAsked(Message):
    """Somebody stopped the turn. `inputs`: the ids that the turn answers then, the stops among them."""

    inputs: list[str]
    name: str  # of the person, in words


class Steer(Message):
    """What people did while a turn is at work. `over`: the turn was ended without this run, and its work is in vain."""

    stop: StopAsked | None = None
    inputs: list[PersonInput] = Field(default_factory=list)
    over: bool = False
    settled: dict[str, QuestionSettled] = Field(default_factory=dict)  # what became of questions of the turn, by id


class AskRequest(Message):
    """The agent asks people something. `call`: Claude Code's id of the call."""

    call: str = Field(min_length=1, max_length=200)
    kind: Literal["question", "plan"]
    items: tuple[Item, ...] = Field(default=(), max_length=MOST_ITEMS)
    plan: str = Field(default="", max_length=LONGEST_PLAN)


class AskReply(Message):
    """People see the question. `settled`: they have answered it before, when another worker asked."""

    id: str
    settled: QuestionSettled | None = None


class TurnBegin(Message):
    """A turn begins: its number, and the session to go on with."""

    turn: int
    session_id: str | None = None
    interrupted: bool = False  # an earlier run worked on this turn and ended: its session and checkpoint exist
    unfinished_since: int | None = None  # first turn of this work; if earlier than `turn`, it was given up midway
    branch: str = ""  # where its work goes; empty: the run's own (from a gateway of the previous release)
    new_branch: str = ""  # why the branch is new; empty if it is not
    kept: KeptWork | None = None  # work of an earlier turn that is on no branch yet
    saved: bool = False  # whether `GET work` has a saved state to go on with
    sign_off: bool = False  # whether the repository wants each commit signed off
    told: str = ""  # what people read about the work at the end of the turn before
    happened: str = ""  # what people chose since then (they undid a turn), for the agent
    asked: list[Asked] = Field(default_factory=list)  # what the agent asked and has not heard the end of, oldest first


class Submodule(Message):
    """A submodule as `.gitmodules` names it. `repository`: where it is (`owner/name`); None if on another server."""

    name: str
    url: str
    repository: str | None


class Submodules(Message):
    """The submodules that a repository's default branch names."""

    submodules: list[Submodule]


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
    kept: bool = False  # what is not on the branch went to `PUT work`
    part: int = 0  # the number of that saved state
    base: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # of those commits: GitHub's head of the branch
    before: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$")  # where its work began
    no_difference: bool = False  # the branch's commits change no file in the end
    files: list[FileChange] = Field(default_factory=list)
    deferred: str = ""  # the id of the question for whose answer the agent waits
    session_id: str | None = Field(default=None, pattern="^[0-9a-f-]{36}$")
    times: TurnTimes = Field(default_factory=TurnTimes)
    cost_usd: float | None = None  # read by gateways of the release before alone: later ones count themselves
    seconds: float


class TurnFinished(Message):
    """The turn is in the journal."""

    turn: int
    pull_request: PullRequest | None = None
