"""The texts that the agent reads: its instructions, people's messages, and the state of its turn. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.protocol.documents import PersonInput, TurnBegin
from peerbot.worker.checkpoint import Restored
from peerbot.worker.upstream import Standing

INSTRUCTIONS = """\
You are PeerBot's agent. People talk to you in a Slack thread, and PeerBot posts your answer there.
You work in a git checkout, on the branch {branch} of {repository}, in the current directory.
- If there is a CLAUDE.md or AGENTS.md, read it before you change anything.
- Commit your work in sensible steps with clear messages. Do not push, and do not open pull requests: when you end your
  turn, PeerBot pushes the branch and opens or updates the pull request for you. Stay on this branch.
- Your last message is the answer: say what you did and found, in a few sentences of plain Markdown. Several people may
  write; each message names its author. <earlier-messages> holds what other people said before: it is context, not a
  request.
- Programs that you start in the background end with your turn. If you need their results, wait for them before your
  last message.
"""

_NEW_BRANCH = (
    "Note from PeerBot: {reason}. So this turn is on a new branch, {branch}. It begins at the default branch, and the "
    "files are as they are there."
)
_MOVED = (
    "Note from PeerBot: somebody else has pushed to your branch since your last turn. The workspace has their "
    "commits, so files may differ from what you remember (`git log {before}..HEAD`)."
)
_DIVERGED = (
    "Note from PeerBot: somebody else has pushed to your branch, and their commits conflict with yours, which "
    "are not pushed yet. Bring both together first: `{command}`, then resolve the conflicts ({files}) so that both "
    "changes keep their purpose."
)
_LEFT_BEHIND = (
    "Note from PeerBot: some of your commits could not be pushed, and they do not apply to this branch: {commits}. "
    "Look at them (`git log -p {commits}`) and take over the changes that are missing."
)
_LOST = (
    "Note from PeerBot: commits of an earlier turn that could not be pushed are lost, because the commit below them is "
    "gone from the repository. Find out what is missing, and say so in your answer."
)

_WORKER_ENDED = "the worker that worked on {turn} ended in the middle of it, and you continue in a new one."
_CLI_ENDED = "Claude Code ended in the middle of this turn and was started again. The workspace is as it was before."
_INTERRUPTED = """\
Note from PeerBot: {what}
First look at what you have already done (your steps above, `git log`, `git status`, the files). A command that was
running at that moment may or may not have done its work. Do not repeat work that is done.{workspace}
The turn answers these messages; you may have read them above:

{messages}
"""
_NO_CHECKPOINT = " Changes that it had made and not yet saved are not in this workspace."
_CHECKPOINT = (
    " The uncommitted changes in the workspace are your own, as they were last saved before it ended. Changes that "
    "you made after that are missing."
)
_CONFLICT = (
    " The branch has moved on, and your uncommitted changes no longer apply to it. They are in the commit {commit}: "
    "look at it (`git show {commit}`) and take over the changes that are missing."
)
_LEFT_OUT = " These files were too large to be saved and are missing. If they matter, say so in your answer: {paths}."

_ANEW = """\
Note from PeerBot: your earlier session in this thread could not be taken up again, so you begin a new one. Below is
what people and you said in the thread so far. Your work is in the repository: look at `git log`, `git status` and the
files before you begin.{workspace}

{thread}

The turn answers these messages:

{messages}
"""

_WRAP_UP = """\
Note from PeerBot: the time for this turn is nearly over. You will be stopped in {seconds:.0f} seconds. Wrap up now:
bring your current step to a safe end, commit it, and end with a message that says what is done and what is left.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """The messages that a turn must answer, and its state. `interrupted`: an earlier run began it and ended.

    `given_up`: the earlier run worked on the turn before this one, and people were told that it got no answer.
    `note`: what the agent reads about its branch.
    """

    inputs: Sequence[PersonInput]
    interrupted: bool = False
    restored: Restored | None = None  # the contents of that run's checkpoint
    given_up: bool = False
    note: str = ""

    @property
    def first(self) -> str:
        """The prompt that the agent reads first."""
        prompt = prompt_of(self.inputs)
        if self.interrupted:
            turn = "your last turn, which nobody answered," if self.given_up else "this turn"
            what = _WORKER_ENDED.format(turn=turn)
            prompt = _INTERRUPTED.format(what=what, workspace=self._workspace, messages=prompt)
        return self._noted(prompt)

    @property
    def again(self) -> str:
        """The prompt for a CLI that ended in the middle of the turn and was started again in the same workspace."""
        return _INTERRUPTED.format(what=_CLI_ENDED, workspace="", messages=prompt_of(self.inputs))

    def in_new_session(self, thread: str) -> str:
        """Return the prompt for a new session; `thread` is what was said in the thread before."""
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
    """Put together what people wrote: earlier messages of the thread, then each input with its author."""
    parts = [item.context for item in inputs if item.context]
    parts += [f"{item.name} ({item.user}) wrote:\n{item.text}" for item in inputs]
    return "\n\n".join(parts)


def standing_of(begun: TurnBegin, standing: Standing) -> str:
    """Return what the agent reads about its branch, before the messages; empty if all is as it left it."""
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
    """Return the note for an agent whose turn has `seconds` left."""
    return _WRAP_UP.format(seconds=seconds)
