"""Turns the agent's work into a progress document: its own todo list if it keeps one, otherwise its steps.

Pure but for the clock: messages of the SDK go in, a whole `Progress` comes out each time.
"""

import time
from pathlib import PurePosixPath
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    SystemMessage,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from peerbot.conversation.notes import StoppedBy, TimeUp
from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.worker.outcome import Waiting

MOST_TITLE = 120
MOST_NARRATION = 600
MOST_STEPS = 200

NEEDS_YOU = "Needs you: answer the question below"
_WRITES = ("Write", "Edit")
_TODO = {"pending": StepStatus.PENDING, "in_progress": StepStatus.IN_PROGRESS, "completed": StepStatus.COMPLETE}


class Report:
    """Collects one turn's progress."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seq = 0
        self._title = "Preparing the workspace"
        self._steps: list[Step] = []
        self._todos: list[Step] = []
        self._narration = ""
        self._asks = False
        self.last_words = ""  # the agent's last message in this turn, whole
        self.written: set[str] = set()  # the files that it wrote with its own tools
        self.taken: list[str] = []  # ids of the messages that came while it worked, and that it has read
        self.heard = False  # whether the agent has said or done anything
        self.waiting: Waiting | None = None  # why the CLI waits for Claude, if it does
        self.error: str | None = None  # the SDK's word for Claude's last error

    def step(self, title: str) -> None:
        """Begin a step of our own (not the agent's); the one before is done."""
        self._complete_open()
        self._title = title
        self._add(Step(id=f"own-{len(self._steps)}", title=title, status=StepStatus.IN_PROGRESS))

    def take(self, message: Message) -> bool:
        """Take a message of the SDK; True if it changed something that people see."""
        match message:
            case AssistantMessage(model="<synthetic>", error=error):
                self.error = error
                return False
            case AssistantMessage(content=blocks):
                self.heard, self.waiting, self.error = True, None, None
                return any(list(map(self._said, blocks)))
            case UserMessage(content=list(blocks)):
                return any(list(map(self._resulted, (b for b in blocks if isinstance(b, ToolResultBlock)))))
            case SystemMessage(subtype="api_retry", data=data):
                self.waiting = _waiting(data)
                self._title = self.waiting.reason
                return True
            case _:
                return False

    def asks(self, waiting: bool) -> None:
        """Show that people are asked, or no longer."""
        self._asks = waiting

    def document(self) -> Progress:
        """Make the whole progress document, numbered one higher than the last."""
        self._seq += 1
        own = [step for step in self._steps if step.id.startswith("own-")]
        steps = [*own, *self._todos] if self._todos else self._steps
        return Progress(
            seq=self._seq,
            title=NEEDS_YOU if self._asks else self._title,
            steps=steps,
            narration=self._narration,
            taken=list(self.taken),
            seconds=round(time.monotonic() - self._began, 1),
        )

    def time_up(self, minutes: float) -> TimeUp:
        """Make the note to people about a turn that reached its limit of `minutes`.

        It says what the turn waited for, or what is done and left, from the agent's own list or its steps without one.
        """
        if self.waiting:
            return TimeUp(minutes=minutes, waited_for=self.waiting.claude)
        done, left = self._standing()
        return TimeUp(minutes=minutes, done=done, left=left, last_words=self.last_words)

    def stopped(self, name: str) -> StoppedBy:
        """Make the note to people about a turn that a person of this name stopped. It says the same."""
        done, left = self._standing()
        return StoppedBy(name=name, began=self.heard, done=done, left=left, last_words=self.last_words)

    def _standing(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The steps that are done and left: of the agent's own list, or those that it took."""
        steps = self._todos or [step for step in self._steps if not step.id.startswith("own-")]
        done = tuple(step.title for step in steps if step.status is StepStatus.COMPLETE)
        return done, tuple(step.title for step in steps if step.status is not StepStatus.COMPLETE)

    def _said(self, block: object) -> bool:
        match block:
            case TextBlock(text=text) if text.strip():
                self.last_words = text.strip()
                self._narration = text.strip().split("\n\n")[-1][:MOST_NARRATION]
                return True
            case ToolUseBlock(name="TodoWrite", input={"todos": list(todos)}):
                shown = todos[:MOST_STEPS]
                self._todos = [_todo(i, todo) for i, todo in enumerate(shown) if isinstance(todo, dict)]
                doing = [todo for todo in todos if isinstance(todo, dict) and todo.get("status") == "in_progress"]
                if doing:
                    self._title = _short(str(doing[0].get("activeForm") or doing[0].get("content", "")))
                return True
            case ToolUseBlock(id=identity, name=name, input=arguments):
                self._complete_open(own_only=True)
                if name in _WRITES and isinstance(path := arguments.get("file_path"), str):
                    self.written.add(path)
                title = described(name, arguments)
                if not self._todos:
                    self._title = title
                self._add(Step(id=identity, title=title, status=StepStatus.IN_PROGRESS))
                return True
            case _:
                return False

    def _resulted(self, block: ToolResultBlock) -> bool:
        for i, step in enumerate(self._steps):
            if step.id == block.tool_use_id:
                # An ordinary failure of a tool is part of the work, not breakage: the step is complete.
                output = "Failed" if block.is_error else ""
                self._steps[i] = step.model_copy(update={"status": StepStatus.COMPLETE, "output": output})
                return True
        return False

    def _add(self, step: Step) -> None:
        self._steps.append(step)
        del self._steps[:-MOST_STEPS]

    def _complete_open(self, *, own_only: bool = False) -> None:
        self._steps = [
            step.model_copy(update={"status": StepStatus.COMPLETE})
            if step.status is StepStatus.IN_PROGRESS and (step.id.startswith("own-") or not own_only)
            else step
            for step in self._steps
        ]


_ACTIONS = {
    "Write": "Write {file}",
    "Edit": "Edit {file}",
    "NotebookEdit": "Edit {file}",
    "Read": "Read {file}",
    "Grep": "Search the code",
    "Glob": "Search the code",
    "WebFetch": "Look something up",
    "Bash": "Run a command",
    "Agent": "Ask a helper",
    "AskUserQuestion": "Ask a question",
    "EnterPlanMode": "Make a plan",
    "ExitPlanMode": "Show the plan",
    "mcp__peerbot__send_file": "Send {file}",
}


def described(tool: str, arguments: dict[str, Any]) -> str:
    """Describe a tool call in plain words: of its arguments only a file's name and the agent's own description."""
    words = arguments.get("description") if tool in ("Bash", "Agent") else None
    path = arguments.get("file_path") or arguments.get("notebook_path")
    file = PurePosixPath(path).name if isinstance(path, str) else "a file"
    return _short(str(words or _ACTIONS.get(tool, f"Use {tool}").replace("{file}", file)))


def _todo(number: int, todo: dict[str, Any]) -> Step:
    return Step(
        id=f"todo-{number}",
        title=_short(str(todo.get("content", ""))) or "…",
        status=_TODO.get(str(todo.get("status")), StepStatus.PENDING),
    )


def _waiting(data: dict[str, Any]) -> Waiting:
    status, seconds, attempt = data.get("error_status"), data.get("retry_delay_ms"), data.get("attempt")
    return Waiting(
        status=status if isinstance(status, int) else 0,
        seconds=seconds / 1000 if isinstance(seconds, int | float) else 0.0,
        attempt=attempt if isinstance(attempt, int) else 1,
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_TITLE else line[: MOST_TITLE - 1] + "…"
