"""A turn's end as people see it, in Slack's blocks: its answer, and the sentences of our own. Pure.

Every message also has a `text` that says the same (for notifications, screen readers, and workspaces that refuse the
blocks). All sizes stay below Slack's limits whatever comes in.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.conversation.choices import offered
from peerbot.conversation.documents import FileChange, Turn, TurnStatus
from peerbot.conversation.notes import NewSession, Note
from peerbot.conversation.pulls import PullState
from peerbot.slack.blocks import (
    SECTION_LIMIT,
    TEXT_LIMIT,
    Block,
    Rendered,
    code,
    context,
    count,
    duration,
    fit,
    link,
    mrkdwn,
    section,
)
from peerbot.slack.card import task_lines
from peerbot.slack.controls import as_buttons, choices
from peerbot.slack.cost_words import turn_cost
from peerbot.slack.markdown import as_mrkdwn, harmless_markdown
from peerbot.slack.parts import blocks_in, break_markdown, split_markdown
from peerbot.slack.pull_words import pull_words
from peerbot.slack.question_words import WAITS
from peerbot.slack.text import escaped, harmless, visible
from peerbot.slack.words import note_words

_MARKDOWN_LIMIT = 11_500  # of 12,000 a message
_MESSAGE_LIMIT = 12_500  # of about 13,200, all blocks' JSON; Slack documents it nowhere, and refuses a longer message
_PLAIN_EXTRA = 1_400  # how much more the same words take as sections
_SECTION_EXTRA = 20  # of these for the marks of each section
_MOST_BLOCKS = 40  # that Slack makes of the words of a message, of 50 with ours; we count a little differently
_LINKS_LIMIT, _AROUND = 700, 1_000  # an answer's line of links, and all around its words except the changes
_MESSAGES = 3  # of an answer; a longer answer goes on in a file
_FILES = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes to Slack: messages, in order, and the rest that they can't hold as a file after the last."""

    messages: list[Rendered]
    file: str = ""  # Markdown
    end: str = ""  # the words of the last message, as they were cut

    @property
    def parts(self) -> int:
        """The number of its pieces, the file included."""
        return len(self.messages) + bool(self.file)


def turn_words(text: str, notes: Sequence[Note]) -> str:
    """Put a turn's words together, in Markdown: the agent's own, and ours for the notes."""
    first = [note for note in notes if isinstance(note, NewSession)]
    rest = [note for note in notes if not isinstance(note, NewSession)]
    parts = (*map(note_words, first), text.strip(), *map(note_words, rest))
    return "\n\n".join(part for part in parts if part)


def answer(
    turn: Turn,
    *,
    repository_url: str,
    branch_url: str,
    seconds: float | None,
    missed: str = "",
    with_file: bool = True,
    pull: PullState | None = None,
) -> Answer:
    """Show a turn's result: the answer, the changes and their place, the time and the cost.

    One message if that is enough; otherwise several, of which the last shows the changes and their place. An answer of
    more than three messages goes on in a file, or without `with_file` in as many messages as it takes; each message has
    the same words either way. `seconds` is the time that people waited; if it is None, the turn's own time. `missed` is
    a sentence about the answer before this one. `pull`: how its pull request stands, if somebody has looked.
    """
    words = visible(turn_words(turn.text, turn.notes)) or "The turn ended without an answer in words."
    if turn.deferred:
        words = "\n\n".join(filter(None, [visible(turn_words(turn.text, turn.notes)), WAITS]))
    if turn.stopped:
        words = f"🛑 {words}"
    elif turn.status is TurnStatus.FAILED:
        words = f"⚠️ {words}"
    if missed:
        words = f"_{missed}_\n\n{words}"
    links = _links(turn, repository_url, branch_url, pull)
    if len(links) > _LINKS_LIMIT:
        links = fit([_links(turn, "", "", pull)], _LINKS_LIMIT)
    footer = _footer(turn, turn.seconds if seconds is None else seconds)
    changes = _changes(turn.files)
    below: list[Block] = [section(fit(changes, SECTION_LIMIT))] if changes else []
    # The end of a part must not depend on GitHub's answers of today: another poster may go on with this answer.
    controls = choices(turn.k, offered(turn))
    room = min(_MARKDOWN_LIMIT, _MESSAGE_LIMIT - _PLAIN_EXTRA - _AROUND - _size(below) - _size(controls))
    below += [context(line) for line in (links, footer) if line]
    below += controls
    tail = fit([*(line for line in (links, footer) if line), *changes], 1_800)
    messages = split_markdown(words, room, weigh=_weight, most=_MESSAGES, blocks=_MOST_BLOCKS)
    file = messages.pop() if len(messages) > _MESSAGES else ""
    if file and not with_file:
        # Of many short lines Slack makes many blocks, which would be many messages; these go as mrkdwn.
        messages += split_markdown(file, room, weigh=_weight)
        file = ""
    parts = len(messages) + bool(file)
    shown = []
    for i, text in enumerate(messages, start=1):
        head = f"Part {i} of {parts}\n" if parts > 1 else ""
        if i < len(messages):
            shown.append(_part(text, head, [context(f"part {i} · goes on in the next message")], ""))
        else:
            more = [context(f"part {i} · goes on in the file below")] if file else []
            shown.append(_part(text, head, [*more, *below], tail))
    return Answer(shown, file, end=messages[-1])


