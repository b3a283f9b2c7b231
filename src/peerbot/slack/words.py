"""Every sentence of our own that a thread reads: the words for a turn's notes, for a run's end, and for waiting.

Pure. The journal keeps facts (`conversation/notes.py`); only this module puts them into words.
"""

from collections.abc import Sequence

from peerbot.conversation import notes
from peerbot.conversation.deadlines import LONGEST_START, OFFER_AFTER, back_off, spoken
from peerbot.conversation.documents import Posted, RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Claude, FileLoss, Note, Refusal, SessionLoss
from peerbot.slack.choice_words import ABOUT_CHOICES, about_choice
from peerbot.slack.control_words import MOST_NAMED, standing_words, stopped_words
from peerbot.slack.cost_words import budget_near, budget_used_up
from peerbot.slack.work_words import ABOUT_WORK, about_work

GO_ON = "Write here again to go on."

_LATER = "Write here again in a few minutes to go on."
_CLAUDE = {
    Claude.NO_CREDIT: "Claude's API refused the request because the account has no credit left. Ask your PeerBot "
    "operator to add some, then write here again to go on.",
    Claude.NO_SUCH_MODEL: "Claude's API does not have the model that PeerBot asks for, or the key may not use it. Ask "
    "your PeerBot operator to check `PEERBOT_MODEL`, then write here again to go on.",
    Claude.ANSWER_TOO_LONG: "Claude's answer was too long, so it was cut off several times. Ask for it in smaller "
    "parts.",
    Claude.NOT_ACCEPTED: "Claude did not accept the request. Say it in other words, or start a new thread.",
    Claude.KEY_REFUSED: "Claude's API refused the key. Ask your PeerBot operator to check `ANTHROPIC_API_KEY`.",
    Claude.NOT_ALLOWED: "Claude's API did not allow the request. Ask your PeerBot operator to check the key's rights "
    "and limits.",
    Claude.CONVERSATION_TOO_LONG: "The conversation has become too long for Claude. Start a new thread.",
    Claude.RATE_LIMITED: f"Claude's rate limit is reached. {_LATER}",
    Claude.OVERLOADED: f"Claude is overloaded or does not answer. {_LATER}",
    Claude.SERVER_ERROR: f"Claude's API has a problem. {_LATER}",
    Claude.DECLINED: "Claude declined to go on with this. Say what you need in other words, or start a new thread.",
    Claude.NO_ANSWER: f"Claude did not answer. {GO_ON}",
    Claude.DIED: f"Claude Code ended unexpectedly, and again after a restart. {GO_ON}",
}
_WAITED_FOR = {
    Claude.RATE_LIMITED: "Claude's rate limit is reached",
    Claude.OVERLOADED: "Claude is overloaded or does not answer",
}
_SESSION = {
    SessionLoss.DAMAGED: "my saved copy of it is damaged",
    SessionLoss.GONE: "my saved copy of it is damaged or gone",
    SessionLoss.UNREADABLE: "Claude Code could no longer read it",
    SessionLoss.TOO_LONG_TO_GO_ON: "it had become too long to go on with",
    SessionLoss.TOO_LONG_FOR_CLAUDE: "it had become too long for Claude",
}
_REFUSED = {
    Refusal.UNKNOWN_PERSON: "I could not find out who wrote this, so I started nothing. Send the message again.",
    Refusal.UNKNOWN_CHANNEL: "I could not find out what kind of channel this is, so I started nothing. Send the "
    "message again.",
    Refusal.DEACTIVATED: "This account is deactivated, so I started nothing.",
    Refusal.BOT: "Only people can give work here, not bots.",
    Refusal.OUTSIDER: "Members of other organizations can't use this bot.",
    Refusal.GUEST: "Guests can't use this bot. A full member of the workspace can.",
    Refusal.SHARED_CHANNEL: "This channel is shared with another organization, so I do no work here.",
    Refusal.DIRECT_MESSAGES_OFF: "Direct messages are switched off for this bot. Mention it in a channel.",
    Refusal.CHANNEL_NOT_LISTED: "This bot does not work in this channel. Your PeerBot operator chooses the channels.",
    Refusal.APP_TOO_OFTEN: "This app has asked me very often today, so I take nothing more from it until tomorrow "
    "(UTC).",
    Refusal.CHANNEL_CHOSE_OTHERS: "In this channel I work for the people whom its members named, and you are not one "
    "of them. One of them can add you with `/peerbot settings`.",
    Refusal.PERSON_NOT_LISTED: "Only some people can use this bot, and you are not one of them yet. Ask your PeerBot "
    "operator.",
    Refusal.PRIVATE_CHANNELS_OFF: "Private channels are switched off for this bot. Mention it in a public channel.",
}
_FILE_LOST = {
    FileLoss.NO_SCOPE: "my Slack app may not read files. Ask your PeerBot operator to add the scope `files:read` and "
    "to reinstall the app",
    FileLoss.NOT_VISIBLE: "Slack does not show it to me. It may belong to another organization",
    FileLoss.EXTERNAL: "it is not in Slack, only a link to it. Upload the file itself",
    FileLoss.ELSEWHERE: "its address is not one of Slack's, and I ask no other",
    FileLoss.DELETED: "it was deleted",
    FileLoss.HIDDEN: "it is hidden, because the workspace's plan has reached its limit",
    FileLoss.CANVAS: "it is a canvas or a list, of which Slack has no file. Copy the words into a message",
    FileLoss.TOO_LARGE: "it is larger than 20 MB",
    FileLoss.TOO_MANY: "I read the first ten files of a message. Share the others in another message",
    FileLoss.EMPTY: "it is empty",
    FileLoss.FAILED: "Slack did not hand it over. Share it again",
}
_HOW_IT_ENDED = {
    RunEnd.FINISHED: "it ended without an answer",
    RunEnd.NEVER_STARTED: "it never started",
    RunEnd.NOT_ADMITTED: "it could not be started",
    RunEnd.CRASHED: "it crashed",
    RunEnd.OUT_OF_MEMORY: "it ran out of memory",
    RunEnd.DEADLINE: "its time was up",
    RunEnd.HUNG: "it hung",
    RunEnd.EVICTED: "its node had to stop it",
    RunEnd.NODE_LOST: "its node was lost",
    RunEnd.DISPATCHER_ENDED: "PeerBot was restarted",
    RunEnd.CUT_OFF: "it lost its connection",
}
GONE = {
    "is_archived": "the channel was archived",
    "channel_not_found": "I was not in the channel",
    "not_in_channel": "I was not in the channel",
    "thread_not_found": "the thread's first message was deleted",
    "message_not_found": "the thread's first message was deleted",
    "cannot_reply_to_message": "this message takes no replies",
    "restricted_action": "I was not allowed to write here",
    "restricted_action_read_only_channel": "I was not allowed to write here",
    "restricted_action_thread_only_channel": "I was not allowed to write here",
    "restricted_action_thread_locked": "the thread was locked",
    "restricted_action_non_threadable_channel": "this channel has no threads",
}
"""Slack's refusals that waiting does not mend (the thread or channel no longer takes the answer), in people's words."""


