"""The model's Markdown, as a parser reads it: what in it is code, and the same words in Slack's older notation, mrkdwn.

Two promises for every rendering: code is byte for byte the model's, and words that are no code ping nobody. Pure, and
bounded in time whatever comes in (`tests/unit/test_markdown.py`).

Code is what stands between backticks or in a fence: Slack documents no other.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from peerbot.slack.text import active_places, broken, escaped, harmless, visible

_NESTING = 60  # quotes in quotes, or lists in lists; the parser drops what is deeper
_MOST_LINKS, _MOST_MARKS = 500, 3_000  # in one text
_MOST_COLUMNS = 200  # of a table; Slack takes 20
_DEEPEST = 16  # columns of indent
_INLINE_CODE, _FENCED_CODE = "\U0010ffff", "\U0010fffe"  # stand for code; they are no characters, so no text needs them
_STAND_INS = re.compile(f"[{_INLINE_CODE}{_FENCED_CODE}]")
_FREE = range(0x100000, 0x10FFFE)  # characters for private use
_MARKS = {"strong": "*", "em": "_", "s": "~"}


class _Parser(MarkdownIt):
    """CommonMark with tables. Raw HTML, references and images are words: Slack shows them so, or as links."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False, "maxNesting": _NESTING})
        self.enable(["table", "strikethrough"]).disable(["normalize", "reference", "image"])

    def normalizeLink(self, url: str) -> str:
        """Leave an address as it was written."""
        return url


@lru_cache(maxsize=16)
def _parser(*left_out: str) -> MarkdownIt:
    return _Parser().disable(left_out)


def _parsed(markdown: str, *left_out: str) -> list[Token]:
    """Read a text. Links, marks and columns take more time each the more there are of them: too many are words."""
    if markdown.count("[") > _MOST_LINKS:
        left_out += ("link",)
    if sum(map(markdown.count, "*_~")) > _MOST_MARKS:
        left_out += ("emphasis", "strikethrough")
    if any(line.count("|") > _MOST_COLUMNS for line in markdown.split("\n")):
        left_out += ("table",)
    return _parser(*left_out).parse(markdown)


def block_tokens(markdown: str) -> Sequence[Token]:
    """Read a text's blocks without their words; each token knows its lines."""
    return _parsed(markdown, "inline", "text_join")


def harmless_markdown(markdown: str) -> str:
    """Break invisibly all that would ping somebody, as `harmless` does, and leave code as it is. Idempotent."""
    text = visible(markdown)
    places = active_places(text)
    if not places:
        return text
    used = set(text)
    marks = dict(zip(places, (mark for code in _FREE if (mark := chr(code)) not in used), strict=False))
    marked = broken(text, marks)
    in_code = set("".join(token.content for token in _tokens(marked) if token.type in ("fence", "code_inline")))
    # Words without a mark are too many for the marks there are, and count as no code.
    return broken(text, dict.fromkeys(place for place in places if marks.get(place) not in in_code))


def as_mrkdwn(markdown: str) -> str:
    """Write Markdown in Slack's older notation. A link shows its address, and no mark is left open."""
    text = _STAND_INS.sub("\ufffd", visible(markdown))
    tokens = _parsed(text)
    if any(token.level > _NESTING - 4 for token in tokens):
        return escaped(harmless(text))  # the parser has dropped a part of it
    code: list[str] = []
    shown = "\n".join(_Writer(text.split("\n"), code).blocks(SyntaxTreeNode(tokens).children))
    found = iter(code)
    return _STAND_INS.sub(lambda _: next(found), escaped(harmless(shown)))


class _Writer:
    """Writes blocks as lines. It puts code aside, and a character in its place."""

    def __init__(self, source: Sequence[str], code: list[str]) -> None:
        self._source = source
        self._code = code

    def blocks(self, nodes: Sequence[SyntaxTreeNode]) -> list[str]:
        """Write blocks one after the other, with a blank line where the source has one."""
        lines: list[str] = []
        for node in nodes:
            start = node.map[0] if node.map else 0
            if lines and start and not self._source[start - 1].strip("> \t"):
                lines.append("")
            lines += self._block(node)
        return lines

    def _block(self, node: SyntaxTreeNode) -> list[str]:
        match node.type:
            case "heading":
                lines = [self._heading(node)]
            case "fence":
                end = "" if node.content.endswith("\n") or not node.content else "\n"
                lines = [self._aside(_FENCED_CODE, f"```\n{escaped(node.content)}{end}```")]
            case "code_block":
                lines = ["```", *node.content.removesuffix("\n").split("\n"), "```"]
            case "blockquote":
                lines = [line if line == _FENCED_CODE else f"> {line}" for line in self.blocks(node.children)]
            case "bullet_list":
                lines = [line for item in node.children for line in self._item(item, "•")]
            case "ordered_list":
                lines = [line for item in node.children for line in self._item(item, f"{item.info}.")]
            case "table":
                rows = (row for part in node.children for row in part.children)
                lines = [" | ".join(map(self._words, row.children)) for row in rows]
            case "hr":
                lines = ["---"]
            case _:
                lines = self._words(node).split("\n")
        return lines

    def _item(self, item: SyntaxTreeNode, mark: str) -> list[str]:
        first, *rest = self.blocks(item.children) or [""]
        # An indent that grows with each line's depth could make a long text of a short one.
        rest = [line if line == _FENCED_CODE or _indent(line) >= _DEEPEST else f"  {line}".rstrip() for line in rest]
        return [mark, first, *rest] if first == _FENCED_CODE else [f"{mark} {first}".rstrip(), *rest]

    def _heading(self, node: SyntaxTreeNode) -> str:
        words = " ".join(self._words(node, frozenset("*")).split("\n"))
        return f"*{words}*" if words.strip() and "*" not in words else words

    def _words(self, node: SyntaxTreeNode, within: frozenset[str] = frozenset()) -> str:
        """Write words with their marks, but for those marks that stand around them already."""
        return "".join(self._word(child, within) for child in node.children)

    def _word(self, node: SyntaxTreeNode, within: frozenset[str]) -> str:
        match node.type:
            case "text":
                return node.content
            case "softbreak" | "hardbreak":
                return "\n"
            case "code_inline":
                return self._aside(_INLINE_CODE, f"`{escaped(node.content)}`")
            case "link":
                return self._link(node, within)
        mark = _MARKS.get(node.type, "")
        words = self._words(node, within | {mark})
        # A mark holds on one line, and a second one like it would end it.
        if not mark or mark in within or mark in words:
            return words
        return "\n".join(f"{mark}{line}{mark}" if line.strip() else line for line in words.split("\n"))

    def _link(self, node: SyntaxTreeNode, within: frozenset[str]) -> str:
        words, address = self._words(node, within), str(node.attrs.get("href", ""))
        same = address in (words, f"mailto:{words}") or not address
        return words if same else f"{words} ({address})".strip()

    def _aside(self, stand_in: str, code: str) -> str:
        self._code.append(code)
        return stand_in


def _tokens(markdown: str) -> Iterator[Token]:
    for token in _parsed(markdown):
        yield token
        yield from token.children or ()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
