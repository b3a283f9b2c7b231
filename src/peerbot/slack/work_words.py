"""The sentences about a turn's work: what is not on the branch, and what happened to the branch. Part of `words.py`."""

from collections.abc import Sequence

from peerbot.conversation import notes
from peerbot.conversation.notes import Left, Note

ABOUT_WORK = (
    notes.NotPushed,
    notes.LeftOut,
    notes.Stopped,
    notes.Rewritten,
    notes.Moved,
    notes.Elsewhere,
    notes.Stashes,
    notes.Nested,
    notes.Replaced,
    notes.NoDifference,
)

_MOST_NAMED = 10
_LEFT = {
    Left.UNREADABLE: "can't be read",
    Left.REFUSED_BY_GIT: "git can't store it",
    Left.TOO_LARGE: "too large for GitHub",
    Left.SECRET: "GitHub found a secret in it",
    Left.LFS: "belongs to Git LFS, which PeerBot does not support yet",
    Left.CONFLICT: "has conflicts that are not resolved",
    Left.SUBMODULE: "a submodule on a commit that no server has",
    Left.IGNORED: "hidden by .gitignore",
}


def about_work(note: Note) -> str:  # noqa: PLR0911 - a sentence a kind
    """Word a note about a turn's work, in Markdown."""
    match note:
        case notes.NotPushed():
            return _not_pushed(note)
        case notes.LeftOut():
            return _left_out(note)
        case notes.Stopped():
            return _stopped(note)
        case notes.Rewritten(commits=commits):
            no_longer = "commit that was pushed before is" if commits == 1 else "commits that were pushed before are"
            return f"_I rewrote the branch: {commits} {no_longer} no longer on it._"
        case notes.Moved(place=place):
            where = f"on `{place}`" if place else "on a detached HEAD"
            return f"_I worked {where} instead of on this thread's branch. The commits are on the thread's branch now._"
        case notes.Elsewhere():
            return _elsewhere(note)
        case notes.Stashes(count=count, kept=kept):
            left = "a stash, which is" if count == 1 else f"{count} stashes, which are"
            return f"_I left {left} not on the branch. {_kept(kept)}_"
        case notes.Nested(paths=paths, kept=kept):
            what = (
                "is a repository of its own, so its files are"
                if len(paths) == 1
                else "are repositories of their own, so their files are"
            )
            return f"_{_paths(paths)} {what} not on the branch. {_kept(kept)}_"
        case notes.NoDifference():
            return "_My commits cancel each other out: the branch changes no file, so there is no pull request._"
        case notes.Replaced(files=files):
            return "⚠️ The repository's history was removed or replaced in my workspace. " + (
                "I put the files on the branch as one commit, on top of the history that GitHub has."
                if files
                else "There were no files left either, so I changed nothing on the branch."
            )
        case _:
            raise AssertionError(f"{note.kind} is not about a turn's work")


def _not_pushed(note: notes.NotPushed) -> str:
    if note.diverged:
        then = "Write here again, and I bring both together. Until then I keep my changes."
    elif note.kept:
        then = "When that is fixed, write here again, and I push them. Until then I keep them."
    else:
        then = (
            f"Write here again, and I push them. I keep them for {note.waits_seconds:g} seconds; after that I do the "
            "work again. If it fails again, ask your PeerBot operator."
        )
    reason = note.reason.rstrip(".")
    return f"⚠️ **My changes are not on the branch yet, because I could not push them:** {reason}. {then}"


def _left_out(note: notes.LeftOut) -> str:
    reasons = {
        why: [path for path, each in note.paths.items() if each is why] for why in dict.fromkeys(note.paths.values())
    }
    said = "; ".join(f"{_paths(paths)} ({_LEFT[why]})" for why, paths in reasons.items())
    return f"⚠️ **Not on the branch:** {said}. {_kept(note.kept)}"


def _stopped(note: notes.Stopped) -> str:
    where = f" at conflicts in {_paths(note.files)}" if note.files else ""
    how = f"stopped{where}" if where else "is still in progress"
    then = "Write here again, and I go on with it." if note.kept else _kept(note.kept)
    article = "An" if note.operation == "am" else "A"
    operation = f"`git {note.operation}`"
    return (
        f"⚠️ **{article} {operation} {how}.** The branch has only the commits that were complete before it began. {then}"
    )


def _elsewhere(note: notes.Elsewhere) -> str:
    places = [
        f"{place.commits} {'commit' if place.commits == 1 else 'commits'} "
        + (f"on `{place.name}`" if place.name else "on no branch")
        for place in note.places[:_MOST_NAMED]
    ]
    said = ", ".join([*places, *(["uncommitted files"] if note.files else [])])
    return f"⚠️ **Not on the branch, because it does not build on it:** {said}. {_kept(note.kept)}"


def _kept(kept: bool) -> str:
    return "My next turn here finds it." if kept else "I could not save it for my next turn."


def _paths(paths: Sequence[str]) -> str:
    """Name paths as code; of many only the first."""
    shown = ", ".join(f"`{path.replace('`', chr(39))}`" for path in paths[:_MOST_NAMED])
    return shown if len(paths) <= _MOST_NAMED else f"{shown} and {len(paths) - _MOST_NAMED} more"
