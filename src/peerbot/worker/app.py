"""The worker: one run of one conversation, from its bootstrap secret to its close. Read this second.

::

    start ──▶ ┌ clone the repository     workspace.py ┐ ──▶ turn ──▶ wait ──▶ turn … ──▶ close
              │ import the agent's SDK   agent.py     │       │
              └ fetch the inputs         gateway.py   ┘       ├ bring in what is saved, or new      start.py
                                                              ├ agent works, progress is reported   report.py
                                                              │ and what it changes is saved        checkpoint.py
                                                              ├ commit, push, save the rest         keep.py, upstream.py
                                                              ├ keep the session                    session.py
                                                              └ finish: pull request, turn, answer  (the gateway)

It holds two tokens and no credential (decision 0004). It closes its run before it ends, so that the dispatcher looks
for inputs once more (decision 0002). On SIGTERM it interrupts the agent, saves a checkpoint and ends; another run goes
on with the turn.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar

import structlog

from peerbot import logs
from peerbot.conversation.deadlines import LAST_SAVE_SECONDS
from peerbot.conversation.ends import CUT_OFF_EXIT_CODE, DRAINED_EXIT_CODE
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import NotBegun, Note, SessionNotKept, StoppedBy
from peerbot.errors import Conflict, PeerBotError, Refused, TurnFailed, Unavailable
from peerbot.protocol.documents import Brief, PersonInput, TurnBegin, TurnResult
from peerbot.worker.bootstrap import import_agent, take_secret
from peerbot.worker.checkpoint import Checkpoints
from peerbot.worker.files import Brought, Files, beside
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.git import git_environment, write_author
from peerbot.worker.harden import harden
from peerbot.worker.heartbeat import beat
from peerbot.worker.keep import Keep, detail_of
from peerbot.worker.prompts import Asked, standing_of
from peerbot.worker.start import Standing, Start
from peerbot.worker.steering import EndedEarly, Steering
from peerbot.worker.submodules import Submodules
from peerbot.worker.surroundings import agents_variables
from peerbot.worker.upstream import Upstream
from peerbot.worker.workspace import Workspace

if TYPE_CHECKING:
    from peerbot.worker.agent import Agent
    from peerbot.worker.outcome import Outcome
    from peerbot.worker.report import Report

log = logs.logger(__name__)

_T = TypeVar("_T")

OWN_GIT = ".peerbot/git"
"""The folder of the supervisor's own git, in the home directory."""
REPORT_SECONDS = 0.2
PATIENCE_SECONDS, PATIENCE_SHARE = 75.0, 0.25
"""How long to ask a git server that is away: this share of a turn's time, at most this many seconds."""
ENDED_SECONDS = 10.0
"""How long the worker waits for a cancelled task (progress, checkpoints, heartbeat) to end before it goes on."""


class Drained(Exception):
    """The worker was asked to end (SIGTERM)."""


async def run(environment: Mapping[str, str]) -> int:
    """Serve one run; returns the process's exit code: 0 if the run was closed, or is not needed."""
    harden()
    log.debug("worker_up")
    beating = asyncio.create_task(beat(environment))
    try:
        return await _served(environment)
    finally:
        await _ended(beating)


