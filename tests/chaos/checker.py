"""Judges the evidence of a chaos run. Pure: it reads nothing but the evidence, and each fault has a name."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from evidence import Evidence, Seen, Shown
from hands import PICKED

GRACE_SECONDS = 2.0
"""A request that was on its way to the model when another turn was written is no fault."""


class Name(StrEnum):
    """The faults that there can be."""

    LOST = "a message has no answer"
    DOUBLED = "an answer is in Slack twice"
    ANSWERED_TWICE = "a message is answered by two turns"
    IGNORED = "something that somebody did has neither an effect nor a reason"
    NOT_TOLD = "somebody was not told why what they did had no effect"
    PRESS_LOST = "a press or an answer without an error is not in the journal"
    ASKED_TWICE = "the agent has asked the same twice"
    SETTLED_TWICE = "one question has the effect of two answers, or one answer two effects"
    PICKED_TWICE = "somebody picked a repository, and the work is in another one"
    NOT_PICKED = "somebody picked a repository, and that has no effect, or its menu does not show it"
    OPEN = "a question is not settled, or its message does not show that"
    ELSEWHERE = "an answer says what another message was told"
    OUT_OF_ORDER = "answers are not in the order of the messages"
    UNRECORDED = "a message is not in the journal"
    UNMARKED = "a message waits, and no marker says so"
    MARKER_LEFT = "a marker is left"
    NO_RECEIPT = "a turn has no receipt"
    RUN_OPEN = "a run is open"
    RUN_REFUSED = "a run was refused, where nothing refuses any"
    WORK_LOST = "work that was saved is not on the branch"
    WORKED_AFTER = "a message was worked on after its turn was written"
    FORGOTTEN = "the session did not know an earlier message"
    NOT_ENDED = "the conversation has not ended in time"
    WORKER_LEFT = "a process of a run is left"
    DISPATCHER_DIED = "a dispatcher has ended unasked"
    VERIFY = "peerbot verify finds something"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    name: Name
    conversation: str  # empty: of no conversation
    sentence: str

    def __str__(self) -> str:
        return f"{self.conversation or '(all)'}: {self.name}: {self.sentence}"


def judge(evidence: Evidence) -> list[Problem]:
    """Return all faults; nothing if all is well."""
    found = [Problem(name, seen.conversation, told) for seen in evidence.conversations for name, told in _one(seen)]
    for seen in evidence.conversations:
        if seen.waited is None or seen.waited > evidence.bound_seconds:
            told = "has not ended" if seen.waited is None else f"ended {seen.waited:.0f} s after the last fault"
            found.append(
                Problem(Name.NOT_ENDED, seen.conversation, f"{told}; {evidence.bound_seconds:.0f} s are given")
            )
    found += [Problem(Name.WORKER_LEFT, "", command) for command in evidence.workers]
    found += [Problem(Name.DISPATCHER_DIED, "", told) for told in evidence.died]
    found += [Problem(Name.VERIFY, where, f"{name}: {told}") for name, where, told in evidence.verify]
    return found


def failed_turns(evidence: Evidence) -> list[tuple[str, int, str]]:
    """Turns whose answer says why it could not be done: an answer, and one that people would like to know of."""
    return [
        (seen.conversation, k, str(turn["text"]))
        for seen in evidence.conversations
        for k, turn in seen.documents("turns.json").items()
        if turn["status"] != "done"
    ]


def _one(seen: Seen) -> Iterator[tuple[Name, str]]:
    yield from _answers(seen)
    yield from _people(seen)
    yield from _order(seen)
    yield from _journal(seen)
    yield from _work(seen)
    yield from _model(seen)


def _answers(seen: Seen) -> Iterator[tuple[Name, str]]:
    """Each message is named by one turn, whose answer is in the thread, once, and says what this message was told."""
    turns = seen.documents("turns.json")
    parts = Counter((shown.turn, shown.part) for shown in seen.shown)
    for (turn, part), times in parts.items():
        if times > 1:
            yield Name.DOUBLED, f"part {part} of turn {turn} is in the thread {times} times"
        if turn not in turns:
            yield Name.LOST, f"turn {turn} is in the thread and not in the journal"
    for asked in seen.asked:
        by = [k for k, turn in turns.items() if asked.identity in turn["answers"]]
        if len(by) > 1:
            yield Name.ANSWERED_TWICE, f"{asked.token} by turns {by}"
        if asked.identity in seen.settled and not by:
            continue  # its author deleted it before anybody began
        if not any((k, 1) in parts for k in by):
            yield Name.LOST, f"{asked.token} ({asked.identity}): turns {by}"
        telling = {shown.turn for shown in seen.shown if asked.told in shown.text} - _repeats(seen, asked.identity)
        done = {
            k for k in by if turns[k]["status"] == "done" and not _stopped(turns[k]) and not turns[k].get("deferred")
        }
        if done and telling != done and asked.identity not in _deciding(seen):
            yield Name.ELSEWHERE, f"{asked.token} is answered by turns {by}, and told by {sorted(telling)}"


def _people(seen: Seen) -> Iterator[tuple[Name, str]]:
    """All that people did is recorded, and has one effect, or its author was told why not."""
    turns = seen.documents("turns.json")
    for act in sorted(seen.acts):
        by = [k for k, turn in turns.items() if act in turn["answers"]]
        if len(by) > 1:
            yield Name.ANSWERED_TWICE, f"{act} by turns {by}"
        if not by and act not in seen.settled:
            yield Name.IGNORED, act
        if act.endswith("-answer") and (len(by) == 1) != (act in _deciding(seen)):
            yield Name.SETTLED_TWICE, f"{act}: turns {by}, and settled {sorted(_deciding(seen))}"
    reasons = [i for i in seen.settled if seen.objects[f"settled/{i}.json"]["why"] != "deleted"]
    owed = Counter(str(seen.objects[f"inputs/{identity}.json"]["user"]) for identity in reasons)
    told = Counter(user for user, _ in seen.whispers)
    for user in owed:
        if told[user] < owed[user]:
            yield Name.NOT_TOLD, f"{user} {told[user]} times, of {owed[user]}: {sorted(reasons)}"
    yield from _picks(seen)
    recorded = Counter((str(seen.objects[f"inputs/{i}.json"].get("user")), i.rpartition("-")[2]) for i in seen.acts)
    inputs = [did for did in seen.did if not did.identity and did.kind != PICKED]
    for (user, kind), times in Counter((did.user, did.kind) for did in inputs).items():
        if recorded[user, kind] < times:
            yield Name.PRESS_LOST, f"{user}: {kind} {recorded[user, kind]} times, of {times}"
    for did in seen.did:
        if did.identity and f"inputs/{did.identity}.json" not in seen.objects:
            yield Name.PRESS_LOST, f"{did.identity}: {did.what}"
    yield from _questions(seen)


def _picks(seen: Seen) -> Iterator[tuple[Name, str]]:
    """One pick has an effect: the work is in its repository, and each menu shows that, and who picked.

    So everybody whose pick came later is told in the thread, besides what they were told alone.
    """
    holds, began = seen.objects.get("repository.json"), seen.objects.get("conversation.json")
    picks = [did for did in seen.did if did.kind == PICKED]
    if began and (seen.menus or holds) and (holds is None or began["repository"] != holds["repository"]):
        yield Name.PICKED_TWICE, f"{holds} was picked, and the work is in {began['repository']}"
    if picks and holds is None:
        yield Name.NOT_PICKED, f"{[did.what for did in picks]}"
    for menu in seen.menus:
        if holds and menu.noted and (menu.open or str(holds["repository"]) not in menu.text):
            yield Name.NOT_PICKED, f"the menu {menu.ts} shows: {menu.text}"


def _questions(seen: Seen) -> Iterator[tuple[Name, str]]:
    """Each question is asked once, is settled, and says so; the agent has read what settled it."""
    turns = seen.documents("turns.json")
    for asked in seen.asked:
        about = [question for question in seen.questions if asked.told in question.text]
        again = [k for k in _repeats(seen, asked.identity) if _anew(seen, turns[k])]
        if len(about) > 1 + len(again):
            yield Name.ASKED_TWICE, f"{asked.token}: {[question.id for question in about]}, turns again {again}"
    for times in Counter(question.id for question in seen.questions).items():
        if times[1] > 1:
            yield Name.ASKED_TWICE, f"question {times[0]} is in the thread {times[1]} times"
    for question in seen.questions:
        settled = seen.answers.get(question.id)
        if settled is None or question.open:
            yield Name.OPEN, f"question {question.id}: {settled}, {'with' if question.open else 'without'} buttons"
        elif settled["how"] == "answered":
            for k, turn in turns.items():
                if settled["input"] in turn["answers"] and turn["status"] == "done" and not _stopped(turn):
                    said = "".join(shown.text for shown in seen.shown if shown.turn == k)
                    wanted = [label for labels in settled["choices"] for label in labels] or [settled["words"]]
                    if not all(json.dumps(each)[1:-1] in said for each in wanted):
                        yield Name.ELSEWHERE, f"turn {k} does not say {wanted}, the answer to {question.id}"


def _deciding(seen: Seen) -> set[str]:
    """List the inputs that settled a question."""
    return {str(settled["input"]) for settled in seen.answers.values() if settled["how"] == "answered"}


def _anew(seen: Seen, turn: dict[str, Any]) -> bool:
    """Whether people wanted the work of an earlier turn again, so that the agent may ask again."""
    wanted = [i for i in turn["answers"] if i.endswith("-edit") or seen.objects[f"inputs/{i}.json"].get("act")]
    return bool(wanted)


def _repeats(seen: Seen, identity: str) -> set[int]:
    """List the turns that do the work of a message which another turn answered.

    That is after an edit, after somebody chose to do it again or to go on, and after an answer that came later.
    """
    turns = seen.documents("turns.json")
    by = {k for k, turn in turns.items() if identity in turn["answers"]}
    its = set(by)
    for k, turn in turns.items():
        if any(_about(seen, each) in its for each in turn["answers"]):
            its.add(k)
    return (its - by) | _of_edits(seen, identity)


def _about(seen: Seen, identity: str) -> int | None:
    """Say which turn's work an input goes on with."""
    document = seen.objects.get(f"inputs/{identity}.json", {})
    if document.get("act") in ("retry", "continue"):
        return int(document["turn"])
    asked = [question for question, settled in seen.answers.items() if settled.get("input") == identity]
    return int(asked[0].partition(".")[0]) if asked else None


