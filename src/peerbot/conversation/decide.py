"""The next step of a conversation, decided from its journal and its runs: the heart of `reconcile`.

Pure, so that tests can try every interleaving without input or output. A caller may take each step twice, and two
replicas may take it at once (the creates decide). After each step the caller looks again, until there is nothing to do.
"""

from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from peerbot.conversation.deadlines import COMES_WITHIN, LONGEST_BACK_OFF, OFFER_AFTER, ORPHAN_AFTER, back_off
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Refused
from peerbot.conversation.steps import (
    Answer,
    AnswerStopped,
    CarryOut,
    Choose,
    Close,
    Drop,
    EndIdle,
    GiveUp,
    LookAgain,
    NoEffect,
    Nothing,
    Offer,
    Post,
    Recover,
    Reserve,
    SettleQuestion,
    Show,
    Step,
    Tell,
    Unmark,
    Wake,
)
from peerbot.conversation.view import Deletion, Pressed, RunView, Stop, View

TRIES = 3
"""How many runs of an input may die of themselves in a row without getting further. Then we answer it with the
reason."""

MOST_TRIES = 10
"""How many runs of an input may die of themselves in all, even if each gets further than the one before."""


def next_step(view: View, now: datetime) -> Step:
    """Decide the next step. Deterministic; raises nothing."""
    unposted = {turn.k for turn in view.unposted}
    if done := tuple(i for i in view.pending if i in view.answered and view.answered[i] not in unposted):
        return Unmark(done)
    # A thread reads in order: an answer waits for those before it.
    first = min(view.unposted, key=lambda turn: turn.k, default=None)
    if first and now >= first.again_at:
        return Post(first.k, first.claims + 1)
    newest = view.runs[0] if view.runs else None
    step: Step
    if about := _question(view):
        step = about
    elif view.deletions:
        step = _delete(view.deletions[0], newest)
    elif view.stops and (stopping := _stop(view, view.stops[0], newest)):
        step = stopping
    elif choosing := _choice(view, newest):
        step = choosing
    elif newest and not newest.closed:
        step = _look_after(newest, view.waiting, now)
    elif view.waiting:
        step = _serve(view, newest, now)
    else:
        step = Nothing()
    if isinstance(step, Nothing | LookAgain) and (orphan := _orphan(view, now)):
        return Recover(orphan)
    if first and isinstance(step, Nothing):
        return LookAgain(first.again_at)
    if first and isinstance(step, LookAgain):
        return replace(step, at=min(step.at, first.again_at))
    return step


def _delete(deletion: Deletion, newest: RunView | None) -> Step:
    """Decide the step for the oldest deletion."""
    if not deletion.of:
        return Tell(deletion.id, NoEffect.TURN_ENDED)
    if newest and not newest.closed and newest.started:
        return Tell(deletion.id, NoEffect.BEGUN)
    return Drop((*deletion.of, deletion.id))


def _question(view: View) -> Step | None:
    """Decide the step for what people did about a question. What its author took back settles nothing."""
    taken_back = {identity for deletion in view.deletions for identity in deletion.of}
    if vain := next(iter(view.vain.items()), None):
        return Tell(*vain)
    for question in view.questions:
        answers = [identity for identity in question.answers if identity not in taken_back]
        if question.over or answers:
            return SettleQuestion(question.id, "" if question.over else answers[0])
    return None


def _stop(view: View, stop: Stop, newest: RunView | None) -> Step | None:
    """Decide the step for the oldest stop; None if a run that has ended must be closed first.

    It stops the messages that came before it. One that came later was written by somebody who may have known of it.
    """
    refused = view.fixed.get(stop.id)
    if isinstance(refused, Refused):
        return Tell(stop.id, refused.why)
    if stop.settled or stop.turn not in (None, view.turn):
        return Tell(stop.id, NoEffect.TURN_ENDED)
    before = view.pending[: view.pending.index(stop.id)]
    stopped = tuple(i for i in view.waiting if i in before and i not in view.fixed)  # the others get their own answer
    if not stopped:
        if view.questions:  # nobody is at work, but somebody is waited for
            return SettleQuestion(view.questions[-1].id, stop.id)
        return Tell(stop.id, NoEffect.NOTHING_AT_WORK)
    if newest and not newest.closed and newest.started:
        # Its worker interrupts the agent, keeps the work and answers. If it is gone, it is closed first.
        return Wake(newest.n) if newest.alive else None
    stops = tuple(
        each.id
        for each in view.stops
        if not each.settled and each.turn in (None, view.turn) and each.id not in view.fixed
    )
    began = any(run.started and set(run.serves) & set(stopped) for run in view.runs)
    return AnswerStopped(stop.id, (*stopped, *stops), began)


def _choice(view: View, newest: RunView | None) -> Step | None:
    """Decide the step for the oldest choice that needs one; None if none does."""
    found = (_choose(view, choice, newest) for choice in view.choices)
    return next((step for step in found if step), None)


