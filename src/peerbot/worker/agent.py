"""The agent: the real Claude Code CLI, driven through Anthropic's SDK.

Importing the SDK takes about a second, so `app.py` imports this module while the repository is cloned.

One CLI process serves all turns of a run, so a follow-up costs no start. It may reach the workspace, the gateway's
model and git paths (with the agent's token), and the rest that its sandbox allows.

If the CLI dies in the middle of a turn, it is started again once, with a note. If its session can't be taken up, it
begins a new one, and reads what was said in the thread (docs/decisions/0016-lost-sessions.md).
"""

import asyncio
import contextlib
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from claude_agent_sdk import (
    AssistantMessage,
    CanUseToolShadowedWarning,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    HookMatcher,
    MirrorErrorMessage,
    ResultMessage,
    SessionStore,
    SystemMessage,
)

from peerbot.conversation.notes import Claude, Failed, NewSession, SessionLoss
from peerbot.logs import logger
from peerbot.protocol.documents import Brief, PersonInput, TurnBegin
from peerbot.worker import outcome
from peerbot.worker.asking import ASK, ENTER, MATCHER, PLAN, Asking
from peerbot.worker.clock import Clock
from peerbot.worker.files import with_pictures
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.leftovers import end_leftovers
from peerbot.worker.outcome import Outcome
from peerbot.worker.prompts import Asked, instructions_of, prompt_of, wrap_up
from peerbot.worker.report import Report
from peerbot.worker.session import GatewaySessions, SessionLost, SessionTooLong
from peerbot.worker.steering import Steering
from peerbot.worker.tools import SERVER, own_tools

log = logger(__name__)

# Questions and plans do come to the callback, also where every other tool is approved (decision 0028).
warnings.simplefilter("ignore", CanUseToolShadowedWarning)

TOOLS = ["Bash", "Read", "Write", "Edit", "NotebookEdit", "Glob", "Grep", "TodoWrite", "WebFetch", "Agent",
         ASK, ENTER, PLAN]  # fmt: skip
SERVER_TOOLS = {"web_search": "WebSearch"}
"""The tools of the CLI that use one of Claude's servers, which the operator may allow."""

LONGEST_LINE_BYTES = 64 * 1024 * 1024
"""A message of the CLI is one line. It holds what a tool returned: a picture that the agent read, whole."""

INTERRUPT_SECONDS = 15.0
STOP_SECONDS = 2.0
DEATHS = 2
"""How often the CLI may die in one turn: the cause may be the machine, or the agent's own work."""

_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 (its name)

WARNING_SHARE, LONGEST_WARNING_SECONDS = 0.2, 45.0
"""The time left when the agent is told to wrap up: this share of the turn's time, at most this many seconds."""


