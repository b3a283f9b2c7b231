"""The model's Markdown in Slack: code stays as it is in each rendering, and words that are no code ping nobody."""

import re
import time
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.local.slack.expand import expanded
from peerbot.slack.markdown import as_mrkdwn, harmless_markdown
from peerbot.slack.parts import blocks_in, split_markdown
from peerbot.slack.render import answer, plain, words
from peerbot.slack.text import visible


@pytest.mark.parametrize(
    ("markdown", "mrkdwn"),
    [
        ("use `**opts` and **kwargs**", "use `**opts` and *kwargs*"),
        ("``a `b` **c**``", "`a `b` **c**`"),
        ("~~~python\nf(**opts)\n~~~", "```\nf(**opts)\n```"),
        ("````\n```\n**x**\n```\n````", "```\n```\n**x**\n```\n```"),
        ("```\nnever **closed**", "```\nnever **closed**\n```"),
        ("# **Summary** of *today*", "*Summary of _today_*"),
        ("## Moving to C#", "*Moving to C#*"),
        ("## Moving to C ##", "*Moving to C*"),
        ("# Use `a*b`", "*Use `a*b`*"),
        ("# 2 * 3", "2 * 3"),
        ("**Done** in\n===", "*Done in*"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("***both*** __bold__ _it_ ~~old~~", "_*both*_ *bold* _it_ ~old~"),
        ("**a\\*b** *c_d*", "a*b c_d"),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
        ("[the page](https://a.example)", "the page (https://a.example)"),
        ("[https://good.example](https://evil.example)", "https://good.example (https://evil.example)"),
        ("<https://a.example> <me@a.example>", "https://a.example me@a.example"),
        ("[app.py](app.py) ![a chart](chart.png)", "app.py !a chart (chart.png)"),
        ("[x](javascript:alert)", "[x](javascript:alert)"),
        ("[x]: https://a.example", "[x]: https://a.example"),
        ("- one\n- **two**\n  1. three\n  2. four", "• one\n• *two*\n  1. three\n  2. four"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("- [ ] to do", "• [ ] to do"),
        ("- a\n  ```py\n  x = **y**\n  ```\n- b", "• a\n```\nx = **y**\n```\n• b"),
        ("> said *so*\n> ```\n> x\n> ```", "&gt; said _so_\n```\nx\n```"),
        ("| a | b |\n|---|---|\n| `x*y` | **2** |", "a | b\n`x*y` | *2*"),
        ("a < b && c > d <b>html</b>", "a &lt; b &amp;&amp; c &gt; d &lt;b&gt;html&lt;/b&gt;"),
        ("one\n\ntwo\nthree", "one\n\ntwo\nthree"),
        ("a\n\n---\n\nb", "a\n\n---\n\nb"),
        ("", ""),
    ],
)
def test_markdown_in_slacks_older_notation(markdown: str, mrkdwn: str) -> None:
    assert as_mrkdwn(markdown) == mrkdwn


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("`<!here>` <!here>", "`<!here>` <¦!here>"),
        ("```\n@channel <@U1>\n```\n@channel", "```\n@channel <@U1>\n```\n@¦channel"),
        ("- x\n  ~~~\n  List<@NonNull>\n  ~~~", "- x\n  ~~~\n  List<@NonNull>\n  ~~~"),
        ("<https://evil.example|https://good.example>", "<¦https://evil.example|https://good.example>"),
        ("`<https://a|b>` &lt;https://a|b&gt;", "`<https://a|b>` &lt;¦https://a|b&gt;"),
        ("<mailto:a@b.example|c>", "<¦mailto:a@b.example|c>"),
        ("@chan&#110;el", "@¦chan&#110;el"),
        ("\\`<!here>\\`", "\\`<¦!here>\\`"),  # escaped: no code
        ("`a\n\n<!here>`", "`a\n\n<¦!here>`"),  # over a paragraph's end
        ("| ` | <!here> | ` |\n|---|---|---|", "| ` | <¦!here> | ` |\n|---|---|---|"),  # over a table's cells
        ("    <!here>", "    <¦!here>"),  # Slack documents no code without marks
        ("``` <!here>\nx\n```", "``` <¦!here>\nx\n```"),
    ],
)
def test_only_what_is_no_code_is_broken(markdown: str, shown: str) -> None:
    assert harmless_markdown(markdown).replace("\u200b", "¦") == shown


