"""Notes: what a turn tells people is kept as facts, read by every release, and put into words in one place."""

import json
from typing import Literal

import pytest

from peerbot.conversation import choice_notes, notes
from peerbot.conversation.documents import RunClosed, Turn, TurnStatus
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.limits import Scope
from peerbot.conversation.notes import Claude, FileLoss, Left, LostFile, Note, Place, Refusal, SessionLoss
from peerbot.slack.render import turn_words
from peerbot.slack.words import backs_off, how_it_ended, note_words

SAVED = notes.Saved(repository="acme/user-ada", folder="peerbot/abc/")
SETTERS: tuple[Literal["operator", "channel", "person"], ...] = ("operator", "channel", "person")
NOTES: list[Note] = [
    *(notes.Failed(why=why) for why in Claude),
    *(notes.Refused(why=why) for why in Refusal),
    *(notes.NewSession(why=why) for why in SessionLoss),
    *(
        notes.BudgetUsedUp(budget_usd=10, scope=scope, month=month, set_by=who)
        for scope in Scope
        for month in ("", "2026-11", "2026-12")
        for who in SETTERS
    ),
    *(
        notes.BudgetNear(budget_usd=12.5, spent_usd=10.2, scope=scope, month="2026-11", set_by=who)
        for scope in Scope
        for who in SETTERS
    ),
    choice_notes.Undone(name="Ada", turn=2, branch="peerbot/x", kept_on="peerbot/x-undone-2"),
    choice_notes.Retried(name="Ada", turn=2, kept_on="peerbot/x-undone-2"),
    choice_notes.Retried(name="Ada", turn=2),
    choice_notes.SessionForgotten(name="Ada"),
    choice_notes.RecordRemoved(),
    notes.TimeUp(minutes=5),
    notes.TimeUp(minutes=5, waited_for=Claude.OVERLOADED),
    notes.TimeUp(minutes=5, done=("Read it",), left=("Mend it",), last_words="I mend it."),
    notes.StoppedBy(name="Ada", began=False),
    notes.StoppedBy(name="Ada", done=("Read it",), left=("Mend it",), last_words="I mend it."),
    notes.StoppedBy(name="Ada", saved=SAVED.model_copy(update={"kept": True})),
    notes.NotBegun(reason="The repository could not be checked out."),
    notes.SessionNotKept(),
    notes.NotPushed(reason="GitHub said no.", kept=True, diverged=False, waits_seconds=60),
    notes.NotPushed(reason="GitHub said no.", kept=False, diverged=False, waits_seconds=60),
    notes.NotPushed(reason="Somebody pushed.", kept=True, diverged=True, waits_seconds=60),
    *(notes.LeftOut(paths={"data.bin": why}, kept=kept) for why in Left for kept in (True, False)),
    *(
        notes.Stopped(operation=name, kept=True)
        for name in ("merge", "rebase", "cherry-pick", "revert", "am", "bisect")
    ),
    notes.Stopped(operation="rebase", files=("a.txt", "b.txt"), kept=False),
    *(notes.Rewritten(commits=commits) for commits in (1, 2)),
    *(notes.Moved(place=place) for place in ("feature", "")),
    notes.Elsewhere(places=(Place(name="feature", commits=1), Place(name="", commits=2)), files=True, kept=True),
    *(notes.Stashes(count=count, kept=True) for count in (1, 2)),
    *(notes.Nested(paths=paths, kept=True) for paths in (("sub",), ("a", "b"))),
    *(notes.Replaced(files=files) for files in (True, False)),
    notes.NoDifference(),
    notes.NoPullRequest(reason="GitHub said no."),
    notes.NewBranch(branch="peerbot/x-2", reason="Pull request #1 was merged"),
    notes.OtherRepository(repository="acme/user-ada-5d9b15c8", taken="acme/user-ada"),
    *(notes.GivenUp(end=end, saved=SAVED) for end in RunEnd),
    notes.GivenUp(end=RunEnd.CRASHED),
    notes.GivenUp(end=RunEnd.CRASHED, saved=SAVED.model_copy(update={"kept": True, "branch": "b"})),
    notes.GivenUp(end=RunEnd.CRASHED, saved=SAVED.model_copy(update={"known": False})),
    notes.GivenUp(end=RunEnd.CRASHED, saved=SAVED.model_copy(update={"ref": "refs/peerbot/abc/1", "branch": "b"})),
    notes.NotStarted(said="a rule of the cluster does not admit it"),
    notes.WaitedTooLong(),
    notes.WaitedTooLong(end=RunEnd.NODE_LOST),
    notes.NoRepository(reason="It is not there."),
    notes.NothingAsked(),
    *(notes.FilesNotRead(files=(LostFile(name="a.png", why=why), LostFile(name="", why=why))) for why in FileLoss),
]


def turn(*told: Note, text: str = "") -> Turn:
    return Turn(k=1, run=None, inputs=["1.000001-message"], status=TurnStatus.FAILED, text=text, notes=list(told))


@pytest.mark.parametrize("note", NOTES, ids=repr)
def test_the_journal_gives_a_note_back_as_it_was_and_it_reads_as_whole_sentences(note: Note) -> None:
    kept = Turn.model_validate_json(turn(note).model_dump_json())
    said = note_words(note)

    assert kept.notes == [note]
    assert said.rstrip("_")[-1] in ".:;" or "\n" in said
    assert "None" not in said
    assert "{" not in said


@pytest.mark.parametrize("end", [end for end in RunEnd if end.is_nobodys_fault])
@pytest.mark.parametrize(("ends", "within"), [(2, "2 seconds"), (6, "32 seconds"), (7, "1 minute")])
def test_a_card_that_waits_says_what_happened_and_when_it_goes_on(end: RunEnd, ends: int, within: str) -> None:
    said = backs_off(RunClosed(reason=end), ends)
    assert said.startswith(f"{ends} workers in a row were stopped, and not because of your task. The last time, ")
    assert f"{how_it_ended(end)}. The next one starts within {within} and goes on" in said


def test_every_kind_of_note_is_among_these() -> None:
    kinds = {
        kind for kind in vars(notes).values() if isinstance(kind, type) and "kind" in getattr(kind, "model_fields", ())
    }

    assert {type(note) for note in NOTES} == kinds - {notes.Unknown}


def test_a_note_that_only_a_newer_release_knows_is_left_out() -> None:
    document = json.loads(turn(notes.SessionNotKept(), text="Done.").model_dump_json())
    document["notes"].insert(0, {"kind": "of_tomorrow", "more": [1, 2]})
    read = Turn.model_validate_json(json.dumps(document))

    assert turn_words(read.text, read.notes) == f"Done.\n\n{note_words(notes.SessionNotKept())}"
    assert Turn.model_validate_json(read.model_dump_json()).notes == read.notes


def test_a_new_session_is_told_before_the_answer_and_the_rest_after_it() -> None:
    new, lost = notes.NewSession(why=SessionLoss.GONE), notes.SessionNotKept()

    assert turn_words("Done.", [lost, new]) == f"{note_words(new)}\n\nDone.\n\n{note_words(lost)}"