def _of_edits(seen: Seen, identity: str) -> set[int]:
    """List the turns that do the work of a message as it reads after an edit, and another turn answered it before."""
    edits = {
        act
        for act in seen.acts
        if act.endswith("-edit") and f"{seen.objects[f'inputs/{act}.json'].get('of')}-message" == identity
    }
    turns = seen.documents("turns.json").items()
    return {k for k, turn in turns if edits & set(turn["answers"]) and identity not in turn["answers"]}


def _stopped(turn: dict[str, Any]) -> bool:
    return any(note["kind"] == "stopped_by" for note in turn.get("notes", ()))


def _order(seen: Seen) -> Iterator[tuple[Name, str]]:
    """Answers come as their turns do, and turns as the messages do."""
    in_thread = list(dict.fromkeys(shown.turn for shown in sorted(seen.shown, key=_stamp)))
    if in_thread != sorted(in_thread):
        yield Name.OUT_OF_ORDER, f"the turns in the thread are {in_thread}"
    said = [asked.identity for asked in seen.asked]
    turns = seen.documents("turns.json").values()
    answered = [identity for turn in turns for identity in sorted(turn["answers"]) if identity in said]
    if answered != sorted(answered):
        yield Name.OUT_OF_ORDER, f"messages were answered as {answered}"


