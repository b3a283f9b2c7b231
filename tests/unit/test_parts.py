"""A long text in parts: nothing is left out, nothing is torn that can stay whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerbot.slack.parts import Weigh, blocks_in, split_markdown

TABLE = "| name | lines |\n|---|---|\n" + "\n".join(f"| file {i} | {i} |" for i in range(10))


def test_what_fits_is_one_part_as_it_was() -> None:
    text = "One.\nTwo.\n\n\n```\ncode\n\n```\nThree."

    assert split_markdown(text, 400) == [text]


def test_parts_end_where_paragraphs_end() -> None:
    assert split_markdown("a" * 150 + "\n\n" + "b" * 150 + "\n\n" + "c" * 90, 300) == [
        "a" * 150,
        "b" * 150 + "\n\n" + "c" * 90,
    ]


def test_a_table_is_not_cut() -> None:
    parts = split_markdown("word " * 20 + "\n\n" + TABLE + "\n\nAfter it.", 250)

    assert len(parts) == 2
    assert TABLE in parts[1]


def test_a_table_longer_than_a_part_says_its_head_again() -> None:
    parts = split_markdown(TABLE, 100)

    assert len(parts) > 2
    for part in parts:
        assert part.startswith("| name | lines |\n|---|---|\n| file ")
    assert re.findall(r"file \d+", "\n".join(parts)) == [f"file {i}" for i in range(10)]


def test_code_that_is_not_closed_is_closed() -> None:
    [part] = split_markdown("~~~~ python\nx = 1\n```\ny", 400, most=1)[:1]

    assert part == "~~~~ python\nx = 1\n```\ny\n~~~~"


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    parts = split_markdown(" ".join(f"This is sentence {i}." for i in range(40)), 200)

    assert all(part.strip().endswith(".") for part in parts)


def test_after_the_most_parts_the_rest_is_one() -> None:
    parts = split_markdown("\n\n".join(str(i) * 60 for i in range(9)), 100, most=2)

    assert [len(part) for part in parts] == [60, 60, 7 * 60 + 6 * 2]


@pytest.mark.parametrize(
    ("markdown", "blocks"),
    [
        ("", 0),
        ("one\ntwo", 1),
        ("# one\n\ntwo\n\n---\n\n```\nthree\n```\n\n| a |\n|---|\n| b |", 5),
        ("- a\n- b\n\n- c\n  1. d\n\n     e", 1),
        ("- a\n  ```\n  b\n  ```\n- c", 3),
        ("> a\n>\n> b", 3),
    ],
)
def test_what_slack_makes_of_a_text_is_counted(markdown: str, blocks: int) -> None:
    assert blocks_in(markdown) == blocks


def test_a_part_has_no_more_blocks_than_slack_takes() -> None:
    text = "\n\n".join(f"## Heading {i}\n\n- one\n- two\n\nText." for i in range(50))
    parts = split_markdown(text, 10_000, blocks=40)

    assert [blocks_in(part) for part in parts] == [40, 40, 40, 30]
    assert "\n\n".join(parts) == text


def test_a_list_that_goes_on_in_the_next_part_counts_there_again() -> None:
    parts = split_markdown("\n\n".join(f"- {'word ' * 20}" for _ in range(20)), 500, blocks=1)

    assert [blocks_in(part) for part in parts] == [1] * len(parts)
    assert len(parts) > 3


@pytest.mark.parametrize("end", ["", "\n```\n" + "code\n" * 90_000 + "```\n\nEnd.", "\n" + "x" * 300_000])
def test_of_a_very_long_text_the_rest_is_as_it_was(end: str) -> None:
    text = "\n\n".join(f"Paragraph {i}. {'word ' * 20}".strip() for i in range(2_000)) + end
    parts = split_markdown(text, 1_000, most=2)

    assert len(parts) == 3
    assert "\n\n".join(parts) == text


_lines = st.sampled_from(
    [
        "",
        " ",
        "word " * 30,
        "x" * 700,
        "```",
        "```python",
        "~~~",
        "|a|b|",
        "|-|-|",
        "| 1 | 2 |",
        "- point",
        "- ```",
        "> ```",
        "  ```",
        "> quoted",
        "      deep",
        "- - - - x",
        "> " * 70 + "deep",
        "\u2028",
        "&" * 99,
    ]
) | st.text(max_size=20)


@pytest.mark.parametrize("weigh", [len, lambda text: 3 * len(text)])
@settings(max_examples=150, deadline=None)
@given(lines=st.lists(_lines, max_size=60))
def test_every_part_fits_and_all_words_are_there_in_order(weigh: Weigh, lines: list[str]) -> None:
    text = "\n".join(lines)
    parts = split_markdown(text, 900, weigh=weigh)

    assert all(weigh(part) <= 900 for part in parts)
    assert all(part.strip() for part in parts) or len(parts) == 1
    everything = iter("".join("".join(parts).split()))
    assert all(letter in everything for letter in "".join(text.split()))
