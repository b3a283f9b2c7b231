"""The sentences about what people do with our controls: a turn that was stopped, a click without an effect. Pure."""

from peerbot.conversation.notes import Refusal, Saved, StoppedBy
from peerbot.slack.controls import COMMAND

MOST_NAMED = 10

HELP = f"""\
Mention me with a task, for example “fix the failing test in `calc`”. I work in a thread of its own and answer there.
• Write in the thread while I work: I read it before my next step.
• If I ask something, press a button or write your answer. Begin with `plan:` to see a plan first.
• Stop me: press *Stop* on my card, write “stop”, put ❌ on my card or on your message, or use `{COMMAND} stop`.
• Write in the thread again, also next week: I go on where we stopped.
• Use the buttons below my answer: continue, retry, undo, begin a new session, or go on in your own terminal.
`{COMMAND} status` lists the work in this channel, `{COMMAND} stop` stops all that you asked for here. \
`{COMMAND} settings` shows and changes what holds for this channel (your own settings in a direct message), \
`{COMMAND} cost` says what this month's work has cost."""


def stopped_words(note: StoppedBy) -> str:
    """Say in Markdown who stopped a turn, what is done and left, and where the work is."""
    if not note.began:
        return f"Stopped by {note.name} before I began. Nothing is changed. Write here again to go on."
    parts = [f"Stopped by {note.name}."]
    if standing := standing_words(note.done, note.left):
        parts.append(standing)
    if note.last_words:
        parts.append(f"The last thing I said:\n\n{note.last_words}")
    parts.append(f"{_saved(note.saved)}Write here again to go on from here.")
    return "\n\n".join(parts)


def standing_words(done: tuple[str, ...], left: tuple[str, ...]) -> str:
    """Say in Markdown which steps are done and which are left; empty if there are none."""
    return "  \n".join(f"**{word}:** {_named(titles)}" for word, titles in (("Done", done), ("Left", left)) if titles)


def _saved(saved: Saved | None) -> str:
    """Say where the work is if its worker could not keep it at the end. Otherwise the notes about the work say it."""
    if saved is None:
        return ""
    return "My changes are saved, and the next turn goes on from them. " if saved.kept else ""


def _named(titles: tuple[str, ...]) -> str:
    """Name the last of these, and say how many came before."""
    more = len(titles) - MOST_NAMED
    return "; ".join([*([f"{more} more"] if more > 0 else []), *titles[-MOST_NAMED:]])


NOTHING_AT_WORK = (
    "Nothing is at work in this thread, so there is nothing to stop. If something runs in another thread, write “stop” "
    f"there, or use `{COMMAND} stop`."
)
DELETED_TOO_LATE = (
    "You deleted a message that I had already read. It stays in my session, and I go on with it. Stop me if you don't "
    "want that, or say in the thread what I should do instead."
)
ENDED = "This work had already ended when you stopped it."
_REFUSED = {
    Refusal.UNKNOWN_PERSON: "I could not find out who you are, so I changed nothing. Try again in a moment.",
    Refusal.UNKNOWN_CHANNEL: "I could not find out what kind of channel this is, so I changed nothing. Try again in a "
    "moment.",
}


def already_stopped(name: str) -> str:
    """Say that somebody else was first."""
    return f"{name} had already stopped this."


def unsure(refusal: Refusal) -> str:
    """Say that Slack did not tell enough about a person or a channel; empty for every other refusal."""
    return _REFUSED.get(refusal, "")


def may_not(refusal: Refusal) -> str:
    """Say that this person may not use the controls here."""
    return _REFUSED.get(refusal, "You can't stop work here: only people who may use this bot in this channel can.")


UNKNOWN_CONTROL = (
    "This button belongs to another release of PeerBot, so nothing happened. Write what you want in the thread instead."
)


def listed(lines: list[str]) -> str:
    """List the work in a channel, in mrkdwn, for the person who asked."""
    return "Nothing is at work in this channel." if not lines else "\n".join(["At work in this channel:", *lines])


def stops(count: int) -> str:
    """Say how much of a person's work in this channel is being stopped."""
    if not count:
        return "Nothing that you asked for is at work in this channel, so there is nothing to stop."
    what = "the work" if count == 1 else f"the work in {count} threads"
    return f"I am stopping {what} that you asked for in this channel. The answer is in the thread."