def test_no_link_of_the_models_hides_its_address_in_any_rendering() -> None:
    turn = Turn(k=1, run=1, inputs=[], status=TurnStatus.DONE, text="See <https://evil.example|https://good.example>.")
    [message] = answer(turn, repository_url="", branch_url="", seconds=None).messages

    for shown in (message.text, str(message.blocks), str(plain(message).blocks), words(message)):
        assert "evil.example" in shown
        assert "<https://evil" not in shown


# Properties

_CODE = ("**opts", "a_b*c", "<!here>", "@channel", "<@U1>", "List<@NonNull>", "&lt;!here&gt;", "x", "<https://a|b>")
_PINGS = ("<!here>", "@channel", "<@U1|x>", "&lt;!here&gt;", "&#64;here", "@chan&#110;el", "<https://a|b>", "@everyone")
_WORDS = ("word", "**bold**", "*it*", "[t](https://a)", "a < b", "`", "``", "\\", "snake_case", "~~no~~", "|", "C#")
_code = st.sampled_from(_CODE)
_inline = st.lists(
    st.sampled_from(_PINGS) | st.sampled_from(_WORDS) | _code.map(lambda text: f"`{text}`"), min_size=1, max_size=6
).map(" ".join)
_fence = st.tuples(
    st.sampled_from(["```", "~~~", "````py"]), st.lists(_code | st.just(""), min_size=1, max_size=4)
).map(lambda given: "\n".join([given[0], *given[1], given[0].removesuffix("py")]))
_block = _inline | _inline.map(lambda text: f"# {text}") | _fence | st.just("---") | st.just("| a | `b` |\n|---|---|")


def _inside(before: str, after: str) -> st.SearchStrategy[str]:
    """Blocks in a container: the first line has a mark, the others its indent, or the mark again."""
    return st.lists(_block, min_size=1, max_size=3).map(
        lambda blocks: "\n".join(
            f"{before if i == 0 else after}{line}" for i, line in enumerate("\n\n".join(blocks).split("\n"))
        )
    )


_markdown = st.lists(
    _block | _inside("- ", "  ") | _inside("> ", "> ") | _inside("- > ", "  > ") | _inside("10. ", "    "), max_size=6
).map("\n\n".join)

_parser = MarkdownIt("commonmark", {"html": False}).enable("table")
_ACTIVE = re.compile(r"<(?:@|#[A-Z0-9]|!|[a-z]+:[^>\s]*\|)|@(?:channel|here|everyone)\b", re.I)


def code_in(markdown: str) -> list[str]:
    tokens = [inner for token in _parser.parse(markdown) for inner in (token, *(token.children or ()))]
    return [token.content for token in tokens if token.type in ("fence", "code_inline")]


def words_in(markdown: str) -> str:
    tokens = [inner for token in _parser.parse(markdown) for inner in token.children or ()]
    return "".join(token.content for token in tokens if token.type == "text")


def without(text: str, code: list[str]) -> str:
    """Take each piece of code out of the text, in order; it must be there, byte for byte."""
    rest, place = [], 0
    for piece in code:
        start = text.find(piece, place)
        assert start >= 0, f"{piece!r} is not in {text[place:]!r}"
        rest.append(text[place:start])
        place = start + len(piece)
    return " ".join([*rest, text[place:]])


@settings(max_examples=300, deadline=None)
@given(_markdown)
def test_code_is_byte_equal_in_each_rendering_and_words_ping_nobody(markdown: str) -> None:
    code = code_in(markdown)
    safe = harmless_markdown(markdown)

    assert code_in(safe) == code
    assert not _ACTIVE.search(words_in(safe))
    assert harmless_markdown(safe) == safe
    old = as_mrkdwn(markdown)
    assert "<" not in old
    assert not _ACTIVE.search(without(unescape(old), code))


@settings(max_examples=60, deadline=None)
@given(st.lists(_markdown, min_size=1, max_size=40).map("\n\n".join), st.booleans())
def test_the_code_of_an_answer_is_byte_equal_as_it_is_posted(markdown: str, with_file: bool) -> None:
    turn = Turn(k=1, run=1, inputs=[], status=TurnStatus.DONE, text=markdown)
    whole = answer(turn, repository_url="", branch_url="", seconds=None, with_file=with_file)
    code = code_in(markdown.strip())

    shown = [
        str(block["text"]) for message in whole.messages for block in message.blocks if block["type"] == "markdown"
    ]
    if len(shown) == len(whole.messages):
        assert "".join(piece for text in [*shown, whole.file] for piece in code_in(text)) == "".join(code)
        assert not any(_ACTIVE.search(words_in(text)) for text in shown)
    if not whole.file:
        said = "\n".join(unescape(words(message)) for message in whole.messages)
        assert not _ACTIVE.search(without(said, code))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | _markdown)
