"""The sentences about what people choose after an answer: to continue, retry, undo, begin a new session. Pure."""

from collections.abc import Sequence

from peerbot.conversation.choice_notes import RecordRemoved, Retried, SessionForgotten, Undone
from peerbot.conversation.choices import Act, act_of
from peerbot.conversation.notes import Note, Refusal
from peerbot.conversation.steps import NoEffect
from peerbot.slack.control_words import UNKNOWN_CONTROL, unsure
from peerbot.slack.controls import LABELS

REMOVED = (
    "The operator of this bot has removed the record of this thread, so you don't remember your earlier turns in it. "
    "Below is what can still be read of what was said here. Your work is in the repository: look at `git log` and the "
    "files before you begin."
)
"""The agent reads this before its first turn after its memory was removed."""

GO_ON = "Go on."
"""The agent reads this as the message of a person who pressed Continue."""

ABOUT_CHOICES = (Undone, Retried, SessionForgotten, RecordRemoved)
_MOST_COMMITS = 5


def about_choice(note: Note) -> str:
    """Word a note of `ABOUT_CHOICES`, in Markdown, for the thread."""
    match note:
        case Undone():
            return (
                f"{note.name} undid turn {note.turn}: the branch `{note.branch}` is as it was before it. What was "
                f"there is kept on the branch `{note.kept_on}`. Write here to go on."
            )
        case Retried(kept_on=""):
            return f"_{note.name} asked me to do turn {note.turn} again._"
        case Retried():
            return (
                f"_{note.name} asked me to do turn {note.turn} again, from before it. What was on the branch is kept "
                f"on `{note.kept_on}`._"
            )
        case SessionForgotten():
            return (
                f"{note.name} asked for a new session: with your next message I begin without my memory of this "
                "thread. I read the messages here again, and the branch stays as it is."
            )
        case RecordRemoved():
            return (
                "_The operator of this bot has removed the record of our earlier work in this thread, so I don't "
                "remember it. I read the messages here again._"
            )
    return ""


def for_the_agent(note: Note) -> str:
    """Say the same to the agent, before its next turn; empty if it need not know."""
    match note:
        case Undone():
            return (
                f"{note.name} has undone your turn {note.turn}. The branch and the workspace are as they were before "
                "it, so the changes of that turn that you remember are not there. Don't bring them back unless people "
                f"ask for it; they are kept on the branch {note.kept_on}."
            )
        case SessionForgotten():
            return (
                "People asked for a new session, so you don't remember your earlier turns in this thread. Below is "
                "what was said here. Your work is in the repository: look at `git log` and the files before you begin."
            )
    return ""


def no_effect(act: str, why: str, first: tuple[str, str] | None = None) -> str:
    """Say why a choice had no effect. `first`: the person who chose before, in words, and what they chose."""
    label = LABELS.get(act_of(act) or Act.CONTINUE, "this")
    if why in list(Refusal):
        return unsure(Refusal(why)) or "Only people who may use this bot in this channel can do this, so I did nothing."
    if first:
        name, chosen = first
        done = LABELS.get(act_of(chosen) or Act.CONTINUE, "another button")
        return f"{name} had already pressed *{done}* for this answer, so your *{label}* had no effect."
    if why == NoEffect.AT_WORK:
        return f"I am at work in this thread, so *{label}* had no effect. Wait for the answer, or stop me first."
    if why in (NoEffect.GONE_ON, NoEffect.CHOSEN):
        return (
            f"Work in this thread has gone on since this answer, so *{label}* had no effect. Use the buttons of the "
            "newest answer, or write here what you want."
        )
    return UNKNOWN_CONTROL


DELAYED = "GitHub does not answer, or asks me to wait. I go on as soon as it does."
NOTHING_TO_UNDO = "This turn put nothing on the branch, so there is nothing to undo."
NOT_KNOWN = "I don't know where the work of this turn began, so I can't put the branch back."
OTHER_BRANCH = (
    "Work in this thread goes to another branch by now, so I did nothing. Change the earlier work with a pull request."
)


def merged(number: int) -> str:
    """Say that it is too late, since people took the work over."""
    return f"Pull request #{number} is merged, so I can't put its branch back. Revert it on GitHub instead."


def moved(branch: str, commits: Sequence[str]) -> str:
    """Say that other commits would be lost. `commits`: each in a few words."""
    if not commits:
        return f"The branch `{branch}` is no longer as this turn left it, so I changed nothing."
    named = "; ".join(commits[:_MOST_COMMITS])
    more = len(commits) - _MOST_COMMITS
    rest = f" and {more} more" if more > 0 else ""
    return f"On the branch `{branch}` are commits that are not mine, so I changed nothing: {named}{rest}."


def not_moved(reason: str) -> str:
    """Say that GitHub refused. `reason` is a whole sentence."""
    return f"{reason} I changed nothing."


def thanks(good: bool) -> str:
    """Thank for feedback."""
    if good:
        return "Thank you. If you want to say more, write it in this thread."
    return "Thank you. Write in this thread what I should do differently, and I do it."


def terminal(repository_url: str, branch: str, conversation: str, session: str) -> str:
    """Give the commands that go on with the work in a person's own terminal, in mrkdwn."""
    folder = repository_url.rstrip("/").rpartition("/")[2].removesuffix(".git") or "repository"
    fetch = f"git fetch origin {branch} && git switch {branch}" if branch else "git pull"
    return "\n".join(
        [
            "To go on in your own terminal, with Claude Code and `peerbot` installed:",
            "```",
            f"git clone {repository_url} && cd {folder}   # or use the clone that you have",
            fetch,
            f"peerbot session pull {conversation}",
            f"claude --resume {session}",
            "```",
            "`peerbot session pull` reads the journal, so it needs your operator's store (`PEERBOT_STORE` or "
            "`--store`). What you do there stays there: push it, and write here, and I go on from it.",
        ]
    )


NO_SESSION = "There is no session of mine in this thread that you could go on with."
