"""Split a long Markdown text into shorter parts, each of which reads well alone. Pure.

A part ends at the end of a paragraph. A code block that goes on in the next part is closed and opened again, with the
marks of its quote and its indent; a table stays whole. Only a unit that is longer than a whole part is broken inside:
code and tables between their lines (with the head of the table repeated), and words between sentences.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markdown_it.token import Token

from peerbot.slack.markdown import block_tokens

_ENDS = (". ", " ")
_LEAVES = ("paragraph_open", "heading_open", "table_open", "fence", "code_block", "hr")
_AHEAD = 20_000  # characters of a text that are read beyond what the parts may hold
_FEW = 20  # blocks
_INFO = 60  # characters of a fence's info that are repeated
_LONGEST_FENCE, _LONGEST_PREFIX = 40, 80  # characters; each break repeats them, so that they must not fill a part

Weigh = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Lines that stay together if they fit: a paragraph, a code block, a table. `gap`: the line ends before it."""

    gap: str
    lines: tuple[str, ...]
    head: tuple[str, ...] = ()  # repeated after each break
    foot: tuple[str, ...] = ()
    prefix: str = ""  # stands before a rest of a line after a break
    code: "_Unit | None" = None  # code as a part shows it that does not begin with it, from its first line on
    top: int = -1  # which of the text's own blocks it belongs to; -1: none
    blocks: int = 0  # how many blocks Slack makes of it beside that one
    start: int = 0  # its first line's number in the text
    indent: int = 0
    was: int = 0  # the indent that it had before a break, if it is too deep to stand alone

    @property
    def text(self) -> str:
        return "\n".join((*self.head, *self.lines, *self.foot))

    def shifted(self, columns: int) -> "_Unit":
        """Take away so much of its indent."""
        if not columns:
            return self
        head, lines, foot = (
            tuple(line[min(columns, _indent(line)) :] for line in part) for part in (self.head, self.lines, self.foot)
        )
        return replace(self, head=head, lines=lines, foot=foot, indent=self.indent - columns)

    def after(self, count: int) -> "_Unit":
        """Return its rest without the first `count` lines, for another part."""
        if self.code is None:
            return replace(self, lines=self.lines[count:])
        return replace(self.code, gap=self.gap, lines=self.code.lines[count:], top=self.top, blocks=self.blocks)


class _Part:
    """A part that is being filled."""

    def __init__(self, weigh: Weigh) -> None:
        self._weigh = weigh
        self.text = ""
        self.weight = self.blocks = 0
        self._top = -1
        self._shift = 0

    def placed(self, unit: _Unit) -> _Unit:
        """Return the unit as this part would show it: what is deep in a list would be code without its list."""
        if not self.text:
            return unit.shifted(unit.indent if unit.indent > 3 else 0)
        return unit.shifted(min(self._shift, unit.indent))

    def weight_with(self, shown: _Unit) -> int:
        return self.weight + self._weigh(f"{shown.gap}{shown.text}" if self.text else shown.text)

    def blocks_with(self, unit: _Unit) -> int:
        return self.blocks + unit.blocks + (unit.top >= 0 and unit.top != self._top)

    def rest(self, units: list[_Unit]) -> str:
        """Return the units that are left, the last first, as one text."""
        *others, first = units
        return self.placed(first).text + "".join(f"{unit.gap}{unit.text}" for unit in reversed(others))

    def add(self, unit: _Unit, shown: _Unit) -> None:
        self.weight, self.blocks = self.weight_with(shown), self.blocks_with(unit)
        if not self.text or not unit.indent:
            self._shift = unit.was or unit.indent - shown.indent
        self._top = unit.top if unit.top >= 0 else self._top
        self.text += f"{shown.gap}{shown.text}" if self.text else shown.text


