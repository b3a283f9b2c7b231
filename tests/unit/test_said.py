"""What a message says beside its text: in attachments, in blocks, in a message that it forwards."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.slack.said import LIMIT, attached, text_of, words_of

FORWARDED = {
    "is_msg_unfurl": True,
    "from_url": "https://acme.slack.com/archives/C1/p1",
    "author_id": "U2",
    "author_name": "Ada",
    "fallback": "Ada: it &lt;breaks&gt;",
    "text": "it &lt;breaks&gt;\nsince noon",
}


def section(text: str, kind: str = "mrkdwn", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": {"type": kind, "text": text}} | more


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": list(elements)}


def leaves(*elements: dict[str, Any], kind: str = "rich_text_section", **more: Any) -> dict[str, Any]:
    return {"type": kind, "elements": list(elements)} | more


def text(words: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": words} | ({"style": style} if style else {})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"text": "hello"}, "hello"),
        ({"text": ""}, ""),
        ({}, ""),
        (
            {"attachments": [FORWARDED]},
            "&gt; it &lt;breaks&gt;\n&gt; since noon\n(a forwarded message, written by <@U2>)",
        ),
        (
            {"text": "look", "attachments": [FORWARDED | {"author_id": None}]},
            "look\n\n&gt; it &lt;breaks&gt;\n&gt; since noon\n(a forwarded message, written by Ada)",
        ),
        (
            {"attachments": [{"message_blocks": [{"message": {"blocks": [rich(leaves(text("a < b")))]}}]}]},
            "&gt; a &lt; b\n(a forwarded message, written by somebody)",
        ),
        ({"attachments": [{"fallback": "CPU at 99 %"}]}, "CPU at 99 %"),
        (
            {
                "attachments": [
                    {
                        "pretext": "Alert",
                        "title": "CPU",
                        "text": "at 99 %",
                        "fields": [{"title": "host", "value": "db-1"}, {"value": "since noon"}],
                        "fallback": "not shown twice",
                    }
                ]
            },
            "Alert\nCPU\nat 99 %\nhost: db-1\nsince noon",
        ),
        ({"attachments": [{"blocks": [section("*CPU* at 99 %")]}]}, "*CPU* at 99 %"),
        (
            {"text": "see <https://a.example>", "attachments": [{"from_url": "https://a.example", "text": "A page"}]},
            "see <https://a.example>",
        ),
        ({"blocks": [section("a &amp; b"), section("a & b", "plain_text")]}, "a &amp; b\na &amp; b"),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "Down"}}, {"type": "divider"}]}, "Down"),
        ({"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "one"}]}]}, "one"),
        ({"blocks": [{"type": "context", "elements": [{"type": "mrkdwn", "text": "small"}]}]}, "small"),
        ({"blocks": [{"type": "markdown", "text": "**x** < y"}]}, "**x** &lt; y"),
        ({"blocks": [{"type": "image", "image_url": "https://a.example/x.png", "alt_text": "a chart"}]}, "a chart"),
        (
            {"blocks": [{"type": "plan", "title": "Deploy", "tasks": [{"type": "task_card", "title": "Push"}]}]},
            "Push\nDeploy",
        ),
        (
            {"blocks": [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}, rich(leaves(text("b")))]]}]},
            "a | b",
        ),
        (
            {
                "blocks": [
                    {"type": "actions", "elements": [{"type": "button", "action_id": "x", "text": {"text": "Go"}}]}
                ]
            },
            "",
        ),
        ({"text": "CPU at 99 %", "blocks": [section("*CPU* at 99 %")], "bot_id": "B1"}, "CPU at 99 %"),
        (
            {"text": "Alert", "blocks": [section("Alert"), section("CPU at 99 %")], "bot_id": "B1"},
            "Alert\n\nCPU at 99 %",
        ),
        ({"text": "said", "blocks": [section("said otherwise")]}, "said"),
    ],
)
def test_all_that_a_message_says(message: dict[str, Any], words: str) -> None:
    assert words_of(message) == words


def test_rich_text_is_written_as_slack_writes_a_messages_text() -> None:
    block = rich(
        leaves(
            text("a < b "),
            text("x = 1", code=True),
            text(" "),
            {"type": "user", "user_id": "U2"},
            {"type": "channel", "channel_id": "C1"},
            {"type": "usergroup", "usergroup_id": "S1"},
            {"type": "broadcast", "range": "here"},
            {"type": "link", "url": "https://a.example/?x=1&y=2", "text": "here"},
            {"type": "link", "url": "https://a.example"},
            {"type": "emoji", "name": "eyes"},
        ),
        leaves(leaves(text("one")), leaves(text("two")), kind="rich_text_list", style="ordered", indent=1, offset=2),
        leaves(leaves(text("three")), kind="rich_text_list", style="bullet"),
        leaves(text("f(**opts)\ng()"), kind="rich_text_preformatted"),
        leaves(text("said\nso"), kind="rich_text_quote"),
    )

    assert text_of({"blocks": [block]}) == (
        "a &lt; b `x = 1` <@U2><#C1><!subteam^S1><!here><https://a.example/?x=1&amp;y=2|here><https://a.example>:eyes:\n"
        "  3. one\n  4. two\n• three\n```\nf(**opts)\ng()\n```\n&gt; said\n&gt; so"
    )


def test_what_attachments_say_is_bounded_and_not_cut_within_an_escape() -> None:
    for filling in ("x" * 9, "&amp;", "<@U2>", "&lt;a&gt; "):
        for start in range(7):
            said = attached({"attachments": [{"text": "x" * start + filling * LIMIT}] * 50})
            assert LIMIT - 20 < len(said) <= LIMIT + 10
            assert said.endswith(" […]")
            rest = said.removesuffix(" […]").replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
            assert not set(rest.replace("<@U2>", "")) & set("&<>;")


_odd: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 7, "", "x", "\ud800", "rich_text", "section", "table", "mrkdwn", "image"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "blocks", "elements", "rows", "fields", "title", "message", "style"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["text", "blocks", "attachments", "bot_id"]), _odd), _odd)
def test_reading_never_raises_whatever_slack_sends(message: dict[str, Any], odd: Any) -> None:
    words_of(message).encode()
    words_of(
        {"attachments": [{"message_blocks": [{"message": {"blocks": odd}}], "blocks": odd, "fields": odd}]}
    ).encode()


def test_blocks_in_blocks_have_an_end() -> None:
    deep: Any = {"type": "mrkdwn", "text": "x"}
    for _ in range(5_000):
        deep = {"type": "container", "child_blocks": [deep]}

    assert text_of({"blocks": [deep]}) == ""
