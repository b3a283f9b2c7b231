"""Whether Slack would take a message's blocks: Block Kit's rules, as far as PeerBot's messages meet them.

slack_sdk's own models know the limits of single blocks. What they let pass (missing texts, plans, limits of whole
messages) is checked here.
"""

import secrets
from collections.abc import Iterator
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block, BlockElement

from peerbot.local.slack.shapes import Object

BLOCKS_LIMIT = 50  # a message
MESSAGE_LIMIT = 13_200  # characters of JSON; Slack does not document it, people measured it
MARKDOWN_LIMIT = 12_000  # characters, of all markdown blocks of a message together
TASKS_LIMIT = 50  # a plan
TEXT_LIMIT = 3_000  # characters of a text object
FIELD_LIMIT = 2_000
BUTTON_TEXT_LIMIT = 75
BUTTON_VALUE_LIMIT = 2_000

_PLAIN_TYPES = ("card", "context_actions", "divider", "image", "table")  # what slack_sdk checks is enough
_RICH_TEXT_ELEMENTS = ("rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote")
_RICH_TEXT_LEAVES = ("text", "link", "user", "usergroup", "channel", "emoji", "date", "broadcast", "color", "team")
_TASK_STATES = ("pending", "in_progress", "complete", "error")


def problems(blocks: Any) -> list[str]:
    """What Slack would refuse, each with where it is; nothing where it takes the blocks."""
    if not isinstance(blocks, list):
        return ["blocks must be an array"]
    if len(blocks) > BLOCKS_LIMIT:
        return [f"no more than {BLOCKS_LIMIT} items allowed [json-pointer:/blocks]"]
    found = [
        f"{problem} [json-pointer:/blocks/{place}{where}]"
        for place, block in enumerate(blocks)
        for where, problem in _block(block)
    ]
    if not found:
        found = [f"{problem} [json-pointer:/blocks]" for problem in _whole(blocks)]
    return found


def named(blocks: list[Object]) -> list[Object]:
    """The blocks as Slack keeps them: each with a `block_id`."""
    return [block if block.get("block_id") else block | {"block_id": secrets.token_urlsafe(4)} for block in blocks]


Problems = Iterator[tuple[str, str]]  # where in the block, and what


def _block(block: Any) -> Problems:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        yield "", "must be an object with a type"
        return
    if block["type"] not in _PLAIN_TYPES and block["type"] not in _SHAPES:
        yield "/type", f"unsupported type: {block['type']}"
        return
    shape = _SHAPES.get(block["type"])
    found = list(shape(block)) if shape else []
    yield from found
    if not found:
        yield from _by_sdk(block)


def _by_sdk(block: Object) -> Problems:
    try:
        parsed = Block.parse(block)
        if parsed is None:
            yield "", "unsupported block"
        else:
            parsed.validate_json()
    except (SlackObjectFormationError, TypeError, AttributeError, KeyError) as error:
        yield "", str(error)


def _text(text: Any, where: str, limit: int, *, plain: bool = False) -> Problems:
    types = ("plain_text",) if plain else ("plain_text", "mrkdwn")
    if not isinstance(text, dict) or text.get("type") not in types:
        yield where, f"must be a text object of type {' or '.join(types)}"
    elif not isinstance(text.get("text"), str) or not text["text"]:
        yield f"{where}/text", "must be more than 0 characters"
    elif len(text["text"]) > limit:
        yield f"{where}/text", f"must be less than {limit + 1} characters"


def _some(block: Object, name: str) -> Problems:
    if not isinstance(block.get(name), list) or not block[name]:
        yield f"/{name}", "must be an array with at least 1 item"


def _section(block: Object) -> Problems:
    if "text" in block:
        yield from _text(block["text"], "/text", TEXT_LIMIT)
    elif "fields" not in block:
        yield "", "text or fields must be given"
    if "fields" in block:
        yield from _some(block, "fields")
        for place, item in enumerate(block["fields"] or []):
            yield from _text(item, f"/fields/{place}", FIELD_LIMIT)


def _header(block: Object) -> Problems:
    yield from _text(block.get("text"), "/text", 150, plain=True)


def _context(block: Object) -> Problems:
    yield from _some(block, "elements")
    for place, element in enumerate(block.get("elements") or []):
        if not (isinstance(element, dict) and element.get("type") == "image"):
            yield from _text(element, f"/elements/{place}", TEXT_LIMIT)


