"""What a message says: its text, and the words that stand only in its attachments or blocks. Pure; never raises.

A forwarded message is an attachment, and so is an alert of many apps; others write theirs in blocks. All words come out
in Slack's escaped notation, as a message's text does, and bounded.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from peerbot.slack.text import escaped

_DEEPEST = 12  # blocks in blocks
_MOST = 20  # attachments of one message
_NOT_WORDS = ("options", "option_groups", "confirm", "placeholder", "hint", "metadata", "private_metadata")
_LEAVES = {
    "user": ("user_id", "<@{}>"),
    "channel": ("channel_id", "<#{}>"),
    "usergroup": ("usergroup_id", "<!subteam^{}>"),
    "broadcast": ("range", "<!{}>"),
    "emoji": ("name", ":{}:"),
    "date": ("fallback", "{}"),
    "color": ("value", "{}"),
}
_MARKUP = re.compile(r"[\s*_~`•]+")

LIMIT = 8_000
"""The most characters that attachments and blocks add to a message."""


def text_of(message: Mapping[str, Any]) -> str:
    """Return what the author wrote: the message's text, or the words of its blocks if it has none."""
    return _string(message.get("text")) or _joined(_blocks(message.get("blocks")), LIMIT)


def words_of(message: Mapping[str, Any]) -> str:
    """Return all that a message says: what its author wrote, and what its attachments hold.

    Of an app's message that has both a text and blocks, the words that only the blocks have come after the text.
    """
    text = text_of(message)
    parts = [text]
    if message.get("bot_id") and _string(message.get("text")):
        had = _bare(text)
        parts.append(_joined((line for line in _blocks(message.get("blocks")) if _bare(line) not in had), LIMIT))
    parts.append(attached(message))
    return "\n\n".join(part for part in parts if part)


def attached(message: Mapping[str, Any], limit_chars: int = LIMIT) -> str:
    """Return the words of a message's attachments, empty if there are none. Previews of pages are none of its words."""
    found = (_attachment(_object(one)) for one in _list(message.get("attachments"))[:_MOST])
    return _joined((words for words in found if words), limit_chars, "\n\n")


def _attachment(attachment: Mapping[str, Any]) -> str:
    forwarded = any(attachment.get(key) for key in ("is_share", "is_msg_unfurl", "message_blocks"))
    if not forwarded and (attachment.get("from_url") or attachment.get("original_url")):
        return ""
    blocks = [
        *_list(attachment.get("blocks")),
        *(block for one in _list(attachment.get("message_blocks")) for block in _message_blocks(_object(one))),
    ]
    lines = [_string(attachment.get(key)) for key in ("pretext", "title", "text")]
    for field in map(_object, _list(attachment.get("fields"))):
        named = (_string(field.get("title")), _string(field.get("value")))
        lines += [": ".join(part for part in named if part)]
    if forwarded and not any(lines):
        lines += _blocks(blocks)
    elif not forwarded:
        had = _bare("\n".join(lines))
        lines += [line for line in _blocks(blocks) if _bare(line) not in had]
    words = "\n".join(line for line in lines if line) or _string(attachment.get("fallback"))
    if not (words and forwarded):
        return words
    # The words come first: the first line of a request becomes a title. Nobody can write in another's name this way.
    author = _string(attachment.get("author_id")) or _string(attachment.get("author_subname"))
    name = f"<@{author}>" if re.fullmatch(r"[UW][A-Z0-9]+", author) else _string(attachment.get("author_name"))
    quoted = "\n".join(f"&gt; {line}" for line in words.split("\n"))
    return f"{quoted}\n(a forwarded message, written by {name or 'somebody'})"


def _message_blocks(one: Mapping[str, Any]) -> list[Any]:
    return _list(_object(one.get("message")).get("blocks"))


# Blocks


def _blocks(blocks: object) -> Iterator[str]:
    for block in _list(blocks):
        yield from _lines(block, _DEEPEST)


def _lines(value: object, depth: int) -> Iterator[str]:
    """Yield the words in a block, or in any part of one, line by line."""
    part = _object(value)
    match part.get("type") if depth > 0 else "too deep":
        case "rich_text":
            yield from _rich(part)
        case "mrkdwn":
            yield _string(part.get("text"))
        case "plain_text" | "raw_text" | "markdown":
            yield escaped(_string(part.get("text")))
        case "image":
            yield escaped(_string(part.get("alt_text")))
        case "table" | "data_table":
            for row in _list(part.get("rows")):
                yield " | ".join(" ".join(_lines(cell, depth - 1)) for cell in _list(row))
        case "too deep":
            return
        case _ if "action_id" not in part:  # the words on a button are no words of the message
            inner = [inner for name, inner in part.items() if name not in _NOT_WORDS]
            for one in inner if part else _list(value):
                yield from _lines(one, depth - 1)
            # A plan and its tasks have their titles as bare strings.
            yield escaped(_string(part.get("title")))


def _rich(block: Mapping[str, Any]) -> Iterator[str]:
    for element in map(_object, _list(block.get("elements"))):
        match element.get("type"):
            case "rich_text_list":
                indent = "  " * min(_number(element.get("indent")), 8)
                ordered = element.get("style") == "ordered"
                start = _number(element.get("offset")) + 1
                for number, item in enumerate(_list(element.get("elements")), start=start):
                    yield f"{indent}{f'{number}.' if ordered else '•'} {_leaves(_object(item))}"
            case "rich_text_preformatted":
                yield f"```\n{_leaves(element)}\n```"
            case "rich_text_quote":
                yield "\n".join(f"&gt; {line}" for line in _leaves(element).split("\n"))
            case _:
                yield _leaves(element).removesuffix("\n")


def _leaves(section: Mapping[str, Any]) -> str:
    return "".join(_leaf(_object(element)) for element in _list(section.get("elements")))


def _leaf(element: Mapping[str, Any]) -> str:
    """Write an element of rich text as Slack writes it in a message's text."""
    kind, text = str(element.get("type")), escaped(_string(element.get("text")))
    if kind in _LEAVES:
        name, form = _LEAVES[kind]
        return form.format(escaped(_string(element.get(name))))
    if kind == "link":
        url = escaped(_string(element.get("url"))).replace("|", "%7C")
        return f"<{url}|{text}>" if text else f"<{url}>"
    return f"`{text}`" if _object(element.get("style")).get("code") and text else text


# Helpers


def _joined(lines: Iterator[str], limit_chars: int, between: str = "\n") -> str:
    """Join lines while there is room for them; the last one may be cut."""
    kept: list[str] = []
    room = limit_chars
    for line in lines:
        if not line:
            continue
        kept.append(line if len(line) <= room else _cut(line, room))
        room -= len(line) + len(between)
        if room <= 0:
            break
    return between.join(kept)


def _cut(text: str, limit_chars: int) -> str:
    """Cut Slack's escaped text, but not within an escape or a control sequence."""
    kept = text[: max(0, limit_chars)]
    for begins, ends, longest in (("<", ">", limit_chars), ("&", ";", 5)):
        if (start := kept.rfind(begins)) >= max(0, len(kept) - longest) and ends not in kept[start:]:
            kept = kept[:start]
    return f"{kept} […]"


def _bare(text: str) -> str:
    return _MARKUP.sub("", text)


def _string(value: object) -> str:
    """Return a string that UTF-8 can hold (JSON can carry half of a surrogate pair), or the empty one."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 10_000 else 0


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
