"""Judges a conversation from its objects and its thread. Pure: it uses only these and the clock.

One fault is one finding. Consequences of it are not reported again: if a turn is missing, its inputs are not "lost".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from peerbot.conversation.deadlines import MENDED_WITHIN
from peerbot.conversation.documents import Run, RunClosed, RunStarted
from peerbot.conversation.keys import input_ts
from peerbot.journal import paths
from peerbot.verify.read import Seen
from peerbot.verify.report import Finding, Name, NotLookedAt, Verdict, Waiting


@dataclass(slots=True)
class Thread:
    """A thread as Slack shows it: all messages, and those that carry a turn, by their metadata."""

    messages: set[str] = field(default_factory=set)
    answers: dict[tuple[str, int, str], list[str]] = field(default_factory=dict)  # conversation, turn, part: ts
    refused: str | None = None  # why Slack does not show it


def judge(seen: Seen, thread: Thread | None, now: datetime) -> Verdict:
    """Find a conversation's faults and its waiting inputs. `thread` is None if Slack is not asked."""
    verdict = Verdict(
        inputs=len(seen.inputs),
        turns=sum("json" in there for there in seen.turns.values()),
        posted=sum("posted" in there for there in seen.turns.values()) - len(_not_taken(seen)),
        not_taken=len(_not_taken(seen)),
    )
    verdict.findings += [*_documents(seen), *_turns(seen, now), *_order(seen), *_inputs(seen, now)]
    verdict.leftover_markers = sum(_all_posted(seen, identity) for identity in seen.markers)
    verdict.waiting += _waiting(seen, now)
    if thread and thread.refused:
        verdict.not_looked_at.append(NotLookedAt(conversation=str(seen.conversation), reason=thread.refused))
    elif thread:
        verdict.findings += _thread(seen, thread)
    return verdict


def _documents(seen: Seen) -> Iterator[Finding]:
    """Find objects that can't be read, or are missing."""
    for key in seen.damaged:
        yield Finding.of(Name.DAMAGED, seen.conversation, key, "This object can't be read.")
    for key in seen.newer:
        yield Finding.of(Name.NEWER, seen.conversation, key, "This object was written by a newer release.")
    if missing := seen.session_missing:
        sentence = "The session that the next turn would resume is missing."
        yield Finding.of(Name.SESSION_MISSING, seen.conversation, missing, sentence)
    for n in range(max(1, seen.removed_run), max(seen.runs, default=0) + 1):
        if "json" not in seen.runs.get(n, {}):
            yield Finding.of(Name.RUN_MISSING, seen.conversation, f"run {n}", f"The reservation of run {n} is missing.")