def _choose(view: View, choice: Pressed, newest: RunView | None) -> Step | None:  # noqa: PLR0911 - a table
    """Decide the step for a choice; None if the agent has to answer it, or a run that has ended must be closed first.

    Of all choices about a turn one has an effect: the first that was written down. It has it only if nothing is at work
    and no later turn is there; once the branch is back before the turn, it has it in any case.
    """
    note = None if choice.back and choice.counts else view.fixed.get(choice.id)
    if isinstance(note, Refused):
        return Tell(choice.id, note.why)
    if choice.act and choice.act.private:
        return Show(choice.id)
    if choice.act is None or choice.settled:
        return Tell(choice.id, NoEffect.NOT_POSSIBLE)  # if it is settled, its author reads what was settled
    if choice.waits:
        return None
    if choice.chosen not in (None, choice.id):
        return Tell(choice.id, NoEffect.CHOSEN)
    if not choice.back and choice.turn != view.newest:
        return Tell(choice.id, NoEffect.GONE_ON)
    if not choice.back and view.waiting:
        return Tell(choice.id, NoEffect.AT_WORK)
    if note:
        return Answer((choice.id,), note)
    if not choice.counts:
        return Choose(choice.id)
    if newest and not newest.closed:
        return EndIdle(newest.n) if newest.alive and not view.waiting else None
    return CarryOut(choice.id, view.turn)


def _look_after(run: RunView, waiting: tuple[str, ...], now: datetime) -> Step:
    """Decide the step if a run is open: is it really there?"""
    if run.alive:
        return Wake(run.n) if waiting else Nothing()
    if run.alive is False:
        return Close(run.n, run.end or RunEnd.GONE, run.detail, run.said, run.by_signal)
    if run.started:
        return Close(run.n, RunEnd.GONE, "it is gone, and nothing says why")
    if now - run.reserved_at >= COMES_WITHIN:
        return Close(run.n, RunEnd.NEVER_STARTED, "it never came")
    return LookAgain(run.reserved_at + COMES_WITHIN)


def _serve(view: View, newest: RunView | None, now: datetime) -> Step:
    """Decide the step if inputs wait and no run is open."""
    if note := next((view.fixed[i] for i in view.waiting if i in view.fixed), None):
        return Answer(tuple(i for i in view.waiting if view.fixed.get(i) == note), note)
    if newest and newest.closed and (exhausted := tuple(i for i in view.waiting if _used_up(i, view.runs))):
        return GiveUp(exhausted, newest.closed)
    if all(_waited_too_long(i, view, now) for i in view.waiting):  # if one of them is fresh, somebody asked
        ends = min(len(_row(i, view.runs)) for i in view.waiting)
        return Offer(view.waiting, newest.closed if newest and ends else None)
    if newest and newest.closed and (wait := _back_off(view, newest.closed, now)):
        return wait
    return Reserve(newest.n + 1 if newest else 1, view.waiting)


def _used_up(identity: str, runs: tuple[RunView, ...]) -> bool:
    """Whether an input has no tries left (decision 0002), or another try would be no use."""
    tries = in_a_row = 0
    reason = None
    for run in reversed(runs):
        if run.closed is None or identity not in run.serves:
            continue
        reason = run.closed.reason
        if run.further and not run.closed.by_signal:
            in_a_row = 0
        if reason.died_of_itself:
            tries, in_a_row = tries + 1, in_a_row + 1
    return reason is RunEnd.NOT_ADMITTED or in_a_row >= TRIES or tries >= MOST_TRIES


def _row(identity: str, runs: tuple[RunView, ...]) -> list[RunView]:
    """The last runs, newest first, that were for this input and ended, one after the other, through nobody's fault."""
    return list(takewhile(lambda run: identity in run.serves and run.is_nobodys_fault, runs))


def _back_off(view: View, last: RunClosed, now: datetime) -> LookAgain | None:
    """Say for how long the next run waits after ends that are nobody's fault; None if it does not wait.

    The input with the fewest such ends decides: somebody just asked for a new one. A close from a clock that is far
    ahead is not waited for.
    """
    ends = min(len(_row(i, view.runs)) for i in view.waiting)
    if ends == 0:
        return None
    at = last.closed_at + back_off(ends)
    return LookAgain(at, ends) if now < at <= now + 2 * LONGEST_BACK_OFF else None


def _waited_too_long(identity: str, view: View, now: datetime) -> bool:
    """Whether an input is too old to be begun unasked: neither said nor tried lately (`OFFER_AFTER`).

    A row of runs that end through nobody's fault is one try, from its first run on: such a row must not go on for ever.
    """
    served = [run for run in view.runs if identity in run.serves]
    tried = (_row(identity, view.runs) or served[:1])[-1:]
    said = view.said_at.get(identity)
    return said is not None and now - max([said, *(run.reserved_at for run in tried)]) >= OFFER_AFTER


def _orphan(view: View, now: datetime) -> str | None:
    """Find the oldest marker that will no longer get its input."""
    return next((i for i in sorted(view.orphans) if now - view.orphans[i] >= ORPHAN_AFTER), None)
