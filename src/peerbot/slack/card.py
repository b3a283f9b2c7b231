"""The card: a turn's progress as one message, edited in place. Pure."""

from collections.abc import Sequence
from typing import Literal

from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.conversation.spent import Spent
from peerbot.slack.blocks import (
    TEXT_LIMIT,
    Block,
    Rendered,
    ago,
    code,
    context,
    count,
    duration,
    fit,
    line,
    link,
    mrkdwn,
    session_link,
)
from peerbot.slack.controls import stop_button
from peerbot.slack.cost_words import cost
from peerbot.slack.markdown import harmless_markdown
from peerbot.slack.parts import shorten

State = Literal["queued", "starting", "paused", "working", "done", "asks", "failed", "stopped"]
_ENDS = ("done", "asks", "failed", "stopped")

_TASKS = 8  # of 50; nobody reads more

_MARKS = {
    StepStatus.PENDING: "○",
    StepStatus.IN_PROGRESS: "▸",
    StepStatus.COMPLETE: "✓",
    StepStatus.ERROR: "✗",
}
_TITLES = {
    "starting": "Starting workspace",
    "paused": "Interrupted",
    "asks": "Needs you: answer the question below",
}
_WAITING = {
    "queued": ("Wait for a free worker", StepStatus.PENDING),
    "starting": ("Prepare the workspace", StepStatus.IN_PROGRESS),
    "paused": ("Wait before the next worker starts", StepStatus.PENDING),
    "working": ("Read the message", StepStatus.IN_PROGRESS),
    "done": ("Answer", StepStatus.COMPLETE),
    "asks": ("Wait for an answer", StepStatus.PENDING),
    "failed": ("Answer", StepStatus.ERROR),
    "stopped": ("Stop", StepStatus.COMPLETE),
}


def card_message(  # noqa: PLR0913 - a card shows this much
    progress: Progress | None,
    *,
    run_name: str,
    repository_url: str,
    repository: str,
    branch_url: str,
    branch: str,
    limit_minutes: float,
    state: State,
    requester: str,
    turn: int = 0,
    place: int | None = None,
    note: str = "",
    spent: Sequence[Spent] = (),
    moved_at: float = 0,
    session_url: str = "",
) -> Rendered:
    """Show how far a turn is.

    `requester` is a name (it pings nobody), `place` counts from 1 while `queued`, and `note` is a sentence of ours that
    says what the turn waits for, or why it was interrupted. `spent` is what it has used up to now, and `moved_at` the
    time (seconds since 1970) of its last progress. A button stops `turn`, as long as there is something to stop.
    `session_url` is the page that shows the session; empty if there is none.
    """
    title = _card_title(progress, state, place)
    steps = _shown_steps(progress, state)
    facts = [
        f"`{code(run_name, 80)}`",
        link(repository_url, repository),
        link(branch_url, branch),
        f"requested by {mrkdwn(requester, 80)}",
    ]
    if progress is not None and state in ("working", *_ENDS):
        facts.append(duration(progress.seconds))
        facts.append("1 step" if len(progress.steps) == 1 else f"{len(progress.steps)} steps")
    if moved_at and state == "working":
        facts.append(f"last moved {ago(moved_at)}")
    facts += cost(spent)
    facts.append(f"limit {limit_minutes:g} min")
    facts += session_link(session_url)
    blocks: list[Block] = [{"type": "plan", "title": title, "tasks": [_task(i, step) for i, step in enumerate(steps)]}]
    narration = progress.narration.strip() if progress is not None and state == "working" else ""
    said = harmless_markdown(shorten(narration, 600, "…") or shorten(note, 600, "…"))
    if said:
        blocks.append({"type": "markdown", "text": said})
    blocks.append(context(" · ".join(facts)))
    if state not in _ENDS and turn:
        blocks.append(stop_button(turn))
    lines = [
        f"*{mrkdwn(title, 150)}*",
        " · ".join(facts),
        *([mrkdwn(note, 600)] if note else []),
        *_step_lines(steps),
    ]
    return Rendered(fit(lines, TEXT_LIMIT), blocks)


def _card_title(progress: Progress | None, state: State, place: int | None) -> str:
    took = duration(progress.seconds) if progress is not None else ""
    match state:
        case "queued":
            return f"Queued · {_ordinal(place)} in line" if place else "Queued"
        case "starting" | "paused" | "asks":
            return _TITLES[state]
        case "done":
            return f"Worked for {took}" if took else "Done"
        case "failed" | "stopped":
            ended = "Stopped" if state == "stopped" else "Ended without an answer"
            return f"{ended} after {took}" if took else ended
    return (line(progress.title, 150) if progress is not None else "") or "Working"


def _shown_steps(progress: Progress | None, state: State) -> list[Step]:
    """Choose at most eight steps around the current one, and count those before and after. Leave none spinning."""
    steps = list(progress.steps) if progress is not None else []
    if not steps:
        title, status = _WAITING[state]
        return [Step(id="0", title=title, status=status)]
    ended = {
        "done": StepStatus.COMPLETE,
        "asks": StepStatus.PENDING,
        "failed": StepStatus.ERROR,
        "stopped": StepStatus.PENDING,
    }.get(state)
    if ended is not None:
        steps = [s.model_copy(update={"status": ended}) if s.status is StepStatus.IN_PROGRESS else s for s in steps]
    if len(steps) <= _TASKS:
        return steps
    current = max((i for i, step in enumerate(steps) if step.status is not StepStatus.PENDING), default=0)
    end = min(len(steps), max(current + 4, _TASKS - 2))
    start = max(0, end - (_TASKS - 2))
    shown = steps[start:end]
    if start:
        shown.insert(0, Step(id="", title=count(start, "earlier step"), status=StepStatus.COMPLETE))
    if end < len(steps):
        shown.append(Step(id="", title=count(len(steps) - end, "more step"), status=StepStatus.PENDING))
    return shown


def _task(index: int, step: Step) -> Block:
    task: Block = {
        "type": "task_card",
        "task_id": f"step-{index}",  # unique in the message, whatever the steps are called
        "title": line(step.title, 150) or "Step",
        "status": step.status.value,
    }
    if output := line(step.output, 200):
        text = {"type": "text", "text": output}
        task["output"] = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [text]}]}
    return task


def _step_lines(steps: Sequence[Step]) -> list[str]:
    return [f"{_MARKS[step.status]} {mrkdwn(step.title, 150) or 'Step'}" for step in steps]


def task_lines(tasks: Sequence[Block]) -> list[str]:
    """Write the tasks of a `plan` block as lines of mrkdwn."""
    return [f"{_MARKS[StepStatus(task['status'])]} {mrkdwn(task['title'], 150)}" for task in tasks]


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