class Agent:
    """Claude Code in one workspace. Close it when the run ends."""

    def __init__(self, brief: Brief, gateway: GatewayClient, workspace: Path, environment: Mapping[str, str]) -> None:
        self._brief = brief
        self._gateway = gateway
        self._workspace = workspace
        self._sessions = GatewaySessions(gateway, workspace)
        self._environment = _environment(gateway, environment)
        self._client: ClaudeSDKClient | None = None
        self._background = False  # whether something that the agent started runs in the background
        self._spent_usd = 0.0  # by this CLI
        self._clock = Clock()
        self.asking = Asking(gateway, self._clock, brief.question_seconds)
        self._asked_for: Asked
        self._steering: Steering
        self._sent: dict[str, PersonInput] = {}  # messages that it was given while it worked and has not read, by uuid
        self._turn = 0  # the turn at work
        self._pictures: Sequence[dict[str, Any]] = ()  # that people shared, for its first prompt

    async def turn(
        self, begun: TurnBegin, asked: Asked, report: Report, changed: Callable[[], None], steering: Steering
    ) -> Outcome:
        """Let the agent do one turn; put the CLI's messages into `report`, and call `changed` when people see a change.

        The agent reads the messages of `steering` before its next request. It is interrupted when `steering` says that
        the turn should end, or when the turn's time is over; it is warned before that. The CLI's failures become an
        `Outcome`. Raises the gateway's errors if a session can't be fetched.
        """
        self._steering = steering
        self._sent.clear()
        self._sessions.begin(begun.turn)
        self._turn, self._pictures = begun.turn, asked.pictures
        self._clock.start(self._brief.turn_seconds)

        def shows(asks: bool) -> None:
            report.asks(asks)
            changed()

        self.asking.begin(begun.turn, steering, begun.asked, shows)
        self._asked_for = asked
        try:
            return await self._insisted(begun.session_id, asked.first, asked.again, report, changed)
        except SessionLost as lost:
            why = lost.why
        await self.close()
        self._sessions.begin_new()
        prompt = asked.in_new_session(await self._gateway.thread(begun.turn))
        found = await self._insisted(None, prompt, asked.again, report, changed)
        return replace(found, new_session=NewSession(why=why))

    async def stop(self) -> None:
        """Interrupt the agent in the middle of a turn; its words so far are kept. Raises nothing."""
        if self._client:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._client.interrupt()
            except (TimeoutError, ClaudeSDKError, OSError) as error:
                log.warning("interrupt_failed", exc_info=error)

    async def keep_session(self) -> bool:
        """Keep the whole transcript with the turn; False if it is too long for that."""
        try:
            await self._sessions.keep()
        except SessionTooLong:
            await self.close()
            return False
        return True

    async def close(self) -> None:
        """End the CLI, which flushes its files first, and all programs that the agent left running. Idempotent."""
        client, self._client = self._client, None
        self._background, self._spent_usd = False, 0.0
        if client:
            try:
                await client.disconnect()
            except ClaudeSDKError as error:
                log.debug("agent_closed_badly", exc_info=error)
            await asyncio.to_thread(end_leftovers, f"{_TOKEN}={self._environment[_TOKEN]}")

    async def _insisted(
        self, session: str | None, prompt: str, again: str, report: Report, changed: Callable[[], None]
    ) -> Outcome:
        """Let the agent work; once more if the CLI dies. Raises `SessionLost` if `session` can't be resumed."""
        cause = ""
        for _ in range(DEATHS):
            try:
                found = await self._tried(session, prompt, report, changed)
            except (ClaudeSDKError, OSError) as error:
                cause = repr(error)
                log.warning("agent_died", heard=report.heard, exc_info=error)
                await self.close()
                if report.heard:
                    session, prompt, self._pictures = self._sessions.heard or session, again, ()
                for item in self._sent.values():  # it may not have read them
                    self._steering.messages.put_nowait(item)
                self._sent.clear()
            else:
                if found.too_long and session:
                    raise SessionLost(SessionLoss.TOO_LONG_FOR_CLAUDE)
                return found
        if session and not report.heard:
            raise SessionLost(SessionLoss.UNREADABLE)
        return Outcome("", self._sessions.heard, Failed(why=Claude.DIED), cause)

    async def _tried(self, session: str | None, prompt: str, report: Report, changed: Callable[[], None]) -> Outcome:
        """Let the agent work until it ends, its time is over, or the CLI dies (`ClaudeSDKError`, `OSError`)."""
        try:
            async with self._clock.limit() as limit, _cut_short(limit, self._steering.ended):
                results = await self._asked(session, prompt, report, changed)
        except TimeoutError:
            return await self._interrupted(report, changed)
        result = results[-1]
        deferred = self.asking.deferred if result.terminal_reason == outcome.DEFERRED else ""
        if self._background or self._sent or deferred:
            await self.close()  # a background program's end, or a message that it has not read, would begin a turn
        found = outcome.read(result, report.error, budget_usd=self._brief.budget_usd, cost_usd=self._cost(result))
        if found.failure:
            log.warning("agent_failed", cause=found.cause)
        earlier = [text for before in results[:-1] if (text := (before.result or "").strip())]
        text = "\n\n".join(filter(None, [*earlier, found.text]))
        taken = (*report.taken, *self.asking.taken)
        return replace(found, text=text, taken=taken, deferred=deferred)

    async def _asked(
        self, session: str | None, prompt: str, report: Report, changed: Callable[[], None]
    ) -> list[ResultMessage]:
        """Let the agent go on with the call that waits in its session, if one does; then give it the prompt."""
        pending = self.asking.pending
        if pending:
            if session:
                await self._sessions.check(session)
            if session and await self._sessions.waits(session, pending.call):
                prompt = self._asked_for.beside(pending)
            else:
                pending = None
        in_plan_mode = pending is not None and pending.kind == "plan"
        client = await self._connected(session, in_plan_mode=in_plan_mode)
        results = []
        if pending:
            log.info("question_goes_on", question=pending.id)
            results = await self._watched(client, report, changed)
            self.asking.pending = None
            if not prompt or results[-1].is_error or results[-1].terminal_reason == outcome.DEFERRED:
                return results
        if prompt:
            await client.set_permission_mode("plan" if self._asked_for.plan_first else "bypassPermissions")
            await client.query(with_pictures(prompt, self._pictures) if self._pictures else prompt)
        return [*results, *await self._watched(client, report, changed)]

    async def _connected(self, session_id: str | None, *, in_plan_mode: bool = False) -> ClaudeSDKClient:
        if self._client is None:
            if session_id:
                await self._sessions.check(session_id)
            client = ClaudeSDKClient(
                ClaudeAgentOptions(
                    cwd=self._workspace,
                    env=self._environment,
                    tools=TOOLS + [SERVER_TOOLS[name] for name in self._brief.server_tools if name in SERVER_TOOLS],
                    model=self._brief.model,
                    resume=session_id,
                    system_prompt={
                        "type": "preset",
                        "preset": "claude_code",
                        "append": instructions_of(self._brief),
                    },
                    # The sandbox is the fence. What reaches the callback is a question, or a change in plan mode.
                    permission_mode="plan" if in_plan_mode else "bypassPermissions",
                    extra_args={"allow-dangerously-skip-permissions": None} if in_plan_mode else {},
                    can_use_tool=self.asking.decide,
                    hooks={"PreToolUse": [HookMatcher(MATCHER, [self.asking.gate], timeout=self.asking.timeout)]},
                    setting_sources=[],  # a repository's own hooks and settings are not trusted
                    strict_mcp_config=True,
                    mcp_servers={SERVER: own_tools(self._gateway, self._workspace, lambda: self._turn)},
                    verbatim_prompts=True,  # a person's text is never a slash command or a file mention
                    session_store=cast(SessionStore, self._sessions),
                    session_store_flush="eager",
                    max_buffer_size=LONGEST_LINE_BYTES,
                    stderr=lambda _: None,  # it may repeat what people wrote
                )
            )
            try:
                await client.connect()
            except BaseException as error:
                await client.disconnect()
                if isinstance(error, Exception) and not isinstance(error, ClaudeSDKError | OSError):
                    raise ClaudeSDKError(f"the CLI did not start: {error}") from error  # the SDK raises bare exceptions
                raise
            log.debug("agent_started")
            self.asking.starts_in_plan_mode = in_plan_mode
            self._client = client
        return self._client

    async def _watched(
        self, client: ClaudeSDKClient, report: Report, changed: Callable[[], None]
    ) -> list[ResultMessage]:
        """Wait for the turn's results; meanwhile warn the agent when its time is nearly over.

        There is more than one if a message came too late for the agent's last request: it goes on with that one.
        """
        warning = asyncio.create_task(self._warn(client))
        results = []
        try:
            while True:
                handing = asyncio.create_task(self._hand_over(client))
                try:
                    results.append(await self._result(client, report, changed))
                finally:
                    await _ended(handing)
                if not self._sent or results[-1].is_error or results[-1].terminal_reason == outcome.DEFERRED:
                    return results
        finally:
            self._background = self._background or warning.done()  # it may come after the end, and begin a turn
            await _ended(warning)

    async def _hand_over(self, client: ClaudeSDKClient) -> None:
        """Give the agent what people write while it works; it reads that before its next request."""
        with contextlib.suppress(ClaudeSDKError, OSError):  # the code that waits for the result meets the same error
            while True:
                item = await self._steering.messages.get()
                name = str(uuid.uuid4())
                self._sent[name] = item
                brought = await self._steering.bring([item])
                log.info("message_handed_over", input=item.id)
                await client.query(with_pictures(prompt_of([item], brought.notes), brought.pictures, name))

    async def _result(self, client: ClaudeSDKClient, report: Report, changed: Callable[[], None]) -> ResultMessage:
        """Take the CLI's messages up to the turn's result."""
        async for message in client.receive_messages():
            if isinstance(message, MirrorErrorMessage):
                log.warning("session_part_waits", reason=message.error)
            if isinstance(message, SystemMessage) and message.subtype == "background_tasks_changed":
                self._background = bool(message.data.get("tasks"))
            if isinstance(message, ResultMessage) and _of_no_turn(message):
                continue
            if isinstance(message, AssistantMessage | ResultMessage):
                read = [self._sent.pop(name) for name in message.user_message_uuids or () if name in self._sent]
                if read:
                    report.taken += [identity for item in read for identity in item.ids]
                    changed()
            if isinstance(message, ResultMessage):
                return message
            if report.take(message):
                changed()
        raise ClaudeSDKError("the CLI ended without a result")

    async def _warn(self, client: ClaudeSDKClient) -> None:
        """Tell the agent when its time is nearly over; it reads that with the next answer of a tool."""
        left = min(self._brief.turn_seconds * WARNING_SHARE, LONGEST_WARNING_SECONDS)
        await self._clock.until(left)
        log.info("told_to_wrap_up", seconds=left)
        with contextlib.suppress(ClaudeSDKError, OSError):  # the code that waits for the result meets the same error
            await client.query(wrap_up(left))

    async def _interrupted(self, report: Report, changed: Callable[[], None]) -> Outcome:
        """Stop the agent and all that it runs, and keep its work so far: its time is over, or somebody stopped it."""
        stop = self._steering.stop
        stopped = report.stopped(stop.name) if stop else None
        over = None if self._steering.ended.is_set() else report.time_up(self._brief.turn_seconds / 60)
        cause = "turn limit" if over else ""
        cost = None
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                if self._client:
                    await self._client.interrupt()
                    cost = self._cost(await self._result(self._client, report, changed))
        except (TimeoutError, ClaudeSDKError, OSError) as error:
            log.warning("interrupt_failed", exc_info=error)
            cause = ", and ".join(filter(None, (cause, "the CLI did not stop")))
        await self.close()  # a warning that a long tool kept waiting would begin a turn of its own
        taken = (*report.taken, *self.asking.taken)
        return Outcome("", self._sessions.heard, over, cause, cost, stopped=stopped, taken=taken)

    def _cost(self, result: ResultMessage) -> float | None:
        """Return what this turn cost in dollars: the CLI counts its whole life."""
        if result.total_cost_usd is None or self._brief.model_kind == "demo":
            return None
        cost, self._spent_usd = result.total_cost_usd - self._spent_usd, result.total_cost_usd
        return max(0.0, cost)