def _stamp(shown: Shown) -> tuple[int, ...]:
    return tuple(map(int, shown.ts.split(".")))


def _journal(seen: Seen) -> Iterator[tuple[Name, str]]:
    """Inputs are recorded, markers gone, receipts there, runs closed."""
    turns, receipts = seen.documents("turns.json"), seen.documents("turns.posted")
    answered = {identity for turn in turns.values() for identity in turn["answers"]}
    for asked in seen.asked:
        recorded = f"inputs/{asked.identity}.json" in seen.objects
        if not recorded:
            yield Name.UNRECORDED, asked.token
        elif asked.identity not in answered | seen.settled and asked.identity not in seen.markers:
            yield Name.UNMARKED, asked.token
    # A press whose dispatcher died while it recorded it leaves a marker alone for some minutes: Slack showed an error.
    pressed = ("-answer", "-choice", "-stop")
    left = [m for m in seen.markers if f"inputs/{m}.json" in seen.objects or not m.endswith(pressed)]
    if left:
        yield Name.MARKER_LEFT, ", ".join(left)
    for k in turns.keys() - receipts.keys():
        yield Name.NO_RECEIPT, f"turn {k}"
    for n in seen.documents("runs.json").keys() - seen.documents("runs.closed").keys():
        yield Name.RUN_OPEN, f"run {n}"
    for n, closed in seen.documents("runs.closed").items():
        if closed["reason"] == "not_admitted":
            yield Name.RUN_REFUSED, f"run {n}: {closed['detail']}"