def note_words(note: Note) -> str:  # noqa: PLR0911, PLR0912 - a sentence a kind
    """Word a note, in Markdown. Nothing for a kind that only a newer release knows."""
    match note:
        case notes.Failed(why=why):
            return _CLAUDE[why]
        case notes.BudgetUsedUp():
            return budget_used_up(note)
        case notes.BudgetNear():
            return budget_near(note)
        case notes.TimeUp():
            return _time_up(note)
        case notes.StoppedBy():
            return stopped_words(note)
        case notes.NotBegun(reason=reason):
            return f"{reason} Write here again, and I try once more."
        case notes.NewSession(why=loss):
            return (
                f"_I could not resume my earlier session in this thread: {_SESSION[loss]}. I began a new one from the "
                "messages here._"
            )
        case notes.SessionNotKept():
            return (
                "_This turn was too long, so I could not save my session. With your next message I go on from the "
                "messages here._"
            )
        case _ if isinstance(note, ABOUT_WORK):
            return about_work(note)
        case _ if isinstance(note, ABOUT_CHOICES):
            return about_choice(note)
        case notes.NoPullRequest(reason=reason):
            return f"_The work is on the branch, but there is no pull request yet: {reason}_"
        case notes.NewBranch(branch=branch, reason=reason):
            return f"_{reason}, so this turn began a new branch from the default branch: `{branch}`._"
        case notes.OtherRepository(repository=repository, taken=taken):
            return (
                f"_There is a repository `{taken}` already, and nothing shows that I made it for you. So I work in "
                f"`{repository}`._"
            )
        case notes.GivenUp():
            return _given_up(note)
        case notes.NotStarted(said=said):
            return (
                f"The worker could not start: {said or _HOW_IT_ENDED[RunEnd.NOT_ADMITTED]}. Tell your PeerBot operator "
                "(the log has more). When the problem is fixed, write here again."
            )
        case notes.WaitedTooLong():
            return _waited_too_long(note)
        case notes.NoRepository(reason=reason):
            return f"{reason} Tell your PeerBot operator. When the problem is fixed, write here again."
        case notes.Refused(why=refusal):
            return _REFUSED[refusal]
        case notes.FilesNotRead():
            return _files_not_read(note)
        case notes.NothingAsked():
            return (
                "Tell me what to do in the same message, for example: “fix the failing test in `calc`” or “what does "
                "the deploy script do?”. I answer in this thread."
            )
        case _:
            return ""


