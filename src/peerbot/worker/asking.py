"""The agent's questions to people, and its plans: the hook and the callback through which Claude Code hands them over.

The hook (`gate`) asks, and waits a while. If people answer, it has no opinion, and the callback (`decide`) gives the
answer. If they don't, or the worker is asked to end, it defers the call: Claude Code ends the turn, and the call waits
in the session. Another worker takes the session up; Claude Code then makes the call again, often without the hook, and
the callback alone answers (decision 0028).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from claude_agent_sdk import (
    HookContext,
    HookInput,
    HookJSONOutput,
    PermissionResult,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
)
from pydantic import ValidationError

from peerbot.conversation.questions import LONGEST_PLAN, MOST_ITEMS, MOST_OPTIONS, Asked, Item, Option, QuestionSettled
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.protocol.documents import AskRequest
from peerbot.worker.clock import Clock
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.steering import Steering

log = logger(__name__)

ASK, PLAN, ENTER = "AskUserQuestion", "ExitPlanMode", "EnterPlanMode"
MATCHER = f"{ASK}|{PLAN}"
_WRITES = ("Write", "Edit", "NotebookEdit", "Bash", "mcp__peerbot__send_file")

_NOT_SHOWN = "PeerBot could not show this to people. Decide yourself if you can, and say so in your answer."
_NOT_ANSWERED = (
    "Nobody has answered yet. People may answer later; you then read it as a message. Go on without the answer as far "
    "as you can. If you can't, end your turn and say what you wait for."
)
_PLAN_FIRST = (
    "People want to approve a plan before you change anything. Only look at things now, then show the plan with "
    "ExitPlanMode."
)
_REJECTED = "{name} rejected the plan. Do nothing of it. End your turn with a sentence that says so."
_STOPPED = "{name} stopped this before anybody answered. Do not go on with it unless people ask you to."
_ENDED = "Nobody answered, and the work ended. If you still need the answer, ask again."
_JUDGE = (
    "{name} answered in words: {words}\n"
    "Judge these words. If they approve the plan as it is, call ExitPlanMode again at once and change nothing: then "
    "you may begin. If they ask for changes, change the plan and show it again. If they reject it, end your turn."
)


class Asking:
    """Asks people for one agent. `changed` of `begin` is called when the progress should be sent."""

    def __init__(self, gateway: GatewayClient, clock: Clock, wait_seconds: float) -> None:
        self._gateway = gateway
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._put_off = asyncio.Event()
        self.starts_in_plan_mode = False  # whether this CLI was started in plan mode: it does not leave it by itself
        self._turn = 0
        self._steering: Steering
        self._shows: Callable[[bool], None]
        self._left = 0.0
        self._calls: dict[str, str] = {}  # the questions of this turn's calls; empty: people could not be asked
        self._judged = ""  # the plan that somebody answered in words
        self._waiting = 0
        self.pending: Asked | None = None
        self.deferred = ""
        self.taken: list[str] = []

    def begin(self, turn: int, steering: Steering, asked: Sequence[Asked], shows: Callable[[bool], None]) -> None:
        """Begin a turn. `asked`: what the agent has asked before; one call may be pending in its session.

        `shows` is called with whether people are being asked.
        """
        self._turn, self._steering, self._shows = turn, steering, shows
        self._left = self._wait_seconds
        self._calls.clear()
        self.deferred, self.taken, self._judged = "", [], ""
        self.pending = next((each for each in asked if each.deferred), None)

    @property
    def timeout(self) -> float:
        """How long Claude Code has to wait for the hook, in seconds: longer than the hook waits for people."""
        return self._wait_seconds + 600

    def put_off(self) -> bool:
        """Defer what people are being asked, if anything; returns whether there is such a thing."""
        if self._waiting:
            self._put_off.set()
        return bool(self._waiting)

    async def gate(self, data: HookInput, call: str | None, _context: HookContext) -> HookJSONOutput:
        """Ask, and wait for the answer; defer the call if there is none in time."""
        found = cast(Mapping[str, Any], data)
        call = str(call or found.get("tool_use_id") or "")
        if found.get("agent_id") or (self.pending and self.pending.call == call):
            return {}
        question = await self._asked(call, str(found.get("tool_name")), found.get("tool_input") or {})
        if not question or await self._answered(question):
            return {}
        self.deferred = question
        log.info("question_deferred", question=question)
        return {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "defer"}}

    async def decide(self, tool: str, arguments: dict[str, Any], context: ToolPermissionContext) -> PermissionResult:
        """Answer a call from what people said. In plan mode, refuse what changes something."""
        if tool not in (ASK, PLAN):
            return _deny(_PLAN_FIRST) if tool in _WRITES else PermissionResultAllow()
        call = context.tool_use_id or ""
        plan = str(arguments.get("plan") or "")
        if self.pending and self.pending.call == call:
            settled, plan = self.pending.settled, self.pending.plan
        else:
            question = await self._asked(call, tool, arguments)
            if not question:
                return _deny(_NOT_SHOWN)
            settled = await self._answered(question)
        if settled is None:
            return _deny(_NOT_ANSWERED)
        if settled.input and settled.how == "answered":
            self.taken.append(settled.input)
        return self._about_plan(settled, plan) if tool == PLAN else _about_question(settled, arguments)

    async def _asked(self, call: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """Ask people, once for each call; returns the question's id, or nothing if they can't be asked."""
        if call not in self._calls:
            try:
                reply = await self._gateway.ask(self._turn, _request(call, tool, arguments))
            except (PeerBotError, ValidationError) as error:
                log.warning("question_not_asked", tool=tool, exc_info=error)
                self._calls[call] = ""
            else:
                self._calls[call] = reply.id
                if reply.settled:
                    self._steering.settle(reply.id, reply.settled)
        return self._calls[call]

    async def _answered(self, question: str) -> QuestionSettled | None:
        """Wait for a question's end, as long as there is time for that; None if there is none."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = asyncio.ensure_future(self._steering.end_of(question))
        put_off = asyncio.ensure_future(self._put_off.wait())
        self._waiting += 1
        self._shows(True)
        try:
            with self._clock.stands_still():
                await asyncio.wait([end, put_off], timeout=max(0.05, self._left), return_when=asyncio.FIRST_COMPLETED)
                return end.result() if end.done() else None
        finally:
            self._waiting -= 1
            self._left -= loop.time() - began
            self._shows(False)
            for task in (end, put_off):
                task.cancel()
            await asyncio.wait([end, put_off])

    def _about_plan(self, settled: QuestionSettled, plan: str) -> PermissionResult:
        if settled.how != "answered":
            return _not_decided(settled)
        if settled.rejects:
            return _deny(_REJECTED.format(name=settled.name))
        if not settled.approves and (not self._judged or plan not in ("", self._judged)):
            self._judged = plan
            return _deny(_JUDGE.format(name=settled.name, words=settled.words))
        if not self.starts_in_plan_mode:
            return PermissionResultAllow()
        mode = PermissionUpdate(type="setMode", mode="bypassPermissions", destination="session")
        return PermissionResultAllow(updated_input={"plan": plan or self._judged}, updated_permissions=[mode])


