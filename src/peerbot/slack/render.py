"""What people see of a turn, as Slack's blocks: its card while it runs, its answer when it is done. Pure.

Every message also has a `text` that says the same (for notifications, screen readers, and workspaces that refuse the
blocks). All sizes stay below Slack's limits whatever comes in, and what a model or a person wrote is made harmless.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peerbot.conversation.documents import FileChange, Turn, TurnStatus
from peerbot.conversation.parts import split_markdown
from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.conversation.text import break_markdown, harmless, shorten

State = Literal["queued", "starting", "working", "done", "failed"]
Block = dict[str, Any]

_TEXT_LIMIT = 3_900  # `chat.update` takes 4,000
_SECTION_LIMIT = 2_900  # of 3,000
_MARKDOWN_LIMIT = 11_500  # of 12,000 a message
_MESSAGE_LIMIT = 12_500  # of about 13,200, all blocks' JSON; Slack says it nowhere, and refuses what is longer
_PLAIN_EXTRA = 1_000  # what the same words take more as sections
_LINKS_LIMIT, _AROUND = 700, 1_000  # an answer's line of links, and all that stands around its words but the changes
_MESSAGES = 3  # of an answer; what is longer goes on in a file
_TASKS = 12  # of 50; more is not read
_FILES = 8

_MARKS = {
    StepStatus.PENDING: "○",
    StepStatus.IN_PROGRESS: "▸",
    StepStatus.COMPLETE: "✓",
    StepStatus.ERROR: "✗",
}
_WAITING = {
    "queued": ("Wait for a free worker", StepStatus.PENDING),
    "starting": ("Prepare the workspace", StepStatus.IN_PROGRESS),
    "working": ("Read the message", StepStatus.IN_PROGRESS),
    "done": ("Answer", StepStatus.COMPLETE),
    "failed": ("Answer", StepStatus.ERROR),
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message: its blocks, and the text that says the same."""

    text: str
    blocks: list[Block]