def split_markdown(
    markdown: str,
    limit: int,
    *,
    weigh: Weigh = len,
    most: int | None = None,
    blocks: int | None = None,
    fill: bool = False,
) -> list[str]:
    """Split Markdown into parts of at most `limit`, in order; nothing is left out.

    After `most` parts, one more has all the rest, however long it is. `weigh` says how much a text counts: each
    character counts at least one, and two texts together weigh the sum of both. `limit` must be large enough for a
    code block's fences (up to some 200 characters). Slack makes at most `blocks` blocks of each part. With `fill` a
    unit is broken inside rather than half of a part left empty.
    """
    enough = len(markdown) if most is None else (most + 1) * limit + _AHEAD
    parts, units = _split(_units(markdown[:enough])[::-1], limit, weigh, most, blocks, fill)
    if enough >= len(markdown):
        return [*parts, _Part(weigh).rest(units)] if units else parts
    # Of a very long text only the beginning is read, up to where its last block may not be whole.
    if len(units) < 2:
        parts, units = _split(_units(markdown)[::-1], limit, weigh, most, blocks, fill)
        return [*parts, _Part(weigh).rest(units)] if units else parts
    left = "\n".join(markdown.split("\n")[units[0].start :])
    return [*parts, f"{_Part(weigh).rest(units[1:])}{units[0].gap}{left}"]