def _turns(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Find turns that are missing, answer an input twice or one that is missing, or are not in Slack."""
    for k in _missing_turns(seen):
        sentence = f"Turn {k} is missing, but a later turn or its receipt is there."
        if unmarked := [identity for identity in _unanswered(seen) if identity not in seen.markers]:
            sentence += f" It may have answered {', '.join(unmarked)}."
        yield Finding.of(Name.TURN_MISSING, seen.conversation, f"turn {k}", sentence)
    for identity, turns in seen.answered.items():
        if len(turns) > 1:
            sentence = f"The turns {', '.join(map(str, turns))} all answer {identity}."
            yield Finding.of(Name.ANSWERED_TWICE, seen.conversation, identity, sentence)
        if identity not in seen.inputs:
            sentence = f"Turn {turns[0]} answers {identity}, but the journal does not have this input."
            yield Finding.of(Name.INPUT_MISSING, seen.conversation, identity, sentence)
    for k, there in sorted(seen.turns.items()):
        if (turn := seen.turn(k)) and "posted" not in there and _late(seen, k, now):
            sentence = f"Turn {k} was written at {turn.ended_at:%Y-%m-%d %H:%M} UTC, but its answer has no receipt."
            yield Finding.of(Name.UNPOSTED, seen.conversation, f"turn {k}", sentence)


def _order(seen: Seen) -> Iterator[Finding]:
    """Find answers that came before an earlier turn's answer."""
    newest: tuple[int, ...] = (0,)
    for k in sorted(seen.turns):
        if (posted := seen.posted(k)) and posted.ts:
            stamps = sorted(_moment(ts) for ts in posted.ts)
            if stamps[0] < newest:
                sentence = f"The answer of turn {k} came before the answer of an earlier turn."
                yield Finding.of(Name.OUT_OF_ORDER, seen.conversation, f"turn {k}", sentence)
            newest = max(newest, stamps[-1])


def _inputs(seen: Seen, now: datetime) -> Iterator[Finding]:
    """Find inputs that PeerBot will not answer."""
    if not _missing_turns(seen) and not _unreadable_turns(seen):
        for identity in _unanswered(seen):
            if identity not in seen.markers:
                sentence = "This input was recorded, but no turn answers it and it has no marker."
                yield Finding.of(Name.LOST_INPUT, seen.conversation, identity, sentence)
    for identity, marker in seen.markers.items():
        if marker and _never_recorded(seen, identity, now):
            sentence = f"This input was marked at {marker.recorded_at:%Y-%m-%d %H:%M} UTC, but never recorded."
            yield Finding.of(Name.MARKER_WITHOUT_INPUT, seen.conversation, identity, sentence)


def _thread(seen: Seen, thread: Thread) -> Iterator[Finding]:
    """Find differences between the thread in Slack and the journal."""
    for k in sorted(seen.turns):
        posted = seen.posted(k)
        if posted and (gone := [ts for ts in posted.ts if ts not in thread.messages]):
            sentence = f"The answer of turn {k} was posted as {', '.join(gone)}, but is not in the thread."
            yield Finding.of(Name.ANSWER_GONE, seen.conversation, f"turn {k}", sentence)
    missing = _missing_turns(seen)
    for (conversation, k, _), stamps in sorted(thread.answers.items()):
        if k <= seen.removed and conversation == str(seen.conversation):
            continue  # Slack keeps what the journal has not any more
        if conversation != str(seen.conversation):
            sentence = f"A message of this thread carries turn {k} of {conversation}."
            yield Finding.of(Name.UNKNOWN_ANSWER, seen.conversation, f"message {stamps[0]}", sentence)
        elif "json" not in seen.turns.get(k, {}) and k not in missing:
            sentence = f"A message of this thread carries turn {k}, but the journal does not have this turn."
            yield Finding.of(Name.UNKNOWN_ANSWER, seen.conversation, f"message {stamps[0]}", sentence)
        if len(stamps) > 1:
            sentence = f"The answer of turn {k} is in the thread {len(stamps)} times: {', '.join(stamps)}."
            yield Finding.of(Name.POSTED_TWICE, seen.conversation, f"turn {k}", sentence)


def _waiting(seen: Seen, now: datetime) -> Iterator[Waiting]:
    """List the inputs that have no answer in Slack yet and are not lost, oldest first."""
    answered = seen.answered
    for identity in paths.in_order([*{*seen.inputs, *seen.markers}]):
        if identity in answered:
            unposted = [k for k in answered[identity] if "posted" not in seen.turns[k] and not _late(seen, k, now)]
            reason = f"turn {unposted[0]} is written, and its answer is not posted yet" if unposted else ""
        elif identity not in seen.markers or _never_recorded(seen, identity, now):
            reason = ""  # lost: that is a finding
        elif identity not in seen.inputs:
            reason = "its marker is there, but it is not recorded yet"
        else:
            reason = _why_not_answered(seen)
        if reason:
            age = int((now - datetime.fromtimestamp(float(input_ts(identity)), UTC)).total_seconds())
            yield Waiting(conversation=str(seen.conversation), input=identity, age_seconds=max(0, age), reason=reason)


def _why_not_answered(seen: Seen) -> str:
    """Say why an input waits, from the newest run. Whether an open run lives can't be seen from outside."""
    if not seen.runs:
        return "there is no run yet"
    n = max(seen.runs)
    there = seen.runs[n]
    if "closed" in there:
        closed = there["closed"]
        why = f" ({closed.reason.value})" if isinstance(closed, RunClosed) else ""
        return f"run {n} is closed{why}, and there is no other run yet"
    if isinstance(started := there.get("started"), RunStarted):
        return f"run {n} has been open since {started.started_at:%Y-%m-%d %H:%M} UTC"
    if isinstance(run := there.get("json"), Run):
        return f"run {n} was reserved at {run.reserved_at:%Y-%m-%d %H:%M} UTC and has not started"
    return f"run {n} is open"


def _missing_turns(seen: Seen) -> list[int]:
    """The numbers of turns that must have been written, since a later turn or their own receipt is there."""
    last = max((k for k, there in seen.turns.items() if there.keys() - {"card"}), default=0)
    return [k for k in range(seen.removed + 1, last + 1) if "json" not in seen.turns.get(k, {})]


def _unreadable_turns(seen: Seen) -> bool:
    return any("json" in there and seen.turn(k) is None for k, there in seen.turns.items())


def _unanswered(seen: Seen) -> list[str]:
    answered = seen.answered
    return paths.in_order(
        [identity for identity in seen.inputs if identity not in answered and identity not in seen.settled]
    )


def _all_posted(seen: Seen, identity: str) -> bool:
    turns = seen.answered.get(identity, [])
    return bool(turns) and all("posted" in seen.turns[k] for k in turns)


def _late(seen: Seen, k: int, now: datetime) -> bool:
    """Whether turn `k` ended more than `MENDED_WITHIN` ago, so that its answer should be in Slack."""
    turn = seen.turn(k)
    return turn is not None and now - turn.ended_at > MENDED_WITHIN


def _never_recorded(seen: Seen, identity: str, now: datetime) -> bool:
    """Whether a marker's input is missing and will not come."""
    marker = seen.markers.get(identity)
    if identity in seen.inputs or identity in seen.answered or marker is None:
        return False
    return now - marker.recorded_at > MENDED_WITHIN


def _not_taken(seen: Seen) -> list[int]:
    """List the turns whose receipt names no message: Slack would never take the answer (the channel is archived)."""
    return [k for k in seen.turns if (posted := seen.posted(k)) and not posted.ts]


def _moment(ts: str) -> tuple[int, ...]:
    return tuple(int(part) for part in ts.split("."))