def card(  # noqa: PLR0913 - a card shows this much
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
    place: int | None = None,
    note: str = "",
) -> Rendered:
    """Show where a turn stands.

    `requester` is a name (nobody is pinged), `place` counts from 1 while `queued`, `note` is a sentence of ours about
    what it waits for, or why it was interrupted.
    """
    title = _card_title(progress, state, place)
    steps = _shown_steps(progress, state)
    facts = [
        f"`{_code(run_name, 80)}`",
        _link(repository_url, repository),
        _link(branch_url, branch),
        f"requested by {_mrkdwn(requester, 80)}",
    ]
    if progress is not None and state in ("working", "done", "failed"):
        facts.append(_duration(progress.seconds))
        facts.append("1 step" if len(progress.steps) == 1 else f"{len(progress.steps)} steps")
    facts.append(f"limit {limit_minutes:g} min")
    blocks: list[Block] = [{"type": "plan", "title": title, "tasks": [_task(i, step) for i, step in enumerate(steps)]}]
    narration = harmless(progress.narration).strip() if progress is not None and state == "working" else ""
    said = shorten(narration, 600, "…") or shorten(harmless(note), 600, "…")
    if said:
        blocks.append({"type": "markdown", "text": said})
    blocks.append(_context(" · ".join(facts)))
    lines = [
        f"*{_mrkdwn(title, 150)}*",
        " · ".join(facts),
        *([_mrkdwn(note, 600)] if note else []),
        *_step_lines(steps),
    ]
    return Rendered(_fit(lines, _TEXT_LIMIT), blocks)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes to Slack: messages, in order, and what is too much for them as a file after the last."""

    messages: list[Rendered]
    file: str = ""  # Markdown

    @property
    def parts(self) -> int:
        """How many pieces it has, the file among them."""
        return len(self.messages) + bool(self.file)


def answer(
    turn: Turn,
    *,
    repository_url: str,
    branch_url: str,
    seconds: float | None,
    missed: str = "",
    with_file: bool = True,
) -> Answer:
    """Show what a turn came to: the answer, what changed, where it is, how long it took and what it cost.

    One message where that is enough; else several, of which the last says what changed and where. What is longer than
    three goes on in a file, or without `with_file` in as many messages as it takes; each message has the same words
    either way. `seconds` is what people waited; the turn's own time where it is None. `missed`: what the thread should
    know of the answer before this one.
    """
    words = harmless(turn.text).strip() or "The turn ended without an answer in words."
    if turn.status is TurnStatus.FAILED:
        words = f"⚠️ {words}"
    if missed:
        words = f"_{missed}_\n\n{words}"
    links = _links(turn, repository_url, branch_url)
    if len(links) > _LINKS_LIMIT:
        links = _fit([_links(turn, "", "")], _LINKS_LIMIT)
    footer = _footer(turn, turn.seconds if seconds is None else seconds)
    changes = _changes(turn.files)
    below: list[Block] = [_section(_fit(changes, _SECTION_LIMIT))] if changes else []
    # Where a part ends must not depend on what GitHub says today: another poster may go on with this answer.
    room = min(_MARKDOWN_LIMIT, _MESSAGE_LIMIT - _PLAIN_EXTRA - _AROUND - _size(below))
    below += [_context(line) for line in (links, footer) if line]
    tail = _fit([*(line for line in (links, footer) if line), *changes], 1_800)
    texts = split_markdown(words, room, weigh=_weight, most=_MESSAGES if with_file else None)
    messages = texts[:_MESSAGES] if with_file else texts
    file = texts[_MESSAGES] if len(texts) > len(messages) else ""
    shown = []
    for i, text in enumerate(messages, start=1):
        head = f"Part {i} of {len(texts)}\n" if len(texts) > 1 else ""
        if i < len(messages):
            shown.append(_part(text, head, [_context(f"part {i} · goes on in the next message")], ""))
        else:
            more = [_context(f"part {i} · goes on in the file below")] if file else []
            shown.append(_part(text, head, [*more, *below], tail))
    return Answer(shown, file)


def _part(words: str, head: str, below: Sequence[Block], tail: str) -> Rendered:
    said = _fit([*head.splitlines(), *_as_mrkdwn(words).split("\n")], _TEXT_LIMIT - len(tail) - 2)
    return Rendered("\n\n".join(text for text in (said, tail) if text), [{"type": "markdown", "text": words}, *below])


def note(sentence: str) -> Rendered:
    """Show one sentence of our own (a refusal, a hint), as plain text."""
    said = _fit(_escape(harmless(sentence)).split("\n"), _SECTION_LIMIT)
    return Rendered(said, [_section(said)])


def plain(rendered: Rendered) -> Rendered:
    """Say the same with the oldest blocks alone, for workspaces that refuse `plan` and `markdown`."""
    blocks: list[Block] = []
    for block in rendered.blocks:
        match block["type"]:
            case "plan":
                lines = [f"*{_mrkdwn(block['title'], 150)}*", *_task_lines(block["tasks"])]
                blocks.append(_section(_fit(lines, _SECTION_LIMIT)))
            case "markdown":
                blocks += [_section(part) for part in _mrkdwn_parts(block["text"])]
            case _:
                blocks.append(block)
    return Rendered(rendered.text, blocks)


def words(rendered: Rendered) -> str:
    """Say the same as text alone, all of it, for workspaces that refuse even the oldest blocks."""
    return "\n\n".join(
        str(part["text"])
        for block in plain(rendered).blocks
        for part in (block["elements"] if block["type"] == "context" else [block["text"]])
    )


# The card


def _card_title(progress: Progress | None, state: State, place: int | None) -> str:
    took = _duration(progress.seconds) if progress is not None else ""
    match state:
        case "queued":
            return f"Queued · {_ordinal(place)} in line" if place else "Queued"
        case "starting":
            return "Starting workspace"
        case "done":
            return f"Worked for {took}" if took else "Done"
        case "failed":
            return f"Ended without an answer after {took}" if took else "Ended without an answer"
    return (_line(progress.title, 150) if progress is not None else "") or "Working"


def _shown_steps(progress: Progress | None, state: State) -> list[Step]:
    """At most twelve steps around the current one; those before and after are counted. None is left spinning."""
    steps = list(progress.steps) if progress is not None else []
    if not steps:
        title, status = _WAITING[state]
        return [Step(id="0", title=title, status=status)]
    ended = {"done": StepStatus.COMPLETE, "failed": StepStatus.ERROR}.get(state)
    if ended is not None:
        steps = [s.model_copy(update={"status": ended}) if s.status is StepStatus.IN_PROGRESS else s for s in steps]
    if len(steps) <= _TASKS:
        return steps
    current = max((i for i, step in enumerate(steps) if step.status is not StepStatus.PENDING), default=0)
    end = min(len(steps), max(current + 4, _TASKS - 2))
    start = max(0, end - (_TASKS - 2))
    shown = steps[start:end]
    if start:
        shown.insert(0, Step(id="", title=_count(start, "earlier step"), status=StepStatus.COMPLETE))
    if end < len(steps):
        shown.append(Step(id="", title=_count(len(steps) - end, "more step"), status=StepStatus.PENDING))
    return shown


def _task(index: int, step: Step) -> Block:
    task: Block = {
        "type": "task_card",
        "task_id": f"step-{index}",  # unique in the message, whatever the steps are called
        "title": _line(step.title, 150) or "Step",
        "status": step.status.value,
    }
    if output := _line(step.output, 200):
        text = {"type": "text", "text": output}
        task["output"] = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [text]}]}
    return task


def _step_lines(steps: Sequence[Step]) -> list[str]:
    return [f"{_MARKS[step.status]} {_mrkdwn(step.title, 150) or 'Step'}" for step in steps]


def _task_lines(tasks: Sequence[Block]) -> list[str]:
    return [f"{_MARKS[StepStatus(task['status'])]} {_mrkdwn(task['title'], 150)}" for task in tasks]


# The answer


def _changes(files: Sequence[FileChange]) -> list[str]:
    if not files:
        return []
    by_size = sorted(files, key=lambda file: -((file.added or 0) + (file.removed or 0)))
    added, removed = sum(file.added or 0 for file in files), sum(file.removed or 0 for file in files)
    lines = [f"*{_count(len(files), 'file')} changed* · +{added} −{removed}"]
    for file in by_size[:_FILES]:
        size = "binary" if file.added is None or file.removed is None else f"+{file.added} −{file.removed}"
        lines.append(f"`{_code(file.path, 90)}` {size}")
    if len(files) > _FILES:
        lines.append(f"and {len(files) - _FILES} more")
    return lines


def _links(turn: Turn, repository_url: str, branch_url: str) -> str:
    parts = []
    if turn.pull_request is not None:
        parts.append(f"*{_link(turn.pull_request.url, f'Pull request #{turn.pull_request.number}')}*")
    if turn.branch and (turn.commit or turn.pull_request):  # else the branch may not exist
        parts.append(_link(branch_url, turn.branch))
    if turn.repository:
        parts.append(_link(repository_url, turn.repository))
    if turn.status is TurnStatus.DONE and not turn.files:
        parts.append("no files changed")
    return " · ".join(parts)


def _footer(turn: Turn, seconds: float | None) -> str:
    parts = []
    if seconds is not None:
        parts.append(_duration(seconds))
    if turn.cost_usd is not None:
        parts.append(f"${turn.cost_usd:.2f}" if turn.cost_usd >= 0.005 else "less than $0.01")
    if turn.model == "demo":
        parts.append("demo model")
    if turn.status is not TurnStatus.REFUSED:
        parts.append(f"turn {turn.k}")
    return " · ".join(parts)


def _weight(words: str) -> int:
    """What words take of a message at the most, whichever blocks say them."""
    return len(json.dumps(_escape(words), ensure_ascii=False)) - 2


# Plain text


def _mrkdwn_parts(markdown: str) -> list[str]:
    """Markdown as texts for sections, cut where its paragraphs end."""
    parts = []
    while markdown:
        # Escaping makes `&` five characters out of one, so that the room depends on what is in it.
        room = next(r for r in (_SECTION_LIMIT, 1_400, 580) if r == 580 or len(_as_mrkdwn(markdown[:r])) <= 2_800)
        part, markdown = break_markdown(markdown, room)
        if part.strip():
            parts.append(_as_mrkdwn(part))
    return parts


def _as_mrkdwn(markdown: str) -> str:
    """Markdown in Slack's own older notation, as far as headings and bold go; the rest reads well as it is."""
    pieces = re.split(r"(^ {0,3}```.*?(?:^ {0,3}```|\Z))", _escape(markdown), flags=re.M | re.S)
    for i in range(0, len(pieces), 2):  # the odd ones are code
        piece = re.sub(r"^#{1,6} +(.+)$", lambda found: f"*{found[1].strip(' #*')}*", pieces[i], flags=re.M)
        pieces[i] = re.sub(r"\*\*([^*\n]+)\*\*", r"*\1*", piece)
    return "".join(pieces)