def _work(seen: Seen) -> Iterator[tuple[Name, str]]:
    """All that GitHub was given, or the journal as a checkpoint, is on the branch at the end, byte for byte.

    What people undid is on the branch that was made for it.
    """
    lost: dict[str, str] = {}
    for save in seen.saves:
        for path, blob in save.files.items():
            if blob not in [files.get(path) for files in (seen.branch, *seen.kept)]:
                lost.setdefault(path, f"{path}, saved in {save.place}, is {_there(seen, path)} the branch")
    for told in lost.values():
        yield Name.WORK_LOST, told


def _there(seen: Seen, path: str) -> str:
    return "with other content on" if path in seen.branch else "not on"


def _model(seen: Seen) -> Iterator[tuple[Name, str]]:
    """The model works on no message that is answered, and knows what was said before."""
    tokens = {asked.identity: asked.token for asked in seen.asked}
    order = [asked.token for asked in seen.asked]
    read = set().union(*(asked.now for asked in seen.requests))
    stopped = {
        tokens.get(i, "") for turn in seen.documents("turns.json").values() if _stopped(turn) for i in turn["answers"]
    }
    for k, turn in seen.documents("turns.json").items():
        mine = {tokens[identity] for identity in turn["answers"] if identity in tokens}
        ended = datetime.fromisoformat(str(turn["ended_at"])).timestamp()
        mine_alone = {tokens[i] for i in turn["answers"] if i in tokens and not _repeats(seen, i)}
        late = [asked for asked in seen.requests if asked.now & mine_alone and asked.at > ended + GRACE_SECONDS]
        if late:
            yield Name.WORKED_AFTER, f"{sorted(mine)} {late[0].at - ended:.1f} s after turn {k}"
        if turn["status"] != "done" or not mine or _stopped(turn):
            continue
        asked_for = [asked for asked in seen.requests if mine <= asked.now]
        dropped = {tokens[identity] for identity in seen.settled if identity in tokens} | (stopped - read)
        before = set(order[: min(order.index(token) for token in mine)]) - dropped
        if asked_for and not before <= asked_for[-1].known:
            yield Name.FORGOTTEN, f"turn {k} did not know {sorted(before - asked_for[-1].known)}"