def test_the_older_notation_loses_no_letter(text: str) -> None:
    everything = iter(unescape(as_mrkdwn(text)))

    shown = "".join(words_in(visible(text)).split()).replace("\ufffd", "")
    assert all(letter in everything for letter in shown if letter.isalnum())


@settings(max_examples=200, deadline=None)
@given(_markdown)
def test_no_fewer_blocks_are_counted_than_the_local_slack_makes(markdown: str) -> None:
    assert blocks_in(markdown) >= expanded(markdown) or not markdown


# Fences that are split


@pytest.mark.parametrize(
    ("before", "after", "reopened"),
    [
        ("", "", "```python"),
        ("> ", "> ", "> ```python"),
        ("- ", "  ", "  ```python"),
        ("1. one\n   ", "   ", "   ```python"),
        ("> - ", ">   ", ">   ```python"),
        ("- > ", "  > ", "  > ```python"),
        ("- one\n  - two\n    - ", "      ", "   ```python"),  # six spaces would make it indented code
    ],
)
def test_a_fence_goes_on_with_the_indent_and_the_marks_of_its_quote(before: str, after: str, reopened: str) -> None:
    code = [f"x{i} = (1 +\n    {i})" for i in range(60)]
    lines = "\n".join(["```python", *code, "```"]).split("\n")
    markdown = before + f"\n{after}".join(lines)
    parts = split_markdown(markdown, 400)

    assert len(parts) > 2
    assert {part.split("\n")[0] for part in parts[1:]} == {reopened}
    assert "".join(piece for part in parts for piece in code_in(part)) == "\n".join(code) + "\n"


def test_a_quote_that_is_cut_in_a_line_goes_on_as_a_quote() -> None:
    parts = split_markdown("> " + "word " * 200, 300)

    assert len(parts) > 2
    assert all(part.startswith("> word") for part in parts)


def test_what_is_deep_in_a_list_is_no_code_at_the_beginning_of_a_part() -> None:
    markdown = "- a\n  - b\n    - " + "c " * 100 + "\n\n      " + "d " * 100 + "\n    - e"
    parts = split_markdown(markdown, 250)

    assert len(parts) > 1
    assert not [token for part in parts for token in _parser.parse(part) if token.type == "code_block"]


# Hostile texts

_N = 40_000
HOSTILE = {
    "quotes": ">" * _N,
    "lists": "- " * (_N // 2),
    "numbers": "1. " * (_N // 3),
    "stars": "*a " * (_N // 3),
    "marks": "*_`[<&" * (_N // 6),
    "open links": "[" * _N,
    "links in links": "[a](" * (_N // 4),
    "images": "![" * (_N // 2),
    "backticks": "`" * _N,
    "runs of backticks": "".join("`" * i + " " for i in range(1, 280)),
    "fences": "```\n" * (_N // 4),
    "brackets": "<" * _N,
    "links that hide": "<a:" * (_N // 3),
    "encoded links": "&lt;a:" * (_N // 6),
    "ampersands": "&" * _N,
    "columns": "|a" * 6_000 + "\n" + "|-" * 6_000 + "\n" + "|" * 16_000,
    "rows": "|a\n|-\n" + "|a\n" * (_N // 3),
    "paragraphs": "x\n\n" * (_N // 3),
    "lazy lines": "- " * 15 + "x\n" + "y\n" * (_N // 2),
    "deep lists": "\n".join(" " * (2 * i) + "- x" for i in range(190)),
    "pings": "<!here> " * (_N // 8),
    "broadcasts": "@channel" * (_N // 8),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_40_000_hostile_characters_are_read_in_a_bounded_time(text: str) -> None:
    """What grows with the square of the text would take minutes; links that are not closed would take seconds."""
    turn = Turn(k=1, run=1, inputs=[], status=TurnStatus.DONE, text=text)
    began = time.process_time()

    whole = answer(turn, repository_url="", branch_url="", seconds=None, with_file=False)
    for message in whole.messages:
        words(message)

    assert time.process_time() - began < (1 if text == HOSTILE["open links"] else 12)
    assert len(whole.messages) <= 21


def test_quotes_that_are_too_deep_for_the_parser_are_shown_as_they_are() -> None:
    assert as_mrkdwn("> " * 100 + "**x**") == "&gt; " * 100 + "**x**"
