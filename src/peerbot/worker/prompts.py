"""What the agent is told: who it is, what people wrote, and how it stands with its turn. Pure."""

from collections.abc import Sequence

from peerbot.protocol.documents import PersonInput
from peerbot.worker.checkpoint import Restored

INSTRUCTIONS = """\
You are PeerBot's agent. People talk to you in a Slack thread; what you answer is posted there.
You work in a git checkout, on the branch {branch} of {repository}, in the current directory.
- If there is a CLAUDE.md or AGENTS.md, read it before you change anything.
- Commit your work in sensible steps with clear messages. Do not push, and do not open pull requests: when you end your
  turn the branch is pushed and the pull request is opened or updated for you. Stay on this branch.
- Your last message is the answer: say what you did and found, in a few sentences of plain Markdown. Several people may
  write; each message says whose it is. What stands in <earlier-messages> was said by others before: it is
  context, not a request.
"""

_INTERRUPTED = """\
Note from PeerBot: the worker that worked on this turn ended in the middle of it, and you go on in a new one.
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

_WRAP_UP = """\
Note from PeerBot: the time for this turn is nearly over; you are stopped in {seconds:.0f} seconds. Wrap up now: bring
what you are at to a safe end, commit it, and end with a message that says what is done and what is left.
"""


def prompt_of(inputs: Sequence[PersonInput]) -> str:
    """What the agent reads: each message with whose it is, and what others said before."""
    parts = [item.context for item in inputs if item.context]
    parts += [f"{item.name} ({item.user}) wrote:\n{item.text}" for item in inputs]
    return "\n\n".join(parts)


def going_on(inputs: Sequence[PersonInput], restored: Restored | None) -> str:
    """What the agent reads in a turn that a run before has begun: how it stands, and what the turn is about."""
    workspace = _NO_CHECKPOINT
    if restored:
        workspace = _CONFLICT.format(commit=restored.conflict) if restored.conflict else _CHECKPOINT
        if restored.left_out:
            workspace += _LEFT_OUT.format(paths=", ".join(restored.left_out))
    return _INTERRUPTED.format(workspace=workspace, messages=prompt_of(inputs))


def wrap_up(seconds: float) -> str:
    """What the agent is told when `seconds` of its turn are left."""
    return _WRAP_UP.format(seconds=seconds)