def _about_question(settled: QuestionSettled, arguments: Mapping[str, Any]) -> PermissionResult:
    if settled.how != "answered":
        return _not_decided(settled)
    texts = [str(each.get("question")) for each in arguments.get("questions") or [] if isinstance(each, Mapping)]
    answers: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if settled.words and len(texts) == 1:
        answers = {texts[0]: settled.words}
    elif settled.words:
        extra = {"response": settled.words}
    else:
        for text, labels in zip(texts, settled.choices, strict=False):
            if labels:
                answers[text] = labels[0] if len(labels) == 1 else list(labels)
    return PermissionResultAllow(updated_input={**arguments, "answers": answers, **extra})


def _deny(message: str) -> PermissionResult:
    return PermissionResultDeny(message=message)


def _not_decided(settled: QuestionSettled) -> PermissionResult:
    if settled.how == "stopped":
        return _deny(_STOPPED.format(name=settled.name or "Somebody"))
    return _deny(_ENDED)


def _request(call: str, tool: str, arguments: Mapping[str, Any]) -> AskRequest:
    """Make the request of Claude Code's arguments. Raises `ValidationError`."""
    if tool == PLAN:
        return AskRequest(call=call, kind="plan", plan=str(arguments.get("plan") or "")[:LONGEST_PLAN])
    items = []
    for each in (arguments.get("questions") or [])[:MOST_ITEMS]:
        options = tuple(
            Option(label=str(option.get("label"))[:1000], description=str(option.get("description") or "")[:4000])
            for option in (each.get("options") or [])[:MOST_OPTIONS]
        )
        items.append(
            Item(
                question=str(each.get("question"))[:4000],
                header=str(each.get("header") or "")[:200],
                options=options,
                several=bool(each.get("multiSelect")),
            )
        )
    return AskRequest(call=call, kind="question", items=tuple(items))