def _actions(block: Object) -> Problems:
    yield from _some(block, "elements")
    for place, element in enumerate(block.get("elements") or []):
        where = f"/elements/{place}"
        if not isinstance(element, dict) or BlockElement.parse(element) is None:
            yield where, "unsupported element"
        elif element["type"] == "button":
            yield from _text(element.get("text"), f"{where}/text", BUTTON_TEXT_LIMIT, plain=True)
            if len(element.get("value", "")) > BUTTON_VALUE_LIMIT:
                yield f"{where}/value", f"must be less than {BUTTON_VALUE_LIMIT + 1} characters"
            if element.get("style", "primary") not in ("primary", "danger"):
                yield f"{where}/style", "must be primary or danger"


def _markdown(block: Object) -> Problems:
    if not isinstance(block.get("text"), str) or not block["text"]:
        yield "/text", "must be more than 0 characters"


def _rich_text(block: Object) -> Problems:
    yield from _some(block, "elements")
    for place, element in enumerate(block.get("elements") or []):
        yield from _rich_text_element(element, f"/elements/{place}")


def _rich_text_element(element: Any, where: str) -> Problems:
    if not isinstance(element, dict) or element.get("type") not in _RICH_TEXT_ELEMENTS:
        yield where, f"must be one of {', '.join(_RICH_TEXT_ELEMENTS)}"
        return
    if not isinstance(element.get("elements"), list):
        yield f"{where}/elements", "must be an array"
        return
    for place, leaf in enumerate(element["elements"]):
        inner = f"{where}/elements/{place}"
        if element["type"] == "rich_text_list":
            yield from _rich_text_element(leaf, inner)
        elif not isinstance(leaf, dict) or leaf.get("type") not in _RICH_TEXT_LEAVES:
            yield inner, f"must be one of {', '.join(_RICH_TEXT_LEAVES)}"
        elif leaf["type"] == "text" and not (isinstance(leaf.get("text"), str) and leaf["text"]):
            yield f"{inner}/text", "must be more than 0 characters"


def _task_card(block: Object) -> Problems:
    for name in ("task_id", "title"):
        if not isinstance(block.get(name), str) or not block[name]:
            yield f"/{name}", "must be more than 0 characters"
    if block.get("status") not in _TASK_STATES:
        yield "/status", f"must be one of {', '.join(_TASK_STATES)}"
    for name in ("details", "output"):
        if name in block:
            if not isinstance(block[name], dict) or block[name].get("type") != "rich_text":
                yield f"/{name}", "must be a rich_text block"
            else:
                yield from ((f"/{name}{where}", problem) for where, problem in _rich_text(block[name]))
    for place, source in enumerate(block.get("sources") or []):
        if not isinstance(source, dict) or source.get("type") != "url" or not source.get("url"):
            yield f"/sources/{place}", "must be a url source"


def _plan(block: Object) -> Problems:
    if not isinstance(block.get("title"), str) or not block["title"]:
        yield "/title", "must be more than 0 characters"
    tasks = block.get("tasks", [])
    if not isinstance(tasks, list) or len(tasks) > TASKS_LIMIT:
        yield "/tasks", f"must be an array with at most {TASKS_LIMIT} items"
        return
    for place, task in enumerate(tasks):
        if not isinstance(task, dict) or task.get("type") != "task_card":
            yield f"/tasks/{place}", "must be a task_card"
        else:
            yield from ((f"/tasks/{place}{where}", problem) for where, problem in _task_card(task))
    identities = [task.get("task_id") for task in tasks if isinstance(task, dict)]
    if len(set(identities)) < len(identities):
        yield "/tasks", "task_id must be unique"


def _whole(blocks: list[Object]) -> Iterator[str]:
    kinds = [block["type"] for block in blocks]
    markdown = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
    if markdown > MARKDOWN_LIMIT:
        yield f"markdown blocks must have less than {MARKDOWN_LIMIT + 1} characters together"
    if kinds.count("table") > 1:
        yield "only one table allowed"
    if "plan" in kinds and "task_card" in kinds:
        yield "a plan and a task_card can't stand beside each other"
    identities = [block["block_id"] for block in blocks if block.get("block_id")]
    if len(set(identities)) < len(identities):
        yield "block_id must be unique"


_SHAPES = {
    "actions": _actions,
    "context": _context,
    "header": _header,
    "markdown": _markdown,
    "plan": _plan,
    "rich_text": _rich_text,
    "section": _section,
    "task_card": _task_card,
}