def _part(words: str, head: str, below: Sequence[Block], tail: str) -> Rendered:
    words = harmless_markdown(words)
    said = _fit_mrkdwn([*head.splitlines(), *as_mrkdwn(words).split("\n")], TEXT_LIMIT - len(tail) - 2)
    shown: list[Block] = [{"type": "markdown", "text": words}]
    if blocks_in(words) > _MOST_BLOCKS:
        shown = [section(part) for part in _mrkdwn_parts(words)]
    return Rendered("\n\n".join(text for text in (said, tail) if text), [*shown, *below])


def notice(sentence: str) -> Rendered:
    """Show one sentence of our own (a refusal, a hint), as plain text."""
    said = fit(escaped(harmless(sentence)).split("\n"), SECTION_LIMIT)
    return Rendered(said, [section(said)])


def plain(rendered: Rendered) -> Rendered:
    """Say the same with the oldest blocks alone, for workspaces that refuse `plan` and `markdown`."""
    blocks: list[Block] = []
    for block in rendered.blocks:
        match block["type"]:
            case "plan":
                lines = [f"*{mrkdwn(block['title'], 150)}*", *task_lines(block["tasks"])]
                blocks.append(section(fit(lines, SECTION_LIMIT)))
            case "markdown":
                blocks += [section(part) for part in _mrkdwn_parts(block["text"])]
            case "context_actions":
                blocks += as_buttons(block)
            case _:
                blocks.append(block)
    return Rendered(rendered.text, blocks)


def words(rendered: Rendered) -> str:
    """Say the same as text alone, all of it, for workspaces that refuse even the oldest blocks."""
    return "\n\n".join(
        str(part["text"])
        for block in plain(rendered).blocks
        if block["type"] != "actions"  # words have no buttons
        for part in (block["elements"] if block["type"] == "context" else [block["text"]])
    )


# The answer


def _changes(files: Sequence[FileChange]) -> list[str]:
    if not files:
        return []
    by_size = sorted(files, key=lambda file: -((file.added or 0) + (file.removed or 0)))
    added, removed = sum(file.added or 0 for file in files), sum(file.removed or 0 for file in files)
    lines = [f"*{count(len(files), 'file')} changed* · +{added} −{removed}"]
    for file in by_size[:_FILES]:
        size = "binary" if file.added is None or file.removed is None else f"+{file.added} −{file.removed}"
        lines.append(f"`{code(file.path, 90)}` {size}")
    if len(files) > _FILES:
        lines.append(f"and {len(files) - _FILES} more")
    return lines


def _links(turn: Turn, repository_url: str, branch_url: str, pull: PullState | None) -> str:
    parts = []
    if turn.pull_request is not None:
        named = f"*{link(turn.pull_request.url, f'Pull request #{turn.pull_request.number}')}*"
        parts.append(f"{named}: {pull_words(pull)}" if pull else named)
    if turn.branch and (turn.commit or turn.pull_request):  # otherwise the branch may not exist
        parts.append(link(branch_url, turn.branch))
    if turn.repository:
        parts.append(link(repository_url, turn.repository))
    if turn.status is TurnStatus.DONE and not (turn.files or turn.stopped):
        parts.append("no files changed")
    return " · ".join(parts)


def _footer(turn: Turn, seconds: float | None) -> str:
    parts = []
    if seconds is not None:
        parts.append(duration(seconds))
    parts += turn_cost(turn)
    if turn.model == "demo":
        parts.append("demo model")
    if turn.status is not TurnStatus.REFUSED:
        parts.append(f"turn {turn.k}")
    return " · ".join(parts)


def _weight(words: str) -> int:
    """Say how much of a message words take at most, whichever blocks show them, and with what makes them harmless."""
    return len(json.dumps(escaped(words), ensure_ascii=False)) - 2 + words.count("@")


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False))


# Plain text


def _mrkdwn_parts(markdown: str) -> list[str]:
    """Cut Markdown into texts for sections, between its paragraphs."""
    parts = []
    while markdown:
        # Escaping makes five characters out of one `&`, so the room depends on the text.
        for room in (SECTION_LIMIT, 1_400, 570):
            part, rest = break_markdown(markdown, room)
            shown, bare = as_mrkdwn(part), escaped(part)
            if len(shown) > len(bare) + _SECTION_EXTRA:
                shown = bare
            if len(shown) <= SECTION_LIMIT:
                break
        markdown = rest
        if shown.strip():
            parts.append(shown)
    return parts


def _fit_mrkdwn(lines: Sequence[str], limit_chars: int) -> str:
    """Keep as many of the lines as there is room for, and leave no fence open."""
    kept = fit(lines, limit_chars - 4)
    return f"{kept}\n```" if kept.count("\n```") + kept.startswith("```") & 1 else kept
