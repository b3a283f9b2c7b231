"""How many blocks Slack makes of a `markdown` block before it counts them.

Slack's page says that one such block "may result in multiple blocks after translation", and people who met the limit
found that each heading, paragraph, list, table and piece of code becomes one of its own. Where Slack is not that strict
this module is: it takes each block of words in a quote for one, and a list for two if something else interrupts it.
"""

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def expanded(markdown: str) -> int:
    """Count the blocks that Slack makes of a text."""
    return _pieces(SyntaxTreeNode(_MARKDOWN.parse(markdown))) or 1


def _pieces(node: SyntaxTreeNode) -> int:
    if node.type in ("root", "blockquote"):
        return sum(map(_pieces, node.children))
    if node.type.endswith("_list"):
        return 1 + sum(_pieces(child) + 1 for child in _interrupting(node))
    return 1


def _interrupting(node: SyntaxTreeNode) -> list[SyntaxTreeNode]:
    """Find what in a list is neither words nor another list."""
    found = []
    for child in node.children:
        if child.type in ("list_item", "bullet_list", "ordered_list"):
            found += _interrupting(child)
        elif child.type != "paragraph":
            found.append(child)
    return found
