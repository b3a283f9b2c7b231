"""What the agent asks people, as messages with buttons, and their answers read from clicks. Pure.

One question with few choices gets a button for each. Several questions, or several choices, get a form with one Submit.
A value is an id of ours and a number, and nothing that we trust: the journal has the question.
"""

import re
from datetime import datetime

from peerbot.conversation.questions import (
    APPROVE,
    MOST_ITEMS,
    MOST_OPTIONS,
    REJECT,
    Item,
    Question,
    QuestionSettled,
    is_question_id,
)
from peerbot.slack.blocks import SECTION_LIMIT, TEXT_LIMIT, Block, Rendered, context, fit, line, mrkdwn, section
from peerbot.slack.interactions import BlockAction
from peerbot.slack.markdown import as_mrkdwn, harmless_markdown
from peerbot.slack.parts import split_markdown
from peerbot.slack.question_words import HOW_TO_ANSWER, HOW_TO_CHANGE, SUBMIT, opening, outcome

ANSWER = "peerbot_answer"
"""Each of our buttons has this action, with a number after it."""
SUBMIT_ACTION = f"{ANSWER}_submit"
FIELD = "peerbot_field"
"""The action of a field of a form: Slack tells each change, and nothing happens before Submit."""

_MOST_BUTTONS = 4
_LABEL = 75  # characters that Slack takes on a button, and in an option
_PLAN_PART = 9_000  # characters of Markdown in a message
_WORDS = 600  # of an answer, on the question's message


def asked(question: Question) -> list[Rendered]:
    """Show an open question: one message, or a long plan's parts; the last has the buttons, and notifies the asker."""
    mention = f"<@{question.asker}>" if re.fullmatch(r"[UW][A-Z0-9]+", question.asker) else ""
    hello = section(opening(question, mention))
    if question.kind == "plan":
        *before, last = split_markdown(question.plan, _PLAN_PART, blocks=35) or [question.plan]
        messages = [_markdown(part, [], "") for part in before]
        below = [hello, *_controls(question), context(HOW_TO_CHANGE)]
        return [*messages, _markdown(last, below, hello["text"]["text"])]
    blocks = [hello, *_body(question, with_controls=True), context(HOW_TO_ANSWER)]
    return [Rendered(_text(question, str(hello["text"]["text"])), blocks)]


def ended(question: Question, settled: QuestionSettled) -> Rendered:
    """Show what became of a question, on the message that had its buttons."""
    words = outcome(question, settled, when(settled.settled_at))
    if question.kind == "plan":
        *_, last = split_markdown(question.plan, _PLAN_PART, blocks=35) or [question.plan]
        return _markdown(last, _outcome(question, settled, words), words)
    blocks = [*_body(question, with_controls=False), *_outcome(question, settled, words)]
    return Rendered(_text(question, words), blocks)


def when(moment: datetime) -> str:
    """Write a time so that each reader sees it in their own zone."""
    plain = moment.strftime("%Y-%m-%d %H:%M UTC")
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}}|{plain}>"


def plainly(moment: datetime) -> str:
    """Write a time in words that need no markup, for a sentence to one person."""
    return f"on {moment.day} {moment:%B} at {moment:%H:%M} UTC"


def is_answer(action: BlockAction) -> bool:
    """Whether somebody used a button of a question."""
    return action.action_id.startswith(f"{ANSWER}_")


def picked(action: BlockAction) -> tuple[str, list[list[int]]] | None:
    """Read a pressed button: the question's id, and the numbers of the choices item by item. None: it is no answer.

    What is chosen may be nothing. All numbers are somebody's words until they are compared with the question.
    """
    identity, _, number = action.value.partition(":")
    if not is_question_id(identity):
        return None
    if action.action_id != SUBMIT_ACTION:
        return (identity, [[int(number)]]) if _is_number(number) else None
    picks: list[list[int]] = [[] for _ in range(MOST_ITEMS)]
    for (_, field), values in action.fields.items():
        item = field.removeprefix(f"{FIELD}_")
        if field.startswith(f"{FIELD}_") and _is_number(item) and int(item) < MOST_ITEMS:
            picks[int(item)] = [int(value) for value in values[:MOST_OPTIONS] if _is_number(value)]
    return identity, picks


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 4


