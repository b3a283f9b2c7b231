"""What dispatchers, their gateways and workers do in the model, step by step, in the order of the product's own code.

Each program is named after what it stands for and yields before each write and between two looks; `yield condition`
waits. A comment names the module that it follows: whoever changes the order there changes it here.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from decide_model import (
    IDLE,
    LET_GO_AT,
    POLL,
    STOPS_POSTING,
    TRIED_FOR,
    Call,
    Died,
    Dispatcher,
    Input,
    Job,
    Post,
    Program,
    Run,
    Stage,
    T,
    Turn,
)

from peerbot.conversation import steps
from peerbot.conversation.decide import next_step
from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import NothingAsked, Refusal
from peerbot.conversation.view import Open, RunView, Stop, UnpostedTurn, View
from peerbot.errors import Conflict, Refused, Unavailable

QUESTION, SETTLED = "questions/1.json", "questions/1.settled"


class World(Stage):
    """One conversation. The parameters are what a mutation replaces: the decision, and rules of the gateway."""

    def __init__(
        self,
        decide: Callable[[View, datetime], steps.Step] = next_step,
        *,
        answer_is_fenced: bool = True,
        finish_is_fenced: bool = True,
        only_the_writer_posts: bool = True,
        recovers: bool = True,
        answers_wait: bool = True,
        leaves_later_messages: bool = True,
    ) -> None:
        super().__init__()
        self._decide = decide
        self.answer_is_fenced = answer_is_fenced
        self.finish_is_fenced = finish_is_fenced
        self.only_the_writer_posts = only_the_writer_posts
        self.recovers = recovers
        self.answers_wait = answers_wait
        self.leaves_later_messages = leaves_later_messages
        self.waited_out: list[tuple[int, datetime]] = []  # the last run, and when the next one may come

    # dispatcher/record.py

    def deliver(self, item: Input, dispatcher: Dispatcher) -> None:
        if dispatcher.up:
            item.delivered = True
            self.spawn(dispatcher, "record", self.record(dispatcher, item))

    def record(self, dispatcher: Dispatcher, item: Input) -> Program[None]:
        yield from self.write_down(dispatcher, item)
        yield None
        item.acked = True

    def write_down(self, dispatcher: Dispatcher, item: Input) -> Program[None]:
        yield from self.create(f"pending/{item.id}", self.now)
        yield from self.create(f"inputs/{item.id}", item)
        self.soon(dispatcher)

    # dispatcher/catchup.py

    def recover(self, dispatcher: Dispatcher, item: Input) -> Program[None]:
        yield None
        if self.luck == "refused" or "slack" in self.down:
            raise Unavailable
        if self.recovers and not item.deleted and item.kind not in ("stop", "answer"):
            yield from self.write_down(dispatcher, item)
        else:
            yield None
            self.journal.pop(f"pending/{item.id}", None)
            item.dropped = True

    # dispatcher/reconcile.py

    def soon(self, dispatcher: Dispatcher) -> None:
        if dispatcher.at_work:
            dispatcher.again = True
        elif dispatcher.up:
            dispatcher.at_work = True
            self.spawn(dispatcher, "reconcile", self.until_quiet(dispatcher))

    def until_quiet(self, dispatcher: Dispatcher) -> Program[None]:
        try:
            while True:
                dispatcher.again = False
                yield from self.retried(lambda: self.reconcile(dispatcher))
                if not dispatcher.again:
                    return
        finally:
            dispatcher.at_work = False

    def retried(self, program: Callable[[], Program[None]]) -> Program[None]:
        """Try again while a service does not answer; after that the sweep comes by."""
        given_up_at = self.clock + TRIED_FOR
        while True:
            try:
                return (yield from program())
            except Unavailable:
                if self.clock >= given_up_at:
                    raise
                yield partial(self.is_past, self.clock + 1)

    def is_past(self, at: float) -> bool:
        return self.clock >= at

    def reconcile(self, dispatcher: Dispatcher) -> Program[None]:
        for _ in range(50):
            view = yield from self.view(dispatcher)
            step = self._decide(view, self.now)
            if isinstance(step, steps.LookAgain):
                if step.ends:
                    self.waited_out.append((view.runs[0].n, step.at))
                self.spawn(dispatcher, "look again", self.look_at(dispatcher, step.at))
                return
            if not (yield from self.take(dispatcher, step)):
                return
        raise AssertionError("reconcile goes round for ever")

    def look_at(self, dispatcher: Dispatcher, at: datetime) -> Program[None]:
        until = self.clock + (at - self.now).total_seconds()
        yield partial(self.is_past, until)
        self.soon(dispatcher)

    def view(self, dispatcher: Dispatcher) -> Program[View]:
        yield None
        marked = self.marked()
        yield None
        done = self.answered(marked)
        yield None
        inputs = [i for i in marked if i not in done and f"inputs/{i}" in self.journal]
        unposted = tuple(
            UnpostedTurn(turn.k, max(self.claims(turn.k), default=turn.ended_at), len(self.claims(turn.k)))
            for turn in self.turns()
            if f"turns/{turn.k}.posted" not in self.journal
        )
        runs: list[RunView] = []
        for run in sorted(self.runs(), key=lambda run: -run.n):
            if runs and not set(inputs) & set(run.serves):
                break
            runs.append((yield from self.run_view(run, live=not runs)))
        yield None
        orphans = {i: at for i in marked if i not in done and i not in inputs and (at := self.marked_at(i))}
        needed = not runs or runs[0].closed or any(self.inputs[i].kind == "stop" for i in inputs)
        refused = [i for i in inputs if self.inputs[i].kind == "refused" and needed]
        pending = tuple(i for i in marked if i in done or i in inputs)
        said_at = {i: self.inputs[i].said_at for i in inputs}
        stops = tuple(Stop(i, settled=f"settled/{i}" in self.journal) for i in inputs if self.inputs[i].kind == "stop")
        fixed = dict.fromkeys(refused, NothingAsked())
        yield None
        vain, questions = self.seen(inputs)
        return View(
            pending, done, unposted, tuple(runs), fixed, said_at, orphans, stops, questions=questions, vain=vain
        )

    # thread/questions.py

    def seen(self, inputs: list[str]) -> tuple[dict[str, steps.NoEffect | Refusal], tuple[Open, ...]]:
        """What is in vain, and the question if it is open. There is one in the model."""
        asked, settled = self.journal.get(QUESTION), self.journal.get(SETTLED)
        answers = [i for i in inputs if self.inputs[i].kind == "answer"]
        if settled is not None:
            vain = {i: steps.NoEffect.ANSWERED for i in answers if settled != [i]}
            stops = [i for i in inputs if self.inputs[i].kind == "stop" and settled == [i]]
            return {**vain, **dict.fromkeys(stops, steps.NoEffect.TOOK_BACK)}, ()
        if asked is None:
            return dict.fromkeys(answers, steps.NoEffect.NO_QUESTION), ()
        turn = self.journal.get(f"turns/{asked[0]}.json")
        return {}, (Open("1.1", tuple(answers), over=turn is not None and not turn.deferred),)

    def has_effect(self, i: str) -> bool:
        return self.inputs[i].kind != "answer" or self.journal.get(SETTLED) == [i]

    def run_view(self, run: Run, *, live: bool) -> Program[RunView]:
        yield None
        started, closed = f"runs/{run.n}.started" in self.journal, self.closed(run.n)
        view = RunView(
            run.n, run.serves, run.reserved_at, started, closed, further=bool(closed) and self.got_further(run.n)
        )
        if live and not closed:
            yield None
            job = self.jobs.get(run.n)
            if job and not job.gone:
                view = replace(view, alive=job.end is None, end=job.end, by_signal=job.by_signal)
        return view

    def got_further(self, n: int) -> bool:
        """As `journal/progress.py` does, for whatever turn."""
        return any(key.startswith("parts/") and key.endswith(f"/{n}") for key in self.journal)

    def take(self, dispatcher: Dispatcher, step: steps.Step) -> Program[bool]:  # noqa: PLR0912 - a branch a step
        match step:
            case steps.Unmark(inputs):
                yield from self.unmark(inputs)
            case steps.Post(k, claim):
                if (yield from self.create(f"turns/{k}.repost-{claim}", self.now)):
                    with suppress(Unavailable):
                        yield from self.final(dispatcher, self.journal[f"turns/{k}.json"], claim=claim)
            case steps.Answer(inputs, _):
                yield from self.answer(dispatcher, inputs, gave_up=False)
            case steps.Tell() | steps.AnswerStopped():
                yield from self.settle(dispatcher, step)
            case steps.SettleQuestion(_, by):
                yield from self.create(SETTLED, [by])
            case steps.GiveUp(inputs, _):
                yield from self.answer(dispatcher, inputs, gave_up=True)
            case steps.Offer(inputs, _):
                yield from self.answer(dispatcher, inputs, gave_up=False, offered_at=self.now)
            case steps.Recover(i):
                yield from self.recover(dispatcher, self.inputs[i])
            case steps.Close(n, reason, _, _, by_signal):
                closed = RunClosed(reason=reason, closed_at=self.now, by_signal=by_signal)
                yield from self.create(f"runs/{n}.closed", closed)
            case steps.Reserve(n, inputs):
                return (yield from self.place(dispatcher, n, inputs))
            case steps.Wake(n):
                yield None
                self.jobs[n].woken = self.luck != "reply lost"
                return False
            case _:
                return False
        return True

    def settle(self, dispatcher: Dispatcher, step: steps.Tell | steps.AnswerStopped) -> Program[None]:
        if isinstance(step, steps.Tell):
            yield from self.create(f"settled/{step.input}", object())
            yield from self.unmark([step.input])
        else:
            yield from self.answer(dispatcher, step.answers, gave_up=False, stops=True)

    def place(self, dispatcher: Dispatcher, n: int, inputs: tuple[str, ...]) -> Program[bool]:
        run = Run(n, inputs, self.now, self.clock)
        if not (yield from self.create(f"runs/{n}.json", run)):
            return True
        yield None
        if self.luck == "refused" or "runs" in self.down:
            raise Unavailable
        if n not in self.jobs:
            self.jobs[n] = Job(dispatcher)
            self.spawn(n, "run", self.work(n))
        return False

    def answer(
        self,
        dispatcher: Dispatcher,
        inputs: tuple[str, ...],
        *,
        gave_up: bool,
        offered_at: datetime | None = None,
        stops: bool = False,
    ) -> Program[None]:
        k = self.next_turn()
        yield None
        left = self.still_waiting(inputs, fenced=self.answer_is_fenced)
        turn = Turn(k, None, left, object(), self.now, self.clock, gave_up, stops, offered_at)
        if left and (yield from self.create(f"turns/{k}.json", turn)):
            self.spawn(dispatcher, "final", self.final(dispatcher, turn))

    # thread/present.py

    def final(self, dispatcher: Dispatcher, turn: Turn, *, claim: int = 0) -> Program[None]:
        since = self.clock if claim else turn.ended
        yield lambda: turn.k not in dispatcher.posting
        dispatcher.posting.add(turn.k)
        try:
            if f"turns/{turn.k}.posted" not in self.journal:
                if turn.k > 1 and self.answers_wait:
                    yield partial(self.is_next_or_late, turn.k, since)
                yield from self.post(turn, claim=claim, since=since)
        finally:
            dispatcher.posting.discard(turn.k)
        yield from self.unmark(turn.answers)

    def claims(self, k: int) -> list[datetime]:
        """When turn `k` was claimed to be posted again."""
        return [document for key, document in self.journal.items() if key.startswith(f"turns/{k}.repost-")]

    def is_next_or_late(self, k: int, since: float) -> bool:
        return f"turns/{k - 1}.posted" in self.journal or self.clock - since > STOPS_POSTING

    def post(self, turn: Turn, *, claim: int, since: float) -> Program[None]:
        if self.clock - since > STOPS_POSTING:
            raise Unavailable
        if claim:
            yield None
        looked_at, looked = self.steps, self.clock
        if not claim or turn.k not in {post.turn for post in self.posts}:
            yield None
            unpostable = any(self.inputs[i].kind == "unpostable" for i in turn.answers)
            let_go = unpostable and claim >= LET_GO_AT
            if self.luck == "refused" or "slack" in self.down or (unpostable and not let_go):
                raise Unavailable
            if not let_go:
                self.posts.append(Post(turn.k, claim > 0, looked_at, self.steps, looked, self.clock))
            if self.luck == "reply lost":
                raise Unavailable
        yield from self.create(f"turns/{turn.k}.posted", object())

    def unmark(self, inputs: Iterable[str]) -> Program[None]:
        for i in inputs:
            yield None
            self.journal.pop(f"pending/{i}", None)

    # gateway/access.py, gateway/app.py, turns/turns.py. Reads may be old, so they are not fenced here at all.

    def access(self, n: int) -> None:
        if self.closed(n) or f"runs/{n}.started" not in self.journal:
            raise Refused
        if f"runs/{n + 1}.json" in self.journal:
            raise Conflict

    def start(self, _dispatcher: Dispatcher, n: int) -> Program[None]:
        yield None
        if self.closed(n):
            raise Refused
        yield from self.create(f"runs/{n}.started", object())

    def inbox(self, _dispatcher: Dispatcher, _n: int) -> Program[list[str]]:
        yield None
        waiting = [i for i in self.waiting() if self.inputs[i].kind not in ("refused", "stop") and self.has_effect(i)]
        return self.before_a_stop(waiting)

    def before_a_stop(self, waiting: list[str]) -> list[str]:
        """Leave what came after a stop of the first of these to the next turn (thread/inbox.py)."""
        stops = [i for i in self.stops() if waiting and i > waiting[0]]
        return [i for i in waiting if not stops or not self.leaves_later_messages or i < stops[0]]

    def stops(self) -> list[str]:
        return [i for i in self.waiting() if self.inputs[i].kind == "stop" and f"settled/{i}" not in self.journal]

    def steer(self, _dispatcher: Dispatcher, _n: int, k: int) -> Program[list[str] | None]:
        """What a stop answers (gateway/steering.py); None: the turn was written by another."""
        yield None
        if f"turns/{k}.json" in self.journal:
            return None
        yield None
        stops = self.stops()
        said = [i for i in self.waiting() if self.inputs[i].kind not in ("stop", "refused") and self.has_effect(i)]
        covered = [i for i in said if stops and i < stops[0]]
        if covered:
            return [*covered, *stops]
        asked, settled = self.journal.get(QUESTION), self.journal.get(SETTLED)
        mine = asked is not None and asked[0] == k and settled is not None
        return [i for i in self.waiting() if mine and settled == [i] and self.inputs[i].kind == "answer"]

    def ask(self, _dispatcher: Dispatcher, n: int, k: int) -> Program[None]:
        """What the agent asks (gateway/questions.py): once in the model, and again by the next run of the turn."""
        yield None
        self.access(n)
        if QUESTION not in self.journal:
            yield from self.create(QUESTION, [k])

    def begin(self, _dispatcher: Dispatcher, n: int) -> Program[int]:
        yield None
        self.access(n)
        yield None
        return self.next_turn()

    def push(self, _dispatcher: Dispatcher, n: int, k: int) -> Program[None]:
        yield None
        self.access(n)
        yield None
        self.pushed.add((k, n))

    def keep_part(self, _dispatcher: Dispatcher, n: int, k: int) -> Program[None]:
        yield None
        self.access(n)
        yield from self.create(f"parts/{k}/{n}", object())

    def keep_session(self, _dispatcher: Dispatcher, n: int, k: int) -> Program[None]:
        yield None
        self.access(n)
        yield from self.create(f"sessions/{k}/{n}", object())

    def finish(self, dispatcher: Dispatcher, n: int, k: int, nonce: object, inputs: list[str]) -> Program[None]:
        yield None
        self.access(n)
        yield None
        written = self.journal.get(f"turns/{k}.json")
        if written is None:
            left = self.still_waiting(inputs, fenced=self.finish_is_fenced)
            yield None  # the pull request is opened
            stops = any(self.inputs[i].kind == "stop" for i in left)
            asks = self.journal.get(QUESTION) == [k] and self.journal.get(SETTLED) is None and not stops
            turn = Turn(k, n, left, nonce, self.now, self.clock, stops=stops, deferred=asks)
            if left and (yield from self.create(f"turns/{k}.json", turn)):
                self.spawn(dispatcher, "final", self.final(dispatcher, turn))
                return
            written = self.journal.get(f"turns/{k}.json")
        if written is None or written.nonce is not nonce:
            raise Conflict
        if not self.only_the_writer_posts:
            self.spawn(dispatcher, "final", self.final(dispatcher, written))

    def close(self, dispatcher: Dispatcher, n: int) -> Program[None]:
        yield None
        if self.closed(n):
            raise Refused
        yield from self.create(f"runs/{n}.closed", RunClosed(reason=RunEnd.FINISHED, closed_at=self.now))
        self.soon(dispatcher)

    def still_waiting(self, inputs: Iterable[str], *, fenced: bool) -> tuple[str, ...]:
        done = self.answered(inputs) if fenced else {}
        return tuple(i for i in inputs if i not in done)

    # worker/gateway.py, worker/app.py

    def call(self, handler: Callable[..., Program[T]], *args: Any) -> Program[T]:
        """Call the gateway until it answers, each time whichever replica is there."""
        while True:
            yield lambda: any(dispatcher.up for dispatcher in self.dispatchers)
            up = [dispatcher for dispatcher in self.dispatchers if dispatcher.up]
            dispatcher, call = up[self.where % len(up)], Call()
            self.calls.append(call)
            self.spawn(dispatcher, handler.__name__, self.reply(call, handler(dispatcher, *args)))
            yield partial(self.is_over, call, dispatcher)
            self.calls.remove(call)
            if call.answered and not call.broken:
                if call.error:
                    raise call.error
                value: T = call.value
                return value

    def is_over(self, call: Call, dispatcher: Dispatcher) -> bool:
        return call.answered or call.broken or dispatcher not in self.dispatchers

    def reply(self, call: Call, handler: Program[Any]) -> Program[None]:
        try:
            call.value = yield from handler
        except (Refused, Conflict) as error:
            call.error = error
        call.answered = True

    def work(self, n: int) -> Program[None]:
        """A run's worker."""
        try:
            yield from self.serve(n)
            yield from self.call(self.close, n)
        except Refused:
            pass
        except Died as died:
            self.leave(n, RunEnd.CRASHED, by_signal=died.by_signal)
            return
        except Conflict:
            self.leave(n, RunEnd.CRASHED)
            return
        self.leave(n, RunEnd.FINISHED)

    def leave(self, n: int, reason: RunEnd, *, by_signal: bool = False) -> None:
        if self.jobs[n].end is None:
            self.end_run(n, reason, goes_on=True, by_signal=by_signal)  # it is in its last step

    def serve(self, n: int) -> Program[None]:
        yield from self.call(self.start, n)
        until = self.clock
        while True:
            inputs = yield from self.call(self.inbox, n)
            if inputs:
                yield from self.turn(n, inputs)
                until = self.clock + IDLE
            elif self.clock >= until:
                return
            else:
                yield from self.poll(n, min(until, self.clock + POLL))

    def poll(self, n: int, until: float) -> Program[None]:
        job = self.jobs[n]
        yield lambda: job.woken or self.clock >= until
        job.woken = False

    def turn(self, n: int, inputs: list[str]) -> Program[None]:
        k = yield from self.call(self.begin, n)
        yield None
        kinds = {self.inputs[i].kind for i in inputs}
        if "poison" in kinds:
            raise Died(by_signal=False)
        yield from self.call(self.keep_part, n, k)
        if kinds & {"stubborn", "signals"}:
            raise Died(by_signal="signals" in kinds)
        yield from self.call(self.ask, n, k)
        stopped = yield from self.call(self.steer, n, k)
        if stopped is None:
            return
        inputs = list(dict.fromkeys([*inputs, *stopped]))
        yield from self.call(self.push, n, k)
        yield from self.call(self.keep_session, n, k)
        try:
            yield from self.call(self.finish, n, k, object(), inputs)
        except Conflict:
            return
