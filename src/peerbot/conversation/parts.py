"""Split a long Markdown text into shorter parts, each of which reads well alone. Pure.

A part ends at the end of a paragraph. A code block that goes on in the next part is closed and opened again; a table
stays whole. Only a unit that is longer than a whole part is broken inside: code and tables between their lines (with
the head of the table repeated), and words between sentences.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

_FENCE = re.compile(r"^\s{0,20}(`{3,30}|~{3,30})[^`]{0,100}$")
_OPEN = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_DELIMITER = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_ENDS = (". ", " ")

Weigh = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Lines that stay together if they fit: a paragraph, a code block, a table. `gap`: the line ends before it."""

    gap: str
    lines: tuple[str, ...]
    head: tuple[str, ...] = ()  # repeated after each break
    foot: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join((*self.head, *self.lines, *self.foot))


def split_markdown(markdown: str, limit: int, *, weigh: Weigh = len, most: int | None = None) -> list[str]:
    """Split Markdown into parts of at most `limit`, in order; nothing is left out.

    After `most` parts, one more has all the rest, however long it is. `weigh` says how much a text counts: each
    character counts at least one, and two texts together weigh the sum of both. `limit` must be large enough for a
    code block's fences (up to some 200 characters).
    """
    parts: list[str] = []
    current = ""
    units = _units(markdown)[::-1]
    weight = 0
    while units:
        if len(parts) == most:
            unit = units.pop()
            return [*parts, unit.text + "".join(f"{unit.gap}{unit.text}" for unit in reversed(units))]
        unit = units.pop()
        text = f"{unit.gap}{unit.text}" if current else unit.text
        if weight + weigh(text) <= limit:
            current, weight = current + text, weight + weigh(text)
            continue
        if weigh(unit.text) > limit:
            if sum(map(weigh, (*unit.head, *unit.foot))) > limit // 2:
                unit = _Unit(unit.gap, (*unit.head, *unit.lines, *unit.foot))
            first, rest = _broken(unit, limit - weight - weigh(unit.gap), weigh, force=not current)
            units.append(rest)
            if first:
                current += (unit.gap if current else "") + first.text
        else:
            units.append(unit)
        parts.append(current)
        current, weight = "", 0
    return [*parts, current] if current or not parts else parts


def _broken(unit: _Unit, limit: int, weigh: Weigh, *, force: bool) -> tuple[_Unit | None, _Unit]:
    """Return as many lines as fit, and the rest. If not one fits: None, or with `force` the part of it that fits."""
    room = limit - sum(weigh(f"{line}\n") for line in (*unit.head, *unit.foot))
    count = 0
    while count < len(unit.lines) and (room := room - weigh(f"{unit.lines[count]}\n")) >= 0:
        count += 1
    if count:
        return replace(unit, lines=unit.lines[:count]), replace(unit, lines=unit.lines[count:])
    if not force:
        return None, unit
    line = unit.lines[0]
    end = _end(line, room + weigh(f"{line}\n"), weigh)
    return replace(unit, lines=(line[:end],)), replace(unit, lines=(line[end:], *unit.lines[1:]))


def _end(line: str, limit: int, weigh: Weigh) -> int:
    """Find the place to break a line, so that the first half fits; always after at least one character."""
    low, high = 1, max(1, min(len(line), limit))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if weigh(line[:middle]) <= limit else (low, middle - 1)
    found = (line.rfind(mark, low // 2, low) + len(mark) for mark in _ENDS if mark in line[low // 2 : low])
    return next(found, low)


def shorten(markdown: str, limit_chars: int, notice: str) -> str:
    """Cut Markdown to `limit_chars`, if it can at a paragraph's end; close an open fence and add `notice`."""
    if len(markdown) <= limit_chars:
        return markdown
    kept, _ = break_markdown(markdown, limit_chars - len(notice) - 2)
    return f"{kept}\n\n{notice}"


def break_markdown(markdown: str, limit_chars: int) -> tuple[str, str]:
    """Break Markdown into a part of at most `limit_chars` and the rest, if it can at the end of a paragraph or line.

    A fence that is open at the break is closed before it and opened again after it.
    """
    if len(markdown) <= limit_chars:
        return markdown, ""
    room = limit_chars - 40  # for the closing fence
    end = next((end for mark in ("\n\n", "\n", " ") if (end := markdown.rfind(mark, room // 2, room)) > 0), room)
    kept, rest = markdown[:end].rstrip(), markdown[end:].lstrip("\n")
    fence = _open_fence(kept)
    return (f"{kept}\n{fence}", f"{fence}\n{rest}") if fence else (kept, rest)


def _open_fence(markdown: str) -> str:
    """Find the fence that is open at the end of the text, as short as closes it; empty if there is none."""
    fence = ""
    for line in markdown.split("\n"):
        if found := _OPEN.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence) and line.strip() == found[1]:
                fence = ""
    return fence[:36]


def _units(markdown: str) -> list[_Unit]:
    units: list[_Unit] = []
    lines = markdown.split("\n")
    place = blank = 0
    while place < len(lines):
        if not lines[place].strip():
            place, blank = place + 1, blank + 1
            continue
        unit, place = _unit(lines, place, "\n" * (blank + 1))
        units.append(unit)
        blank = 0
    return units


def _unit(lines: list[str], start: int, gap: str) -> tuple[_Unit, int]:
    """Return the unit that begins at line `start`, and the number of the line after it."""
    if opened := _FENCE.match(lines[start]):
        closes = re.compile(rf"^\s*{re.escape(opened[1])}{opened[1][0]}*\s*$")
        end = next((n for n in range(start + 1, len(lines)) if closes.match(lines[n])), len(lines))
        foot = lines[end] if end < len(lines) else opened[1]
        return _Unit(gap, tuple(lines[start + 1 : end]), (lines[start],), (foot,)), end + 1
    end = start
    if _begins_table(lines, start):
        while end < len(lines) and "|" in lines[end]:
            end += 1
        return _Unit(gap, tuple(lines[start + 2 : end]), tuple(lines[start : start + 2])), end
    while end < len(lines) and lines[end].strip() and not _FENCE.match(lines[end]) and not _begins_table(lines, end):
        end += 1
    return _Unit(gap, tuple(lines[start:end])), end


def _begins_table(lines: list[str], n: int) -> bool:
    return "|" in lines[n] and n + 1 < len(lines) and "|" in lines[n + 1] and bool(_DELIMITER.match(lines[n + 1]))