def _body(question: Question, *, with_controls: bool) -> list[Block]:
    buttons = _has_buttons(question)
    blocks: list[Block] = []
    for number, item in enumerate(question.items):
        blocks.append(section(fit(_lines(item, options=buttons or not with_controls), SECTION_LIMIT)))
        if with_controls and not buttons and item.options:
            blocks.append({"type": "actions", "elements": [_field(number, item)]})
    return [*blocks, *(_controls(question) if with_controls else ())]


def _has_buttons(question: Question) -> bool:
    """Whether each choice is a button. It is not if several may be chosen, or there is more than one question."""
    if question.kind == "plan":
        return True
    [first, *more] = question.items
    return not more and not first.several and len(first.options) <= _MOST_BUTTONS


def _lines(item: Item, *, options: bool) -> list[str]:
    """Write a question, and its choices where they are not in the form below."""
    lines = [f"*{mrkdwn(item.question, 600)}*"]
    for option in item.options if options else ():
        about = f": {mrkdwn(option.description, 300)}" if option.description else ""
        lines.append(f"• {mrkdwn(option.label, 150)}{about}")
    return lines


def _field(number: int, item: Item) -> Block:
    options = []
    for n, option in enumerate(item.options):
        shown: Block = {"text": {"type": "plain_text", "text": line(option.label, _LABEL) or "?"}, "value": str(n)}
        if option.description:
            shown["description"] = {"type": "plain_text", "text": line(option.description, _LABEL) or "?"}
        options.append(shown)
    kind = "checkboxes" if item.several else "radio_buttons"
    return {"type": kind, "action_id": f"{FIELD}_{number}", "options": options}


def _controls(question: Question) -> list[Block]:
    if not any(question.choices(item) for item in range(question.count)):
        return []  # only words can answer it
    if not _has_buttons(question):
        return [{"type": "actions", "elements": [_button(SUBMIT_ACTION, question.id, SUBMIT, "primary")]}]
    labels = question.choices(0)
    style = {APPROVE: "primary", REJECT: "danger"} if question.kind == "plan" else {}
    buttons = [
        _button(f"{ANSWER}_{n}", f"{question.id}:{n}", label, style.get(label, "")) for n, label in enumerate(labels)
    ]
    return [{"type": "actions", "elements": buttons}]


def _button(action: str, value: str, label: str, style: str) -> Block:
    button: Block = {
        "type": "button",
        "action_id": action,
        "value": value,
        "text": {"type": "plain_text", "text": line(label, _LABEL) or "?"},
    }
    return button | ({"style": style} if style else {})


def _outcome(question: Question, settled: QuestionSettled, words: str) -> list[Block]:
    """Show what was chosen, by whom and when."""
    lines = []
    if settled.words:
        lines.append(f"> {mrkdwn(settled.words, _WORDS)}")
    elif settled.choices and question.kind != "plan":
        for item, labels in zip(question.items, settled.choices, strict=False):
            chosen = ", ".join(f"*{mrkdwn(label, 150)}*" for label in labels) or "(no answer)"
            lines.append(chosen if len(question.items) == 1 else f"{mrkdwn(item.question, 150)} {chosen}")
    return [*([section(fit(lines, SECTION_LIMIT))] if lines else []), context(words)]


def _markdown(markdown: str, below: list[Block], said: str) -> Rendered:
    shown = harmless_markdown(markdown)
    text = fit([*([said] if said else []), *as_mrkdwn(shown).split("\n")], TEXT_LIMIT)
    return Rendered(text, [{"type": "markdown", "text": shown}, *below] if shown.strip() else below)


def _text(question: Question, said: str) -> str:
    return fit([said, *(part for item in question.items for part in _lines(item, options=True))], TEXT_LIMIT)