async def _served(environment: Mapping[str, str]) -> int:
    """Serve the run while the heart beats."""
    try:
        secret = await asyncio.to_thread(take_secret, Path(environment["PEERBOT_BOOTSTRAP_FILE"]))
    except Unavailable as error:
        log.error("cut_off", reason=str(error))
        return CUT_OFF_EXIT_CODE
    url = environment["PEERBOT_GATEWAY_URL"].rstrip("/") + environment["PEERBOT_RUN_PATH"]
    sdk = asyncio.create_task(asyncio.to_thread(import_agent))
    async with GatewayClient(url) as gateway:
        try:
            brief = await gateway.start(secret)
        except Refused as error:
            log.warning("not_needed", reason=str(error))  # the run is over, or another pod of it was first
            return 0
        conversation = Conversation(brief.team, brief.channel, brief.thread_ts)
        structlog.contextvars.bind_contextvars(conversation=str(conversation), run=brief.run)
        workspace = Path.cwd()
        git = git_environment(url, gateway.agent_token, agents_variables(environment), workspace)
        write_author(Path(environment["HOME"]))
        worker = Worker(brief, gateway, workspace, git, sdk)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        try:
            if not await worker.serve():
                return DRAINED_EXIT_CODE  # the dispatcher closes the run, and another goes on
        except Refused as error:
            log.warning("run_over", reason=str(error))
            return 0
        except Unavailable as error:
            log.error("cut_off", reason=str(error), exc_info=error)
            return CUT_OFF_EXIT_CODE  # not the task's fault: another run goes on when the gateway is back
        finally:
            await worker.close()
        await gateway.close_run()
    return 0


