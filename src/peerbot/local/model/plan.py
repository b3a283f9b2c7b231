"""A piece's plan, kept in any todo tool that Claude Code offers, so that progress moves as with Claude."""

import re
from collections.abc import Generator
from typing import Any

from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.model.requests import Result

_TASK_ID = re.compile(r"#(\d+)")


class Plan:
    """The steps of a piece: `(its name, its name while it is at work)`.

    Claude Code offers `TodoWrite` (the whole list each time), or `TaskCreate` and `TaskUpdate` (a task at a time, under
    ids of its own), or neither. Without any of them, the plan stays with the piece.
    """

    def __init__(self, tools: frozenset[str], *steps: tuple[str, str]) -> None:
        self._tools = tools
        self._steps = steps
        self._task_ids: list[str] = []
        self._marked: int | None = None

    def do(self, step: int, text: str, *calls: ToolCall) -> Generator[Reply, list[Result], list[Result]]:
        """Say `text`, mark `step` as under way and earlier steps as done, and call; returns the calls' results."""
        if not self._task_ids and {"TaskCreate", "TaskUpdate"} <= self._tools and "TodoWrite" not in self._tools:
            results = yield Reply(text, tuple(_task(*names) for names in self._steps))
            self._task_ids = [found[1] if (found := _TASK_ID.search(result.text)) else "" for result in results]
            text = ""
        marks = self._marks(step)
        if not (marks or calls):
            return []
        results = yield Reply(text, (*marks, *calls))
        return results[len(marks) :]

    def finish(self) -> Generator[Reply, list[Result], None]:
        """Mark everything as done."""
        yield from self.do(len(self._steps), "")

    def _marks(self, current: int) -> list[ToolCall]:
        if current == self._marked:
            return []
        self._marked = current
        if "TodoWrite" in self._tools:
            todos: list[dict[str, Any]] = [
                {"content": done, "activeForm": doing, "status": _status(step, current)}
                for step, (done, doing) in enumerate(self._steps)
            ]
            return [ToolCall("TodoWrite", {"todos": todos})]
        return [
            ToolCall("TaskUpdate", {"taskId": task, "status": _status(step, current)})
            for step, task in enumerate(self._task_ids)
            if task and step in (current - 1, current)
        ]


def _status(step: int, current: int) -> str:
    return "completed" if step < current else "in_progress" if step == current else "pending"


def _task(done: str, doing: str) -> ToolCall:
    return ToolCall("TaskCreate", {"subject": done, "description": done, "activeForm": doing})