def _files_not_read(note: notes.FilesNotRead) -> str:
    """Name the files that the agent did not get, those with the same reason together."""
    said = []
    for why, sentence in _FILE_LOST.items():
        lost = [file.name for file in note.files if file.why is why]
        named = [f"`{_one_line(name)}`" for name in lost if name]
        more = len(named) - MOST_NAMED
        shown = [*named[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
        unnamed = len(lost) - len(named)
        shown += [f"{unnamed} whose name Slack does not tell"] if unnamed else []
        if shown:
            said.append(f"I could not read {', '.join(shown)}: {sentence}.")
    return "\n\n".join(f"_{sentence}_" for sentence in said)


def _one_line(name: str) -> str:
    """Write a name that people gave so that it can stand in code: one line, no backtick, 80 characters at most."""
    return " ".join(name.replace("`", "'").split())[:80]


def _waited_too_long(note: notes.WaitedTooLong) -> str:
    if note.end:
        return (
            f"Workers were stopped again and again for {spoken(OFFER_AFTER)}, and not because of your task. The "
            f"last time, {how_it_ended(note.end, note.said)}. I try no longer without asking you. If you still want it "
            "done, write here, for example “go on”, and I go on from the saved work."
        )
    return (
        f"This has waited for more than {spoken(OFFER_AFTER)}, so I did not begin without asking you. If you "
        "still want it done, write here, for example “go on”."
    )


def _time_up(note: notes.TimeUp) -> str:
    if note.waited_for:
        why = _WAITED_FOR.get(note.waited_for, "Claude does not answer")
        return f"{why}. I tried for {note.minutes:g} min. {_LATER}"
    standing = standing_words(note.done, note.left)
    last = f"The last thing I said:\n\n{note.last_words}" if note.last_words else ""
    stopped = f"This turn reached its limit of {note.minutes:g} min, so I stopped. {GO_ON}"
    return "\n\n".join(filter(None, (stopped, standing, last)))


def _given_up(note: notes.GivenUp) -> str:
    return (
        f"The worker ended several times before it could answer. The last time, {how_it_ended(note.end, note.said)}. "
        f"{_saved(note.saved)} Write here again, for example “go on”, and I go on from there. Or ask your PeerBot "
        "operator to look at this conversation's log."
    )


def _saved(saved: notes.Saved | None) -> str:
    if saved is None:
        return "It changed nothing."
    on_branch = f" Earlier pushes are on the branch `{saved.branch}`." if saved.branch else ""
    if saved.kept:
        return f"I saved its changes, and your next message here goes on from them.{on_branch}"
    if not saved.known:  # of a release that saved on GitHub
        return f"If any of its changes were saved, they are below `refs/{saved.folder}` in {saved.repository}."
    if not saved.ref:
        return f"It had not saved its changes yet.{on_branch}"
    return f"Its changes are saved in `{saved.ref}` of {saved.repository}.{on_branch}"


def how_it_ended(end: RunEnd, said: str = "") -> str:
    """Say why a run ended, as the end of a sentence. `said`: the reason for people from the place where runs run."""
    return said or _HOW_IT_ENDED.get(end, "it was stopped from outside")


def work_words(told: Sequence[Note]) -> str:
    """Word the notes about a turn's work alone, for the agent of the next turn."""
    return "\n\n".join(note_words(note) for note in told if isinstance(note, ABOUT_WORK))


def waits(said: str) -> str:
    """Say that the worker has not begun, for this reason."""
    return (
        f"The worker can't start yet: {said}. It starts as soon as it can. If that takes more than "
        f"{spoken(LONGEST_START)}, I stop and say so here."
    )


def goes_on(before: RunClosed) -> str:
    """Say that another worker goes on after one that ended. Returns an empty string if people need not know."""
    if before.reason in (RunEnd.FINISHED, RunEnd.DRAINED, RunEnd.DISPATCHER_ENDED):
        return ""
    ended = how_it_ended(before.reason, before.said)
    return f"The worker before this one ended: {ended}. This one goes on from the saved work."


def backs_off(last: RunClosed, ends: int) -> str:
    """Say that so many runs in a row ended through nobody's fault, and when the next one starts."""
    return (
        f"{ends} workers in a row were stopped, and not because of your task. The last time, "
        f"{how_it_ended(last.reason, last.said)}. The next one starts within {spoken(back_off(ends))} and goes on from "
        "the saved work; you don't need to write again."
    )


def delayed(service: str) -> str:
    """Say why a turn can't begin yet. `service` is a sentence that names the service and says what is wrong with it."""
    return f"{service} I begin as soon as it answers; you don't need to write again."


def unreadable(reason: str) -> str:
    """Say that a document of the conversation can't be read. `reason` is a whole sentence."""
    return f"I can't go on here: {reason} I changed nothing. Tell your PeerBot operator. Other threads go on."


def missed(before: Posted) -> str:
    """Say that Slack refused the answer before. Returns an empty string if it did not."""
    if not before.refused:
        return ""
    why = GONE.get(before.refused, "Slack refused it")
    return f"I could not post my last answer here: {why}. Ask me to repeat it."
