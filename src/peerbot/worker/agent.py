"""The agent: the real Claude Code CLI, driven through Anthropic's SDK.

Importing the SDK takes about a second, so `app.py` imports this module while the repository is cloned.

One CLI process serves all turns of a run: a follow-up costs no start. What it may reach: the workspace, the gateway's
model and git paths (with the agent's token), and what its sandbox lets it.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    MirrorErrorMessage,
    ResultMessage,
    SessionStore,
)

from peerbot.logs import logger
from peerbot.protocol.documents import Brief, TurnBegin
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.prompts import INSTRUCTIONS, wrap_up
from peerbot.worker.report import Report
from peerbot.worker.session import GatewaySessions

log = logger(__name__)

TOOLS = ["Bash", "Read", "Write", "Edit", "NotebookEdit", "Glob", "Grep", "TodoWrite", "WebFetch", "Agent"]
INTERRUPT_SECONDS = 15.0
STOP_SECONDS = 2.0

WARNING_SHARE, LONGEST_WARNING_SECONDS = 0.2, 45.0
"""How much of a turn's time is left when the agent is told to wrap up: a share of it, but not more than that."""

_BY_STATUS = {
    400: "Claude did not accept the request. Say it in other words, or begin a new thread.",
    401: "Claude's API refused the key. Whoever runs PeerBot has to check `ANTHROPIC_API_KEY`.",
    403: "Claude's API did not allow the request. Whoever runs PeerBot has to check the key's rights and limits.",
    413: "The conversation has become too long for Claude. Begin a new thread.",
    429: "Claude's rate limit is reached. Write here again in a few minutes to go on.",
    529: "Claude is overloaded or does not answer. Write here again in a few minutes to go on.",
}
_UNKNOWN_FAILURE = "Claude did not answer. Write here again to go on."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the agent's part of a turn ended. `failure`: a sentence for people, where it did not end well, and `cause`
    the same for the operator."""

    text: str
    session_id: str | None
    cost_usd: float | None
    failure: str | None
    cause: str = ""


class Agent:
    """Claude Code in one workspace. Close it when the run ends."""

    def __init__(self, brief: Brief, gateway: GatewayClient, workspace: Path, environment: Mapping[str, str]) -> None:
        self._brief = brief
        self._workspace = workspace
        self._sessions = GatewaySessions(gateway, workspace)
        self._environment = _environment(gateway, environment)
        self._client: ClaudeSDKClient | None = None
        self._spent_usd = 0.0

    async def turn(self, begun: TurnBegin, prompt: str, report: Report, changed: Callable[[], None]) -> Outcome:
        """Answer `prompt` in one turn; every message of the CLI goes into `report`, then `changed` is called.

        Ends within the turn's limit: the agent is told before, and interrupted then. Raises nothing that the CLI does.
        """
        self._sessions.begin(begun.turn)
        try:
            client = await self._connected(begun.session_id)
            await client.query(prompt)
            warning = asyncio.create_task(self._warn(client))
            try:
                async with asyncio.timeout(self._brief.turn_seconds):
                    result = await self._result(client, report, changed)
            except TimeoutError:
                return await self._interrupted(client, report, changed)
            finally:
                warned = warning.done()
                warning.cancel()
                await asyncio.wait([warning])
            if warned:
                await self.close()  # it may have come after the end, and would begin a turn of its own
        except (ClaudeSDKError, OSError) as error:
            log.error("agent_failed", exc_info=error)
            await self.close()
            return Outcome("", None, None, "Claude Code ended unexpectedly. Write here again to go on.", repr(error))
        return self._outcome(result)

    async def stop(self) -> None:
        """Interrupt the agent in the middle of a turn; what it has said so far is kept. Raises nothing."""
        if self._client:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._client.interrupt()
            except (TimeoutError, ClaudeSDKError, OSError) as error:
                log.warning("interrupt_failed", exc_info=error)

    async def keep_session(self) -> None:
        """Keep the transcript as the turn's whole."""
        await self._sessions.keep()

    async def close(self) -> None:
        """End the CLI: it flushes its files first. Idempotent."""
        client, self._client = self._client, None
        if client:
            try:
                await client.disconnect()
            except ClaudeSDKError as error:
                log.debug("agent_closed_badly", exc_info=error)

    async def _connected(self, session_id: str | None) -> ClaudeSDKClient:
        if self._client is None:
            client = ClaudeSDKClient(
                ClaudeAgentOptions(
                    cwd=self._workspace,
                    env=self._environment,
                    tools=TOOLS,
                    model=self._brief.model,
                    resume=session_id,
                    system_prompt={
                        "type": "preset",
                        "preset": "claude_code",
                        "append": INSTRUCTIONS.format(branch=self._brief.branch, repository=self._brief.repository),
                    },
                    permission_mode="bypassPermissions",  # the sandbox is the fence, not a question nobody can answer
                    setting_sources=[],  # what a repository brings (hooks, settings) is not trusted
                    strict_mcp_config=True,
                    verbatim_prompts=True,  # a person's text is never a slash command or a file mention
                    session_store=cast(SessionStore, self._sessions),
                    session_store_flush="eager",
                    max_budget_usd=self._brief.budget_usd,
                    stderr=lambda _: None,  # it may repeat what people wrote
                )
            )
            await client.connect()
            log.debug("agent_started")
            self._client = client
        return self._client

    async def _result(self, client: ClaudeSDKClient, report: Report, changed: Callable[[], None]) -> ResultMessage:
        """Take messages up to the turn's result."""
        async for message in client.receive_response():
            if isinstance(message, MirrorErrorMessage):
                log.warning("session_part_lost", reason=message.error)
            if isinstance(message, ResultMessage):
                return message
            if report.take(message):
                changed()
        raise ClaudeSDKError("the CLI ended without a result")

    async def _warn(self, client: ClaudeSDKClient) -> None:
        """Tell the agent when its time is nearly over; it reads that with the next answer of a tool."""
        left = min(self._brief.turn_seconds * WARNING_SHARE, LONGEST_WARNING_SECONDS)
        await asyncio.sleep(self._brief.turn_seconds - left)
        log.info("told_to_wrap_up", seconds=left)
        await client.query(wrap_up(left))

    async def _interrupted(self, client: ClaudeSDKClient, report: Report, changed: Callable[[], None]) -> Outcome:
        """The turn's time is over: stop the agent, keep what there is."""
        minutes = self._brief.turn_seconds / 60
        sentence = f"The limit of {minutes:g} min for one turn was reached, so I stopped. Write here again to go on."
        if words := report.last_words:
            sentence += f"\n\nThe last that I said:\n\n{words}"
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await client.interrupt()
                result = await self._result(client, report, changed)
        except (TimeoutError, ClaudeSDKError) as error:
            log.warning("interrupt_failed", exc_info=error)
            await self.close()
            return Outcome("", None, None, sentence, "turn limit, and the CLI did not stop")
        await self.close()  # the warning, where a long tool kept it waiting, would begin a turn of its own
        return Outcome("", result.session_id, self._cost(result), sentence, "turn limit")

    def _outcome(self, result: ResultMessage) -> Outcome:
        """Read the CLI's result; its subtype alone says nothing (an API error comes as "success")."""
        cost = self._cost(result)
        text = (result.result or "").strip()
        if not result.is_error and result.terminal_reason in (None, "completed"):
            return Outcome(text or "Done.", result.session_id, cost, None)
        cause = f"{result.subtype}, {result.terminal_reason}, {result.stop_reason}, HTTP {result.api_error_status}"
        log.warning("agent_failed", cause=cause)
        if result.subtype == "error_max_budget_usd" or "budget" in text:
            failure = (
                f"This worker's budget of ${self._brief.budget_usd:g} is used up. Write here again to go on with a new "
                "one, or ask whoever runs PeerBot to raise `PEERBOT_RUN_BUDGET_USD`."
            )
        elif result.stop_reason == "refusal":
            failure = "Claude declined to go on with this. Say what you need in other words, or begin a new thread."
        else:
            failure = _BY_STATUS.get(result.api_error_status or 0, _UNKNOWN_FAILURE)
        return Outcome("", result.session_id, cost, failure, cause)

    def _cost(self, result: ResultMessage) -> float | None:
        """What this turn cost: the CLI counts its whole life."""
        if result.total_cost_usd is None or self._brief.model_kind == "demo":
            return None
        cost, self._spent_usd = result.total_cost_usd - self._spent_usd, result.total_cost_usd
        return max(0.0, cost)


def _environment(gateway: GatewayClient, environment: Mapping[str, str]) -> dict[str, str]:
    """What the CLI, and so everything that the agent runs, finds in its environment: the agent's token alone."""
    found = {
        **environment,
        "ANTHROPIC_BASE_URL": f"{gateway.url}/model",
        "ANTHROPIC_AUTH_TOKEN": gateway.agent_token,
        "CLAUDE_CONFIG_DIR": str(Path(environment["HOME"]) / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ENABLE_TASKS": "0",  # TodoWrite sends the whole list each time: our progress is one document
        "CLAUDE_CODE_MAX_RETRIES": "5",
    }
    if os.geteuid() == 0:
        found["IS_SANDBOX"] = "1"  # without a sandbox of ours, as root: only after the operator's explicit choice
    return found