def _split(
    units: list[_Unit], limit: int, weigh: Weigh, most: int | None, blocks: int | None, fill: bool
) -> tuple[list[str], list[_Unit]]:
    """Fill at most `most` parts from the end of `units`; returns them, and the units that are left."""
    parts: list[str] = []
    part = _Part(weigh)
    while units and len(parts) != most:
        unit = units.pop()
        shown = part.placed(unit)
        fits = blocks is None or not part.text or part.blocks_with(unit) <= blocks
        if fits and part.weight_with(shown) <= limit:
            part.add(unit, shown)
            continue
        if fits and (weigh(shown.text) > limit or (fill and part.weight < limit // 2)):
            unit = shown
            if sum(map(weigh, (*unit.head, *unit.foot))) > limit // 2:
                unit = replace(unit, lines=(*unit.head, *unit.lines, *unit.foot), head=(), foot=(), code=None)
            force = not part.text or (fill and not unit.head and limit - part.weight > 100)
            first, rest = _broken(unit, limit - part.weight - weigh(unit.gap), weigh, force=force)
            units.append(rest)
            if first and not (part.text or first.text.strip()):
                continue  # blank lines within a paragraph
            if first:
                part.add(first, first)
        else:
            units.append(unit)
        parts.append(part.text)
        part = _Part(weigh)
    return ([*parts, part.text] if part.text or not (parts or units) else parts), units


def _broken(unit: _Unit, limit: int, weigh: Weigh, *, force: bool) -> tuple[_Unit | None, _Unit]:
    """Return as many lines as fit, and the rest. If not one fits: None, or with `force` the part of it that fits."""
    room = limit - sum(weigh(f"{line}\n") for line in (*unit.head, *unit.foot))
    count = 0
    while count < len(unit.lines) and (room := room - weigh(f"{unit.lines[count]}\n")) >= 0:
        count += 1
    if count:
        return replace(unit, lines=unit.lines[:count]), unit.after(count)
    if not force or not unit.lines:
        return None, unit
    line = unit.lines[0]
    end = _end(line, room + weigh(f"{line}\n"), weigh)
    rest = unit.after(1)
    return replace(unit, lines=(line[:end],)), replace(rest, lines=(f"{unit.prefix}{line[end:]}", *rest.lines))


def _end(line: str, limit: int, weigh: Weigh) -> int:
    """Find the place to break a line, so that the first half fits; always after at least one character."""
    low, high = 1, max(1, min(len(line), limit))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if weigh(line[:middle]) <= limit else (low, middle - 1)
    found = (line.rfind(mark, low // 2, low) + len(mark) for mark in _ENDS if mark in line[low // 2 : low])
    return next(found, low)


def shorten(markdown: str, limit_chars: int, notice: str) -> str:
    """Cut Markdown to `limit_chars`, if it can at a paragraph's end; close an open fence and add `notice`.

    Slack makes at most 20 blocks of what is left.
    """
    if len(markdown) <= limit_chars and blocks_in(markdown) <= _FEW:
        return markdown
    room = limit_chars - len(notice) - 2
    return f"{split_markdown(markdown, room, most=1, blocks=_FEW - 1, fill=True)[0]}\n\n{notice}"


def break_markdown(markdown: str, limit_chars: int) -> tuple[str, str]:
    """Break Markdown into a part of at most `limit_chars` and the rest, if it can at the end of a paragraph or line.

    A fence that is open at the break is closed before it and opened again after it.
    """
    if len(markdown) <= limit_chars:
        return markdown, ""
    kept, *rest = split_markdown(markdown, limit_chars, most=1, fill=True)
    return kept, "".join(rest)


def blocks_in(markdown: str) -> int:
    """Count the blocks that Slack makes of a text; a few too many rather than one too few."""
    blocks, top = 0, -1
    for unit in _units(markdown):
        blocks += unit.blocks + (unit.top not in (top, -1))
        top = unit.top if unit.top >= 0 else top
    return blocks


def _units(markdown: str) -> list[_Unit]:
    lines = markdown.split("\n")
    units: list[_Unit] = []
    place = blank = 0
    for start, end, unit in [*_leaves(markdown, lines), (len(lines), len(lines), None)]:
        for n, line in enumerate(lines[place:start], start=place):  # in no block of words: blank ones, and marks alone
            if line.strip():
                units.append(_Unit("\n" * (blank + 1), (line,), start=n, indent=_indent(line)))
            blank = 0 if line.strip() else blank + 1
        if unit is not None:
            units.append(replace(unit, gap="\n" * (blank + 1)))
            place, blank = end, 0
    return units


def _leaves(markdown: str, lines: Sequence[str]) -> list[tuple[int, int, _Unit | None]]:
    """Find the blocks that hold words, with the numbers of their first lines and of the lines after them."""
    found: list[tuple[int, int, _Unit | None]] = []
    top, end = -1, 0
    around: list[str] = []
    tokens = block_tokens(markdown)
    for n, token in enumerate(tokens):
        top += token.level == 0 and token.nesting >= 0
        if token.type in ("blockquote_open", "list_item_open"):
            around.append(token.type)
        elif token.type in ("blockquote_close", "list_item_close"):
            around.pop()
        if token.type not in _LEAVES or token.map is None or token.map[0] < end:
            continue
        if not "".join(lines[slice(*token.map)]).strip():
            continue
        start, end = token.map
        words = tokens[n + 1].content if token.type == "paragraph_open" else ""
        unit = _leaf(token, list(lines[start:end]), words)
        in_list, in_quote = "list_item_open" in around, "blockquote_open" in around
        apart = 2 if in_list and (in_quote or token.type != "paragraph_open") else int(in_quote)
        indent = 0 if token.type == "code_block" else _indent(lines[start])
        found.append((start, end, replace(unit, top=top, blocks=apart, start=start, indent=indent)))
    return found


def _leaf(token: Token, lines: list[str], words: str) -> _Unit:
    match token.type:
        case "fence" if len(token.markup) <= _LONGEST_FENCE:
            return _fence(token, lines)
        case "table_open":
            return _Unit("", tuple(lines[2:]), tuple(lines[:2]))
        case _:
            mark = lines[0].removesuffix(words.split("\n", maxsplit=1)[0]) if words else ""
            quote = f"{mark[: mark.rindex('>') + 1]} " if ">" in mark else ""
            return _Unit("", tuple(lines), prefix=quote if len(quote) <= _LONGEST_PREFIX else "")


def _fence(token: Token, lines: list[str]) -> _Unit:
    code = token.content.removesuffix("\n").split("\n") if token.content else []
    closed = len(lines) == len(code) + 2
    own = tuple(lines[1:-1] if closed else lines[1:])
    # What stands before the code in its lines: the marks of quotes and the indent of lists.
    before = next((line.removesuffix(text) for line, text in zip(own, code, strict=False) if text.strip()), "")
    if before.strip("> ") or len(before) > _LONGEST_PREFIX:
        before = ""
    foot = lines[-1] if closed else f"{before}{token.markup}"
    again = re.sub(r" {4,}", "   ", before)  # with four spaces a fence that stands alone would be none
    reopened = _Unit(
        "",
        tuple(f"{again}{text}" for text in code),
        (f"{again}{token.markup}{token.info.rstrip()[:_INFO]}",),
        (f"{again}{token.markup}",),
        prefix=again,
        was=_indent(before) if _indent(before) > 3 else 0,
    )
    return _Unit("", own, (lines[0],), (foot,), prefix=again, code=reopened if len(own) == len(code) else None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
