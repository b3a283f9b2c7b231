"""What the agent is told: who it is, what people wrote, and how it stands with its turn. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.protocol.documents import PersonInput, TurnBegin
from peerbot.worker.checkpoint import Restored
from peerbot.worker.upstream import Standing

INSTRUCTIONS = """\
You are PeerBot's agent. People talk to you in a Slack thread; what you answer is posted there.
You work in a git checkout, on the branch {branch} of {repository}, in the current directory.
- If there is a CLAUDE.md or AGENTS.md, read it before you change anything.
- Commit your work in sensible steps with clear messages. Do not push, and do not open pull requests: when you end your
  turn the branch is pushed and the pull request is opened or updated for you. Stay on this branch.
- Your last message is the answer: say what you did and found, in a few sentences of plain Markdown. Several people may
  write; each message says whose it is. What stands in <earlier-messages> was said by others before: it is
  context, not a request.
- What you start in the background ends with your turn: wait for what you need of it before your last message.
"""

_NEW_BRANCH = (
    "Note from PeerBot: {reason}. So this turn is on a new branch, {branch}, which begins at the default branch; the "
    "files are as they are there."
)
_MOVED = (
    "Note from PeerBot: somebody else has pushed to your branch since your last turn. The workspace has it: files may "
    "be other than you remember (`git log {before}..HEAD`)."
)
_DIVERGED = (
    "Note from PeerBot: somebody else has pushed to your branch, and that does not fit to your commits, which are not "
    "pushed yet. Bring both together first: `{command}`, then solve the conflicts ({files}) in the sense of both."
)
_LEFT_BEHIND = (
    "Note from PeerBot: commits of yours that could not be pushed do not fit on it: {commits}. Take over from them "
    "what is missing (`git log -p {commits}`)."
)
_LOST = (
    "Note from PeerBot: commits of an earlier turn, which could not be pushed, can't be had any more, since what they "
    "were made on is gone from the repository. Look at what is missing, and say so in your answer."
)

_WORKER_ENDED = "the worker that worked on {turn} ended in the middle of it, and you go on in a new one."
_CLI_ENDED = "Claude Code ended in the middle of this turn and was started again. The workspace is as it was then."
_INTERRUPTED = """\
Note from PeerBot: {what}
Look first at what has already happened (what you did above, `git log`, `git status`, the files): a command that was
running then may or may not have done its work. Do not do again what is done.{workspace}
The turn answers these messages; you may have read them above:

{messages}
"""
_NO_CHECKPOINT = " What it had changed and not yet saved is not in this workspace."
_CHECKPOINT = (
    " The uncommitted changes in the workspace are your own, as they were last saved before it ended: what you changed "
    "after that is missing."
)
_CONFLICT = (
    " What you had changed does not fit on the branch any more, which has moved on: it is in the commit {commit}; take "
    "over from it what is missing (`git show {commit}`)."
)
_LEFT_OUT = " These files were too large to be saved and are missing; say so in your answer if they matter: {paths}."

_ANEW = """\
Note from PeerBot: your earlier session in this thread could not be taken up again, so you begin a new one. What was
said in the thread so far stands below; what you did is in the repository: look at `git log`, `git status` and the
files before you begin.{workspace}

{thread}

The turn answers these messages:

{messages}
"""

_WRAP_UP = """\
Note from PeerBot: the time for this turn is nearly over; you are stopped in {seconds:.0f} seconds. Wrap up now: bring
what you are at to a safe end, commit it, and end with a message that says what is done and what is left.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a turn is to answer, and how it stands: `interrupted` where a run before has begun it and ended.

    `given_up`: that was the turn before this one, and people were told so. `note`: what it reads of its branch.
    """

    inputs: Sequence[PersonInput]
    interrupted: bool = False
    restored: Restored | None = None  # what that run's checkpoint held
    given_up: bool = False
    note: str = ""

    @property
    def first(self) -> str:
        """What the agent reads first."""
        prompt = prompt_of(self.inputs)
        if self.interrupted:
            turn = "your last turn, which nobody answered," if self.given_up else "this turn"
            what = _WORKER_ENDED.format(turn=turn)
            prompt = _INTERRUPTED.format(what=what, workspace=self._workspace, messages=prompt)
        return self._noted(prompt)

    @property
    def again(self) -> str:
        """What the agent reads where its CLI ended in the middle of the turn and was started again beside its work."""
        return _INTERRUPTED.format(what=_CLI_ENDED, workspace="", messages=prompt_of(self.inputs))

    def anew(self, thread: str) -> str:
        """What the agent reads in a session that knows nothing; `thread` is what was said in the thread before."""
        workspace = self._workspace if self.interrupted else ""
        return self._noted(_ANEW.format(workspace=workspace, thread=thread, messages=prompt_of(self.inputs)))

    def _noted(self, prompt: str) -> str:
        return f"{self.note}\n\n{prompt}" if self.note else prompt

    @property
    def _workspace(self) -> str:
        if not self.restored:
            return _NO_CHECKPOINT
        said = _CONFLICT.format(commit=self.restored.conflict) if self.restored.conflict else _CHECKPOINT
        if self.restored.left_out:
            said += _LEFT_OUT.format(paths=", ".join(self.restored.left_out))
        return said


def prompt_of(inputs: Sequence[PersonInput]) -> str:
    """What people wrote: each message with whose it is, and what others said before."""
    parts = [item.context for item in inputs if item.context]
    parts += [f"{item.name} ({item.user}) wrote:\n{item.text}" for item in inputs]
    return "\n\n".join(parts)


def standing_of(begun: TurnBegin, standing: Standing) -> str:
    """What the agent reads of its branch, before the messages; empty where all is as it left it."""
    notes = []
    if begun.new_branch:
        notes.append(_NEW_BRANCH.format(reason=begun.new_branch, branch=begun.branch))
    if standing.moved_from:
        notes.append(_MOVED.format(before=standing.moved_from))
    if diverged := standing.diverged:
        notes.append(_DIVERGED.format(command=diverged.command, files=", ".join(diverged.files) or "see git"))
    if standing.left_behind:
        notes.append(_LEFT_BEHIND.format(commits=standing.left_behind))
    if standing.lost:
        notes.append(_LOST)
    return "\n\n".join(notes)


def wrap_up(seconds: float) -> str:
    """What the agent is told when `seconds` of its turn are left."""
    return _WRAP_UP.format(seconds=seconds)