class Worker:
    """Serves turns until nobody has written for the idle time."""

    def __init__(
        self,
        brief: Brief,
        gateway: GatewayClient,
        workspace: Path,
        environment: Mapping[str, str],
        sdk: "asyncio.Task[ModuleType]",
    ) -> None:
        self._brief = brief
        self._gateway = gateway
        self._environment = environment
        self._sdk = sdk
        self._path = workspace
        self._workspace = Workspace(
            workspace,
            own=Path(environment["HOME"]) / OWN_GIT,
            url=f"{gateway.url}/git",
            branch=brief.branch,
            default_branch=brief.default_branch,
            base=brief.base,
            environment=environment,
            patience_seconds=min(PATIENCE_SECONDS, brief.turn_seconds * PATIENCE_SHARE),
        )
        conversation = Conversation(brief.team, brief.channel, brief.thread_ts)
        upstream = Upstream(self._workspace)
        old_refs = conversation.checkpoint_ref(brief.run).rpartition("/")[0]
        self._upstream = upstream
        self._start = Start(self._workspace, upstream, Submodules(self._workspace, gateway), old_refs)
        self._checkpoints = Checkpoints(self._workspace, gateway, every_seconds=brief.checkpoint_seconds)
        self._keep = Keep(self._workspace, upstream, self._checkpoints, gateway, idle_seconds=brief.idle_seconds)
        self._files = Files(gateway, Path(environment["HOME"]))
        self._draining = asyncio.Event()
        self._prepared: asyncio.Task[None] | None = None
        self._agent: Agent | None = None
        self._steering: Steering  # of the turn at work

    def drain(self) -> None:
        """End soon: leave a turn at work to another run; finish a turn that is being kept."""
        log.info("draining")
        self._draining.set()

    async def serve(self) -> bool:
        """Serve turn after turn, until no input comes for the idle time, or until drained.

        Returns False if it left a turn in the middle. Raises `Refused` if the run is over.
        """
        self._prepared = asyncio.create_task(self._workspace.prepare())
        until = time.monotonic() + self._brief.run_seconds
        wait, at_work = 0.0, False
        try:
            while (inputs := await self._unless_drained(self._inputs(wait))) and time.monotonic() < until:
                at_work = True
                await self._turn(inputs)
                wait, at_work = self._brief.idle_seconds, False
        except Drained:
            return not at_work
        return True

    async def close(self) -> None:
        """End the agent, and stop preparing the workspace and the SDK."""
        if self._agent:
            await self._agent.close()
        for task in (self._prepared, self._sdk):
            if task and not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _inputs(self, wait_seconds: float) -> list[PersonInput]:
        """Wait for inputs, one poll after the other, up to `wait_seconds`."""
        deadline = time.monotonic() + wait_seconds
        while True:
            left = deadline - time.monotonic()
            inputs = await self._gateway.inputs(max(0.0, left))
            if inputs or left <= 0:
                return inputs

    async def _unless_drained(
        self, work: Coroutine[object, object, _T], ends_soon: Callable[[], bool] = lambda: False
    ) -> _T:
        """Do `work`; raises `Drained` instead as soon as the worker is asked to end, unless the work then ends soon."""
        doing = asyncio.ensure_future(work)
        drained = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait([doing, drained], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done() and not ends_soon():
                raise Drained
            return await doing
        finally:
            for task in (doing, drained):
                task.cancel()
            await asyncio.wait([doing, drained])

    async def _turn(self, inputs: Sequence[PersonInput]) -> None:
        """Do one turn, in the order that loses nothing: work → push → session → finish (decision 0003)."""
        began = time.monotonic()
        begun = await self._gateway.begin()
        with structlog.contextvars.bound_contextvars(turn=begun.turn):
            log.info("turn_begun", inputs=[item.id for item in inputs])
            self._steering = Steering(self._gateway, self._files, begun.turn, inputs)
            listening = asyncio.create_task(self._steering.listen())
            try:
                result = await self._worked(begun, inputs, began)
            finally:
                await _ended(listening)
            try:
                finished = await self._gateway.finish(begun.turn, result)
            except Conflict as error:
                log.warning("turn_thrown_away", reason=str(error))
                return
            number = finished.pull_request.number if finished.pull_request else None
            log.info("turn_finished", status=result.status, seconds=result.seconds, pull_request=number)

    async def _worked(self, begun: TurnBegin, inputs: Sequence[PersonInput], began: float) -> TurnResult:
        """Let the agent work, and keep its work; `TurnFailed` becomes a failed turn with its reason."""
        answers = [identity for item in inputs for identity in item.ids]
        try:
            ready = beside(self._ready(begun), self._files.bring(inputs))
            (agent, report, standing), brought = await self._unless_drained(ready)
            sender = asyncio.create_task(self._send(begun.turn, report, changed := asyncio.Event()))
            try:
                return await self._result(agent, report, changed, begun, standing, inputs, brought, began)
            finally:
                await _ended(sender)
        except EndedEarly:
            stop, note = self._steering.stop, []
            if stop:
                note, answers = [StoppedBy(name=stop.name, began=False)], [*answers, *stop.inputs]
            return _not_begun("done", answers, note, "", began)
        except TurnFailed as error:
            log.warning("turn_failed", reason=str(error), exc_info=error)
            self._prepared = None if self._prepared and self._prepared.done() else self._prepared
            cause = detail_of(error.__cause__ or error)
            return _not_begun("failed", answers, [NotBegun(reason=str(error))], cause, began)

    async def _ready(self, begun: TurnBegin) -> "tuple[Agent, Report, Standing]":
        """Wait until SDK and workspace are prepared; returns the agent in its workspace, on the turn's branch."""
        module = await self._sdk
        report: Report = module.Report()
        if self._prepared is None or self._workspace.spoiled:
            self._prepared = asyncio.create_task(self._workspace.prepare())
        await self._steering.unless_ended(asyncio.shield(self._prepared))  # a clone may take minutes
        since = (begun.unfinished_since or begun.turn) if begun.interrupted else None
        standing = await self._start.ready(
            begun.branch or self._brief.branch,
            await self._saved_before(begun),
            base=begun.kept.base if begun.kept else None,
            since=since,
        )
        asked = await asyncio.to_thread(self._workspace.asks_for_sign_off)
        self._upstream.sign_off = begun.sign_off or asked
        if self._agent is None:
            brief = self._brief.model_copy(update={"branch": self._workspace.branch})
            self._agent = module.Agent(brief, self._gateway, self._path, self._environment)
        return self._agent, report, standing

    async def _saved_before(self, begun: TurnBegin) -> bytes | None:
        """Fetch the state that an earlier run saved, if this run does not have it."""
        if not (begun.saved or begun.kept) or not self._workspace.fresh:
            return None
        try:
            return await self._gateway.work(begun.turn)
        except Refused as error:
            log.error("saved_work_missing", reason=str(error))
            return None

    async def _result(
        self,
        agent: "Agent",
        report: "Report",
        changed: asyncio.Event,
        begun: TurnBegin,
        standing: Standing,
        inputs: Sequence[PersonInput],
        brought: Brought,
        began: float,
    ) -> TurnResult:
        restored, before = standing.restored, self._workspace.pushed or self._workspace.start
        await self._keep.begin(begun.turn, restored.left if restored and begun.interrupted else None)
        since = begun.unfinished_since or begun.turn
        note = standing_of(begun, standing, sign_off=self._upstream.sign_off, base=self._workspace.base)
        asked = Asked(
            inputs, begun.interrupted, standing.restored, given_up=since < begun.turn, standing=note,
            files=brought.notes, pictures=brought.pictures, asked=begun.asked,
        )  # fmt: skip
        report.step("Check out the repository")
        changed.set()
        work = agent.turn(begun, asked, report, changed.set, self._steering)
        outcome = await self._at_work(agent, work, begun.turn)
        if self._steering.over:
            raise EndedEarly
        report.step("Push the branch")
        changed.set()
        kept = await self._keep.turn(begun.turn, inputs, report.written)
        session, lost = outcome.session_id, None
        if session and not await agent.keep_session():
            session, lost = None, SessionNotKept()
        brought.lost += self._steering.lost
        stopped = self._steering.stop.inputs if outcome.stopped and self._steering.stop else []
        return TurnResult(
            inputs=list(dict.fromkeys([*(i for item in inputs for i in item.ids), *outcome.taken, *stopped])),
            status="failed" if outcome.failure else "done",
            text=outcome.text,
            notes=list(
                filter(
                    None,
                    (outcome.new_session, outcome.stopped, outcome.failure, *kept.notes, lost, brought.not_read),
                )
            ),
            cause="; ".join(filter(None, (outcome.cause, kept.cause))),
            title=inputs[0].text,
            commit=kept.commit,
            kept=kept.part is not None,
            part=kept.part or 0,
            no_difference=kept.no_difference,
            before=before,
            base=self._workspace.pushed if kept.part is not None else None,
            files=kept.files,
            deferred=outcome.deferred if session else "",
            session_id=session,
            times=kept.times,
            cost_usd=outcome.cost_usd,
            seconds=round(time.monotonic() - began, 3),
        )

    async def _at_work(self, agent: "Agent", work: Coroutine[object, object, "Outcome"], turn: int) -> "Outcome":
        """Let the agent work, and save its changes meanwhile; save once more if the worker is asked to end."""
        saving = asyncio.create_task(self._checkpoints.keep_saving(turn))
        try:
            return await self._unless_drained(work, agent.asking.put_off)
        except Drained:
            await _ended(saving)
            await agent.stop()
            try:
                async with asyncio.timeout(LAST_SAVE_SECONDS):
                    await self._checkpoints.save(turn)
            except (PeerBotError, OSError, TimeoutError) as error:
                log.warning("checkpoint_failed", reason=str(error), exc_info=error)
            raise
        finally:
            await _ended(saving)

    async def _send(self, turn: int, report: "Report", changed: asyncio.Event) -> None:
        """Report progress as it changes, the newest whole each time; if a report fails, the next makes up for it."""
        while True:
            await changed.wait()
            changed.clear()
            try:
                await self._gateway.progress(turn, report.document())
            except PeerBotError as error:
                log.debug("progress_not_told", reason=str(error))
            await asyncio.sleep(REPORT_SECONDS)


def _not_begun(
    status: Literal["done", "failed"], answers: list[str], notes: Sequence[Note], cause: str, began: float
) -> TurnResult:
    """Make the result of a turn that ended before it asked its agent: everything kept before is still kept."""
    seconds = round(time.monotonic() - began, 3)
    inputs = list(dict.fromkeys(answers))
    return TurnResult(
        inputs=inputs, status=status, text="", notes=list(notes), cause=cause, began=False, seconds=seconds
    )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=ENDED_SECONDS)
    if not task.done():
        log.warning("not_ended", task=task.get_name())


def main() -> int:
    """Run the worker with the process's environment."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"))
    return asyncio.run(run(os.environ))
