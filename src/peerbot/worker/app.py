"""The worker: one run of one conversation, from its bootstrap secret to its close. Read this second.

::

    start ──▶ ┌ clone the repository     workspace.py ┐ ──▶ turn ──▶ wait ──▶ turn … ──▶ close
              │ import the agent's SDK   agent.py     │       │
              └ fetch the inputs         gateway.py   ┘       ├ agent works, progress is reported   report.py
                                                              │ and what it changes is saved        checkpoint.py
                                                              ├ commit, push                        keep.py, upstream.py
                                                              ├ keep the session                    session.py
                                                              └ finish: pull request, turn, answer  (the gateway)

It holds two tokens and no credential (decision 0004). It closes its run before it ends, so that the dispatcher looks
for inputs once more (decision 0002). On SIGTERM it interrupts the agent, saves a checkpoint and ends; another run goes
on with the turn.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import structlog

from peerbot import logs
from peerbot.conversation.deadlines import LAST_SAVE_SECONDS
from peerbot.conversation.ends import CUT_OFF_EXIT_CODE, DRAINED_EXIT_CODE
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import NotBegun, SessionNotKept
from peerbot.errors import Conflict, PeerBotError, Refused, TurnFailed, Unavailable
from peerbot.protocol.documents import Brief, PersonInput, TurnBegin, TurnResult
from peerbot.worker.checkpoint import Checkpoints
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.harden import harden
from peerbot.worker.heartbeat import beat
from peerbot.worker.keep import Keep, detail_of
from peerbot.worker.prompts import Asked, standing_of
from peerbot.worker.upstream import Standing, Upstream
from peerbot.worker.workspace import GitFailed, Workspace, git_environment

if TYPE_CHECKING:
    from peerbot.worker.agent import Agent
    from peerbot.worker.outcome import Outcome
    from peerbot.worker.report import Report

log = logs.logger(__name__)

_T = TypeVar("_T")

REPORT_SECONDS = 0.2
PATIENCE_SECONDS, PATIENCE_SHARE = 75.0, 0.25
"""How long to ask a git server that is away: this share of a turn's time, at most this many seconds."""
SECRET_SECONDS = 90.0
"""How long a worker waits for its secret: a kubelet updates a pod's files at least once a minute."""
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
        secret = await asyncio.to_thread(_take_secret, Path(environment["PEERBOT_BOOTSTRAP_FILE"]))
    except Unavailable as error:
        log.error("cut_off", reason=str(error))
        return CUT_OFF_EXIT_CODE
    url = environment["PEERBOT_GATEWAY_URL"].rstrip("/") + environment["PEERBOT_RUN_PATH"]
    sdk = asyncio.create_task(asyncio.to_thread(_import_agent))
    async with GatewayClient(url) as gateway:
        try:
            brief = await gateway.start(secret)
        except Refused as error:
            log.warning("not_needed", reason=str(error))  # the run is over, or another pod of it was first
            return 0
        conversation = Conversation(brief.team, brief.channel, brief.thread_ts)
        structlog.contextvars.bind_contextvars(conversation=str(conversation), run=brief.run)
        base = {name: environment[name] for name in ("PATH", "HOME", "LANG") if name in environment}
        workspace = Path.cwd()
        git = git_environment(url, gateway.agent_token, base, workspace)
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
            url=f"{gateway.url}/git",
            branch=brief.branch,
            default_branch=brief.default_branch,
            environment=environment,
            patience_seconds=min(PATIENCE_SECONDS, brief.turn_seconds * PATIENCE_SHARE),
        )
        self._upstream = Upstream(self._workspace)
        self._keep = Keep(self._workspace, self._upstream, gateway, idle_seconds=brief.idle_seconds)
        conversation = Conversation(brief.team, brief.channel, brief.thread_ts)
        self._checkpoints = Checkpoints(
            self._workspace,
            url=f"{gateway.url}/git",
            ref=conversation.checkpoint_ref(brief.run),
            every_seconds=brief.checkpoint_seconds,
        )
        self._draining = asyncio.Event()
        self._prepared: asyncio.Task[None] | None = None
        self._agent: Agent | None = None

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

    async def _unless_drained(self, work: Coroutine[object, object, _T]) -> _T:
        """Do `work`; raises `Drained` instead as soon as the worker is asked to end."""
        doing = asyncio.ensure_future(work)
        drained = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait([doing, drained], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise Drained
            return doing.result()
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
            result = await self._worked(begun, inputs, began)
            try:
                finished = await self._gateway.finish(begun.turn, result)
            except Conflict as error:
                log.warning("turn_thrown_away", reason=str(error))
                return
            number = finished.pull_request.number if finished.pull_request else None
            log.info("turn_finished", status=result.status, seconds=result.seconds, pull_request=number)

    async def _worked(self, begun: TurnBegin, inputs: Sequence[PersonInput], began: float) -> TurnResult:
        """Let the agent work, and keep its work; `TurnFailed` becomes a failed turn with its reason."""
        answers = [item.id for item in inputs]
        try:
            agent, report, standing = await self._unless_drained(self._ready(begun))
            sender = asyncio.create_task(self._send(begun.turn, report, changed := asyncio.Event()))
            try:
                return await self._result(agent, report, changed, begun, standing, inputs, began)
            finally:
                await _ended(sender)
        except TurnFailed as error:
            log.warning("turn_failed", reason=str(error), exc_info=error)
            self._prepared = None if self._prepared and self._prepared.done() else self._prepared
            return TurnResult(
                inputs=answers,
                status="failed",
                text="",
                notes=[NotBegun(reason=str(error))],
                cause=detail_of(error.__cause__ or error),
                began=False,
                seconds=round(time.monotonic() - began, 3),
            )

    async def _ready(self, begun: TurnBegin) -> "tuple[Agent, Report, Standing]":
        """Wait until SDK and workspace are prepared; returns the agent in its workspace, on the turn's branch."""
        module = await self._sdk
        report: Report = module.Report()
        if self._prepared is None:
            self._prepared = asyncio.create_task(self._workspace.prepare())
        await self._prepared
        bundle = await self._kept_before(begun)
        standing = await self._upstream.follow(begun.branch or self._brief.branch, begun.kept, bundle)
        if self._agent is None:
            brief = self._brief.model_copy(update={"branch": self._workspace.branch})
            self._agent = module.Agent(brief, self._gateway, self._path, self._environment)
        return self._agent, report, standing

    async def _kept_before(self, begun: TurnBegin) -> bytes | None:
        """Fetch the commits that an earlier run could not push, if this run does not have them."""
        if not begun.kept or not self._workspace.fresh:
            return None
        try:
            return await self._gateway.work(begun.turn)
        except Refused as error:
            log.error("kept_work_missing", reason=str(error))
            return None

    async def _result(
        self,
        agent: "Agent",
        report: "Report",
        changed: asyncio.Event,
        begun: TurnBegin,
        standing: Standing,
        inputs: Sequence[PersonInput],
        began: float,
    ) -> TurnResult:
        start = await self._workspace.head()
        since = begun.unfinished_since or begun.turn
        restored = await self._checkpoints.restore(since) if begun.interrupted else None
        note = standing_of(begun, standing)
        asked = Asked(inputs, begun.interrupted, restored, given_up=since < begun.turn, note=note)
        report.step("Check out the repository")
        changed.set()
        outcome = await self._at_work(agent, agent.turn(begun, asked, report, changed.set), begun.turn)
        report.step("Push the branch")
        changed.set()
        kept = await self._keep.turn(begun.turn, inputs, start)
        session, lost = outcome.session_id, None
        if session and not await agent.keep_session():
            session, lost = None, SessionNotKept()
        return TurnResult(
            inputs=[item.id for item in inputs],
            status="failed" if outcome.failure else "done",
            text=outcome.text,
            notes=[note for note in (outcome.new_session, outcome.failure, kept.trouble, lost) if note],
            cause="; ".join(filter(None, (outcome.cause, kept.cause))),
            title=inputs[0].text,
            commit=kept.commit,
            kept=kept.saved,
            base=self._workspace.pushed if kept.saved else None,
            files=kept.files,
            session_id=session,
            cost_usd=outcome.cost_usd,
            seconds=round(time.monotonic() - began, 3),
        )

    async def _at_work(self, agent: "Agent", work: Coroutine[object, object, "Outcome"], turn: int) -> "Outcome":
        """Let the agent work, and save its changes meanwhile; save once more if the worker is asked to end."""
        saving = asyncio.create_task(self._checkpoints.keep_saving(turn))
        try:
            return await self._unless_drained(work)
        except Drained:
            await _ended(saving)
            await agent.stop()
            try:
                async with asyncio.timeout(LAST_SAVE_SECONDS):
                    await self._checkpoints.save(turn)
            except (GitFailed, OSError, TimeoutError) as error:
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


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=ENDED_SECONDS)
    if not task.done():
        log.warning("not_ended", task=task.get_name())


def _import_agent() -> ModuleType:
    module = importlib.import_module("peerbot.worker.agent")
    gc.freeze()  # imported modules stay: never look at them again
    gc.enable()
    log.debug("agent_imported")
    return module


def _take_secret(path: Path) -> str:
    """Read the bootstrap secret and remove it. (A pod can't remove its own: its dispatcher deletes both.)

    A kubelet may bring it a little later than the pod. Raises `Unavailable` if it does not come.
    """
    until = time.monotonic() + SECRET_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise Unavailable("The run's secret did not come.")
        time.sleep(0.05)
    secret = path.read_text()
    with contextlib.suppress(OSError):
        path.unlink()
    return secret


def main() -> int:
    """Run the worker with the process's environment."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"))
    return asyncio.run(run(os.environ))