# Small things


def _section(mrkdwn: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn}}


def _context(mrkdwn: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": mrkdwn}]}


def _link(url: str, label: str) -> str:
    """A link in mrkdwn; only the label where the address is none that a browser should open."""
    shown = _mrkdwn(label, 80) or "link"
    address = re.sub(r"[\s<>|@]", lambda found: f"%{ord(found[0]):02X}", url)
    if not address.startswith(("https://", "http://")) or len(address) > 400:
        return shown
    return f"<{_escape(address)}|{shown}>"


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _fit(lines: Sequence[str], limit_chars: int) -> str:
    """As many of the lines as there is room for; at least a part of the first."""
    if not lines:
        return ""
    kept, room = [lines[0][:limit_chars]], limit_chars - len(lines[0]) - 2
    for line in lines[1:]:
        room -= len(line) + 1
        if room < 0:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(kept)[:limit_chars]


def _line(text: str, limit_chars: int) -> str:
    """One line of plain text that pings nobody."""
    text = " ".join(harmless(text[: limit_chars * 4]).split())
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


def _mrkdwn(text: str, limit_chars: int) -> str:
    return _escape(_line(text, limit_chars))


def _code(text: str, limit_chars: int) -> str:
    """What stands between backticks; a path that is too long keeps its end."""
    text = " ".join(harmless(text[-limit_chars * 4 :]).split()).replace("`", "'")
    return _escape(text if len(text) <= limit_chars else "…" + text[1 - limit_chars :]) or "?"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
