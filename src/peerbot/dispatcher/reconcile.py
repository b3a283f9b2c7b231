"""`reconcile(conversation)`: make sure that a run serves it, or that it is answered (step 3 of docs/architecture.md).

Looks at the journal and the runs, lets `conversation/next.py` decide, takes that one step, and looks again. Safe to
call at any time, by any replica, as often as one likes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime

import stamina
from structlog.contextvars import bound_contextvars

from peerbot.conversation import next as steps
from peerbot.conversation.documents import RepostClaim, Run, RunClosed, RunEnd, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.dispatcher.begin import Beginning
from peerbot.dispatcher.places import Places
from peerbot.errors import PeerBotError, Refused, Unavailable, Unreadable
from peerbot.gateway.inbox import Inbox
from peerbot.gateway.present import Presenter, Work
from peerbot.journal.answers import answered
from peerbot.journal.journal import Journal, RunRecord
from peerbot.logs import logger
from peerbot.protocol.documents import new_secret, run_path, secret_hash
from peerbot.runs.port import Phase, Runs, RunSpec

log = logger(__name__)

MOST_STEPS = 50
"""More in one go means that two replicas fight or that a step does not take: the sweep tries again."""

_HOW_IT_ENDED = {
    RunEnd.NEVER_STARTED: "it never started",
    RunEnd.CRASHED: "it crashed",
    RunEnd.OUT_OF_MEMORY: "it ran out of memory",
    RunEnd.DEADLINE: "its time was up",
}

_OFFER = (
    "This has waited for more than two hours, so I have not begun with it unasked. Write here, for example “go on”, "
    "and I take it up."
)

TRIED_FOR_SECONDS = 50.0
"""How long a service that does not answer is asked again; after that the sweep comes by."""

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


@dataclass(slots=True)
class Reconciler:
    """Brings conversations forward, each by one task at a time.

    `spawn` starts background tasks for the owner, `spawn_waiting` those that only wait for a time; `worker_environment`
    is what every worker gets; `recover` reads an input that was marked and never written from Slack.
    """

    journal: Journal
    runs: Runs
    inbox: Inbox
    presenter: Presenter
    beginning: Beginning
    places: Places
    name: str
    worker_environment: dict[str, str]
    recover: Callable[[Conversation, str], Awaitable[None]]
    spawn: Spawn
    spawn_waiting: Spawn
    _at_work: dict[Conversation, bool] = field(default_factory=dict)  # True: look once more when done

    def soon(self, conversation: Conversation) -> None:
        """Reconcile in the background; calls that come meanwhile become one more look."""
        if conversation in self._at_work:
            self._at_work[conversation] = True
            return
        self._at_work[conversation] = False
        self.spawn(self._until_quiet(conversation))

    def next_in_line(self) -> None:
        """A run ended: whoever waits for a place looks again, first come first."""
        for conversation in self.places.line():
            self.soon(conversation)

    async def _until_quiet(self, conversation: Conversation) -> None:
        try:
            while True:
                # Somebody waits, and a sweep only comes every minute.
                async for attempt in stamina.retry_context(
                    on=Unavailable, attempts=None, timeout=TRIED_FOR_SECONDS, wait_initial=1.0, wait_max=10.0
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
                view = await self._view(conversation)
                step = steps.next_step(view, now())
                log.debug("step", step=type(step).__name__)
                if not view.waiting:
                    self.places.leave(conversation)
                if isinstance(step, steps.Look):
                    self.spawn_waiting(self._look_at(conversation, step.at))
                    return
                if not await self._take(conversation, step):
                    return
            log.warning("reconcile_unfinished", steps=MOST_STEPS)

    async def _view(self, conversation: Conversation) -> steps.View:
        """Read what the decision looks at."""
        marked = await self.journal.pending_in(conversation)
        done = await answered(self.journal, conversation, marked)
        inputs = {i: item for i in marked if i not in done and (item := await self.journal.input(conversation, i))}
        pending = tuple(i for i in marked if i in done or i in inputs)
        unposted = []
        for files in await self.journal.turn_files(conversation):
            if files.written and not files.posted and (turn := await self.journal.turn(conversation, files.k)):
                claim = await self.journal.repost_claim(conversation, files.k, files.claims)
                unposted.append(steps.UnpostedTurn(files.k, claim.claimed_at if claim else turn.ended_at, files.claims))
        runs = await self._run_views(conversation, set(inputs))
        fixed: dict[str, str] = {}
        if not runs or runs[0].closed:
            for identity, item in inputs.items():
                if text := await self.inbox.fixed_answer(item):
                    fixed[identity] = text
        said_at = {i: datetime.fromtimestamp(float(input_ts(i)), UTC) for i in inputs}
        orphans = {i: at for i in marked if i not in pending and (at := await self.journal.marked_at(conversation, i))}
        return steps.View(pending, done, tuple(unposted), tuple(runs), fixed, said_at, orphans)

    async def _run_views(self, conversation: Conversation, waiting: set[str]) -> list[steps.RunView]:
        """The newest run, and those before it as long as they served what waits."""
        record = await self.journal.newest_run(conversation)
        views: list[steps.RunView] = []
        while record and (not views or waiting & set(record.run.serves)):
            views.append(await self._run_view(conversation, record, live=not views))
            record = await self.journal.run(conversation, record.n - 1) if record.n > 1 else None
        return views

    async def _run_view(self, conversation: Conversation, record: RunRecord, *, live: bool) -> steps.RunView:
        state = await self.runs.look(conversation, record.n) if live and not record.closed else None
        return steps.RunView(
            n=record.n,
            serves=tuple(record.run.serves),
            reserved_at=record.run.reserved_at,
            started=record.started is not None,
            closed=record.closed,
            alive=None if state is None else state.phase is not Phase.ENDED,
            end=state.end if state else None,
            detail=state.detail if state else "",
        )

    async def _take(self, conversation: Conversation, step: steps.Step) -> bool:
        """Take a step; True where it is worth to look again at once."""
        match step:
            case steps.Unmark(inputs):
                await self._end(conversation, inputs)
            case steps.Post(turn, claim):
                await self._post_again(conversation, turn, claim)
            case steps.Answer(inputs, text):
                await self._answer(conversation, inputs, text, TurnStatus.REFUSED)
            case steps.GiveUp(inputs, last):
                await self._answer(conversation, inputs, _given_up(last), TurnStatus.FAILED)
            case steps.Offer(inputs):
                await self._answer(conversation, inputs, _OFFER, TurnStatus.FAILED)
            case steps.Recover(identity):
                await self.recover(conversation, identity)
            case steps.Close(run, reason, detail):
                log.warning("run_died", run=run, reason=reason.value, detail=detail)
                await self.journal.close_run(conversation, run, RunClosed(reason=reason, detail=detail))
            case steps.Reserve(run, inputs):
                return await self._place(conversation, run, inputs)
            case steps.Wake(run):
                await self.runs.wake(conversation, run)
                return False
            case _:
                return False
        return True

    async def _place(self, conversation: Conversation, n: int, inputs: tuple[str, ...]) -> bool:
        """Reserve and start run `n`, if there is a place for it."""
        first = await self.journal.input(conversation, inputs[0])
        assert first is not None, "the view has recorded inputs alone"
        try:
            begun = await self.beginning.of(conversation, first)
        except Refused as error:
            await self._answer(conversation, inputs, str(error), TurnStatus.FAILED)
            return True
        turn = max(await self.journal.turn_numbers(conversation), default=0) + 1
        async with self.places.place(conversation, first.ts) as place:
            if place:
                log.info("queued", place=place)
                work = Work(n, begun.repository, begun.branch, first.user)
                self.spawn(self.presenter.queued(conversation, turn, work, place=place))
                return False
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
            await self.runs.start(RunSpec(conversation, n, secret, environment))
        log.info("run_placed", run=n, job=conversation.job_name(n), inputs=list(inputs))
        await self.presenter.starting(conversation, turn, Work.of(run, first.user))
        return False

    async def _answer(self, conversation: Conversation, inputs: tuple[str, ...], text: str, status: TurnStatus) -> None:
        """Answer inputs without a run. Where another writer takes the turn's number, the next look decides anew."""
        k = max(await self.journal.turn_numbers(conversation), default=0) + 1
        # Another may have answered them since the view was read; who does so from here on takes our number.
        done = await answered(self.journal, conversation, inputs)
        left = [identity for identity in inputs if identity not in done]
        if not left:
            return
        turn = Turn(k=k, run=None, answers=left, status=status, text=text)
        if await self.journal.write_turn(conversation, turn):
            log.info("turn_written", turn=k, status=status.value, answers=left)
            await self._present(conversation, turn)

    async def _end(self, conversation: Conversation, inputs: tuple[str, ...]) -> None:
        """Drop the markers of answered inputs. Whoever posted their answers may have died before it showed the end."""
        for k in set((await answered(self.journal, conversation, inputs)).values()):
            if turn := await self.journal.turn(conversation, k):
                self.spawn(self.presenter.ended(conversation, turn, await self._work(conversation, turn)))
        for identity in inputs:
            await self.journal.unmark(conversation, identity)

    async def _post_again(self, conversation: Conversation, k: int, claim: int) -> None:
        """Claim and post a turn that has no receipt. Where Slack won't take it, the conversation goes on."""
        turn = await self.journal.turn(conversation, k)
        if turn is None:
            return
        if not await self.journal.claim_repost(conversation, k, claim, RepostClaim(claimed_by=self.name)):
            return
        try:
            await self._present(conversation, turn, again=True)
        except PeerBotError as error:
            log.warning("not_posted", turn=k, reason=str(error), exc_info=error)

    async def _present(self, conversation: Conversation, turn: Turn, *, again: bool = False) -> None:
        await self.presenter.final(conversation, turn, await self._work(conversation, turn), again=again)

    async def _work(self, conversation: Conversation, turn: Turn) -> Work | None:
        first = await self.journal.input(conversation, turn.answers[0])
        record = await self.journal.run(conversation, turn.run) if turn.run else None
        return Work.of(record.run, first.user) if record and first else None

    async def _look_at(self, conversation: Conversation, at: datetime) -> None:
        await asyncio.sleep(max(0.0, (at - now()).total_seconds()))
        self.soon(conversation)


def _given_up(last: RunClosed) -> str:
    """What the thread is told when an input's tries are used up; the log says more, in `run_died`."""
    why = _HOW_IT_ENDED.get(last.reason, "it was ended from outside")
    return (
        f"The worker ended before it could answer, several times; the last time {why}. Write here again to have it "
        "tried anew, or ask whoever runs PeerBot to look at this conversation's log."
    )
