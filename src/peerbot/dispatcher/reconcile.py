"""`reconcile(conversation)`: make sure that a run serves it, or that it is answered (step 3 of docs/architecture.md).

Looks at the journal and the runs, lets `conversation/decide.py` decide, takes that one step, and looks again. Any
replica may call it at any time, as often as it likes.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import stamina
from structlog.contextvars import bound_contextvars

from peerbot import metrics
from peerbot.conversation import steps
from peerbot.conversation.deadlines import RETRY_SECONDS
from peerbot.conversation.decide import next_step
from peerbot.conversation.documents import Input, Run, RunClosed, Started, TurnStatus, now
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.conversation.line import Waiting
from peerbot.conversation.notes import BudgetUsedUp, NoRepository, WaitedTooLong
from peerbot.conversation.view import RunView, View
from peerbot.dispatcher.answering import Answering
from peerbot.dispatcher.catchup import CatchUp
from peerbot.dispatcher.choices import Choices
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.view import Views
from peerbot.errors import Refused, Unavailable, Unreadable
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import new_secret, run_path, secret_hash
from peerbot.runs.port import NOT_ADMITTED, Phase, Runs, RunSpec
from peerbot.slack.words import backs_off, goes_on, waits
from peerbot.tasks import Spawn
from peerbot.thread.present import CardFacts, Presenter
from peerbot.thread.where import Where
from peerbot.turns.begin import Beginning, Several
from peerbot.turns.given_up import GivingUp

log = logger(__name__)

MOST_STEPS = 50
"""If it takes more steps at once, two replicas fight or a step has no effect: the sweep tries again."""

CALL_UP_SECONDS = 10.0
"""How long a look for waiting conversations may take."""

AT_ONCE, SLOW_SECONDS = 8, 1.0
"""How many conversations we look at at once, and how long one may hold up the next."""

PLACED_WITHIN_SECONDS = 5.0
"""How long a closing dispatcher waits for the run that it is placing."""

OTHERS_PLACE_WITHIN_SECONDS = 5.0
"""The replica that recorded a newer message is still placing it. An older message waits."""


@dataclass(slots=True)
class Reconciler:
    """Brings conversations forward, each by one task at a time.

    `spawn` starts background tasks for the owner, `spawn_waiting` those that only wait for a time. `worker_environment`
    goes to every worker. `catch_up` reads an input from Slack if it has a marker and was never written.
    """

    journal: Journal
    runs: Runs
    views: Views
    presenter: Presenter
    beginning: Beginning
    where: Where
    giving_up: GivingUp
    answering: Answering
    choices: Choices
    places: Places
    catch_up: CatchUp
    name: str
    worker_environment: dict[str, str]
    spawn: Spawn
    spawn_waiting: Spawn
    _at_work: dict[Conversation, bool] = field(default_factory=dict)  # True: look once more afterwards
    _in_line: dict[Conversation, tuple[int, CardFacts]] = field(default_factory=dict)  # the turn that waits
    _need_no_run: dict[Conversation, tuple[str, ...]] = field(default_factory=dict)  # with these inputs unanswered
    _told: dict[Conversation, tuple[int, str]] = field(default_factory=dict)  # the reason why their newest run waits
    _calls: int = 0  # to `next_in_line` that are not served yet
    _closing: bool = False

    def soon(self, conversation: Conversation) -> asyncio.Task[None] | None:
        """Reconcile in the background. Calls that come meanwhile return None and add one more look."""
        if conversation in self._at_work:
            self._at_work[conversation] = True
            return None
        self._at_work[conversation] = False
        return self.spawn(self._until_quiet(conversation))

    async def close(self) -> None:
        """Stop placing runs: the other replicas serve the line. A run that is being placed gets its time."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(PLACED_WITHIN_SECONDS):
                await self.places.settled()

    async def sweep(self) -> None:
        """Reconcile every conversation that has an unanswered input, in case an event was missed."""
        await self._reconcile_all(await self._pending())

    async def _pending(self) -> dict[Conversation, list[str]]:
        """List what is not answered, and measure it."""
        pending = await self.journal.pending()
        metrics.waiting([float(input_ts(identity)) for inputs in pending.values() for identity in inputs])
        return pending

    def next_in_line(self) -> None:
        """Look for conversations to place: a run changed, so there may be a place. Includes those of other replicas."""
        self._calls += 1
        if self._calls == 1:
            self.spawn(self._call_up())

    async def _call_up(self) -> None:
        """Find all waiting conversations before placing one of them, then place those whose turn it is.

        It does not look again at those that are in line here: a look costs a handful of calls to the store, and many
        runs change, and many conversations wait.
        """
        try:
            while self._calls:
                self._calls = 1
                if await self.places.free():
                    with self.places.held(), suppress(TimeoutError):
                        async with asyncio.timeout(CALL_UP_SECONDS):
                            await self._reconcile_all(await self._who_came_elsewhere())
                    tried: set[Conversation] = set()
                    while called := set((await self.places.called())[0]) - tried:
                        tried |= called
                        # One may have been answered meanwhile: then the next gets its place.
                        await self._reconcile_all(called, CALL_UP_SECONDS)
                    await self._tell_places()
                self._calls -= 1
        finally:
            self._calls = 0

    async def _reconcile_all(self, conversations: Iterable[Conversation], slow: float = SLOW_SECONDS) -> None:
        """Look at all, a few at a time: the ack of a message that Slack sends meanwhile must not wait for them all."""
        room = asyncio.Semaphore(AT_ONCE)

        async def reconciled(conversation: Conversation) -> None:
            async with room:
                if task := self.soon(conversation):
                    await asyncio.wait([task], timeout=slow)

        await asyncio.gather(*map(reconciled, conversations))

    async def _who_came_elsewhere(self) -> list[Conversation]:
        """Find conversations with a marker that have no run and are not in line here: another replica may have them.

        It leaves out those that need no run, as seen here: there may be a crowd of answers that wait for Slack.
        """
        running = {state.conversation for state in await self.runs.list() if state.phase is not Phase.ENDED}
        for conversation in running.intersection(self.places.line()):
            self._leaves_line(conversation)  # another replica placed it
        seen = running.union(self.places.line(), self._at_work)
        before = time.time() - OTHERS_PLACE_WITHIN_SECONDS
        pending = await self._pending()
        self._need_no_run = {c: i for c, i in self._need_no_run.items() if list(i) == pending.get(c)}
        seen = seen.union(self._need_no_run)
        return [c for c, inputs in pending.items() if c not in seen and float(input_ts(inputs[0])) < before]

    async def _tell_places(self) -> None:
        """Show the others in line that they have moved up, after one was placed."""
        for place, conversation in enumerate((await self.places.called())[1], start=1):
            if shown := self._in_line.get(conversation):
                self.presenter.queued(conversation, *shown, place=place)

    def _leaves_line(self, conversation: Conversation) -> None:
        self.places.leave(conversation)
        self.presenter.not_queued(conversation)
        self._in_line.pop(conversation, None)

    async def _until_quiet(self, conversation: Conversation) -> None:
        try:
            while True:
                # A person waits, and the sweep comes only every minute.
                async for attempt in stamina.retry_context(
                    on=Unavailable, attempts=None, timeout=RETRY_SECONDS, wait_initial=1.0, wait_max=10.0
                ):
                    with attempt:
                        await self.reconcile(conversation)
                if not self._at_work[conversation]:
                    return
                self._at_work[conversation] = False
        except Unreadable as error:
            with bound_contextvars(conversation=str(conversation)):
                await self.presenter.unreadable(conversation, str(error))
            raise
        finally:
            del self._at_work[conversation]

    async def reconcile(self, conversation: Conversation) -> None:
        """Take steps until there is nothing to do now. Raises what the journal, the runs or Slack raise."""
        with bound_contextvars(conversation=str(conversation)):
            for _ in range(MOST_STEPS):
                view = await self.views.of(conversation)
                step = next_step(view, now())
                log.debug("step", step=type(step).__name__)
                for question in view.unshown:
                    self.answering.questions.show(conversation, question)
                self._need_no_run.pop(conversation, None)
                if not isinstance(step, steps.Reserve):
                    if view.pending:
                        self._need_no_run[conversation] = view.pending
                    self._leaves_line(conversation)
                if view.runs and not view.runs[0].closed and view.runs[0].alive and view.runs[0].said:
                    await self._held_up(conversation, view.runs[0])
                if isinstance(step, steps.LookAgain):
                    if step.ends > 1:  # one restart is nothing to tell
                        await self._backs_off(conversation, view, step.ends)
                    self.spawn_waiting(self._later(conversation, step.at))
                    return
                if not await self._take(conversation, step):
                    return
            log.warning("reconcile_unfinished", steps=MOST_STEPS)

    async def _take(self, conversation: Conversation, step: steps.Step) -> bool:
        """Take a step; True if the caller should look again at once."""
        match step:
            case steps.Unmark(inputs):
                await self.answering.end(conversation, inputs)
            case steps.Post(turn, claim):
                await self.answering.post_again(conversation, turn, claim)
            case steps.Answer(inputs, note):
                status = TurnStatus.FAILED if isinstance(note, BudgetUsedUp) else TurnStatus.REFUSED
                await self.answering.answer(conversation, inputs, note, status)
            case steps.Tell() | steps.AnswerStopped() | steps.Drop() | steps.SettleQuestion():
                return await self.answering.settle(conversation, step)
            case steps.Choose() | steps.CarryOut() | steps.Show() | steps.EndIdle():
                return await self.choices.take(conversation, step)
            case steps.GiveUp(inputs, last):
                await self.answering.answer(
                    conversation, inputs, await self.giving_up.note(conversation, last), TurnStatus.FAILED
                )
            case steps.Offer(inputs, last):
                note = WaitedTooLong(end=last.reason, said=last.said) if last else WaitedTooLong()
                await self.answering.answer(conversation, inputs, note, TurnStatus.FAILED)
            case steps.Recover(identity):
                await self.catch_up.recover(conversation, identity)
            case steps.Close(run, reason, detail, said, by_signal):
                self._told.pop(conversation, None)
                log.warning("run_died", run=run, reason=reason.value, detail=detail)
                closed = RunClosed(reason=reason, detail=detail, said=said, by_signal=by_signal)
                await self.journal.close_run(conversation, run, closed)
            case steps.Reserve(run, inputs):
                return await self._place(conversation, run, inputs)
            case steps.Wake(run):
                await self.runs.wake(conversation, run)
                return False
            case _:
                return False
        return True

    async def _begun(self, conversation: Conversation, turn: int, inputs: tuple[str, ...]) -> Started | bool:
        """Find the place of the work, and see that a run can be started; if not, whether to look again at once."""
        if await self.answering.without_taken_back(conversation, inputs):
            return True
        asked = await self._read(conversation, inputs)
        try:
            begun = await self.beginning.of(conversation, asked)
        except Several as several:
            await self.where.ask(asked[0], several.repositories)
            return False
        except Refused as error:
            await self.answering.answer(conversation, inputs, NoRepository(reason=str(error)), TurnStatus.FAILED)
            return True
        except Unavailable:
            await self.presenter.delayed(conversation, turn, "GitHub does not answer, or asks me to wait.")
            raise
        try:
            await self.places.free()  # before we reserve a run: one that can't be started counts as one that ended
        except Unavailable:
            await self.presenter.delayed(conversation, turn, "Kubernetes does not answer.")
            raise
        return begun

    async def _read(self, conversation: Conversation, inputs: tuple[str, ...]) -> list[Input]:
        found = [await self.journal.input(conversation, identity) for identity in inputs]
        return [item for item in found if item]

    async def _place(self, conversation: Conversation, n: int, inputs: tuple[str, ...]) -> bool:
        """Reserve and start run `n`, if there is a place for it."""
        first = await self.journal.input(conversation, inputs[0])
        assert first is not None, "the view has recorded inputs alone"
        turn = await self.journal.next_turn(conversation)
        begun = await self._begun(conversation, turn, inputs)
        if not isinstance(begun, Started):
            return begun
        before = await self.journal.run(conversation, n - 1) if n > 1 else None
        interrupted = before is not None and bool(set(before.run.serves) & set(inputs))
        async with self.places.place(conversation, Waiting(first.ts, first.user, interrupted)) as place:
            if self._closing:
                return False
            if place:
                log.info("queued", place=place)
                work = CardFacts(n, begun.repository, begun.branch, first.user)
                self._in_line[conversation] = (turn, work)
                self.presenter.queued(conversation, turn, work, place=place)
                return False
            self._in_line.pop(conversation, None)
            secret = new_secret()
            run = Run(
                n=n,
                serves=list(inputs),
                secret_hash=secret_hash(secret),
                repository=begun.repository,
                default_branch=begun.default_branch,
                branch=begun.branch,
                reserved_by=self.name,
            )
            if not await self.journal.reserve(conversation, run):
                return True
            environment = {**self.worker_environment, "PEERBOT_RUN_PATH": run_path(conversation, n)}
            try:
                with metrics.timed(metrics.run_start_seconds.labels("made")):
                    await self.runs.start(RunSpec(conversation, n, secret, environment, user=first.user, turn=turn))
            except Refused as error:
                log.warning("run_refused", run=n, reason=str(error))
                refused = RunClosed(reason=RunEnd.NOT_ADMITTED, detail=str(error), said=NOT_ADMITTED)
                await self.journal.close_run(conversation, n, refused)
                return True
        log.info("run_placed", run=n, job=conversation.job_name(n), inputs=list(inputs))
        note = goes_on(before.closed) if before and before.closed and interrupted else ""
        await self.presenter.starting(conversation, turn, CardFacts.of(run, first.user), note)
        return False

    async def _held_up(self, conversation: Conversation, run: RunView) -> None:
        """Say on the card of the waiting turn why `run` does not start yet; once, as long as the reason is the same."""
        if self._told.get(conversation) == (run.n, run.said):
            return
        self._told[conversation] = (run.n, run.said)
        record = await self.journal.run(conversation, run.n)
        first = await self.journal.input(conversation, run.serves[0])
        if record and first:
            turn = await self.journal.next_turn(conversation)
            log.warning("run_held_up", run=run.n, reason=run.said, detail=run.detail)
            self.spawn(
                self.presenter.starting(conversation, turn, CardFacts.of(record.run, first.user), waits(run.said))
            )

    async def _backs_off(self, conversation: Conversation, view: View, ends: int) -> None:
        """Say on the card of the waiting turn that its runs keep ending, and when the next one starts; once for each.

        The facts are the next run's, so that the presenter looks for a card that the last one may have left.
        """
        last = view.runs[0]
        assert last.closed, "a run that is open is not waited out"
        told = (last.n, backs_off(last.closed, ends))
        if self._told.get(conversation) == told:
            return
        self._told[conversation] = told
        record = await self.journal.run(conversation, last.n)
        first = await self.journal.input(conversation, view.waiting[0])
        if record and first:
            turn = await self.journal.next_turn(conversation)
            log.warning("run_waits", after=last.n, ends=ends, reason=last.closed.reason.value)
            facts = replace(CardFacts.of(record.run, first.user), run=last.n + 1)
            self.spawn(self.presenter.paused(conversation, turn, facts, told[1]))

    async def _later(self, conversation: Conversation, at: datetime) -> None:
        await asyncio.sleep(max(0.0, (at - now()).total_seconds()))
        self.soon(conversation)