@contextlib.asynccontextmanager
async def _cut_short(limit: asyncio.Timeout, ended: asyncio.Event) -> AsyncIterator[None]:
    """Let `limit` run out as soon as `ended` is set."""

    async def cut() -> None:
        await ended.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    cutting = asyncio.create_task(cut())
    try:
        yield
    finally:
        await _ended(cutting)


async def _ended(task: asyncio.Task[None]) -> None:
    """End a task that only waits; its failure is raised."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        raise error


def _of_no_turn(result: ResultMessage) -> bool:
    """Whether a result belongs to no turn: the CLI noted a background program when it was resumed."""
    return result.num_turns == 0 and result.terminal_reason is None and not (result.is_error or result.result)


def _environment(gateway: GatewayClient, environment: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of the CLI, and so of all that the agent runs: it has the agent's token alone."""
    return {
        **environment,
        "ANTHROPIC_BASE_URL": f"{gateway.url}/model",
        _TOKEN: gateway.agent_token,
        "CLAUDE_CONFIG_DIR": str(Path(environment["HOME"]) / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ENABLE_TASKS": "0",  # TodoWrite sends the whole list each time: our progress is one document
        # Without it the CLI gives up an overloaded API after three tries, within seconds. (It also lets it run as root:
        # without a sandbox of ours, that is the operator's explicit choice.)
        "IS_SANDBOX": "1",
        "CLAUDE_CODE_MAX_RETRIES": "10",  # about three minutes of trying; the turn's limit may come first
    }
