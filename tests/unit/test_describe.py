"""Titles and bodies of pull requests: made to be read, and without an effect of their own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.github.describe import one_line, pull_request_body, pull_request_title


def body(*, request: str = "Add a test", answer: str = "Done.", requester: str = "Ada", **more: str | None) -> str:
    return pull_request_body(
        request=request,
        answer=answer,
        requester=requester,
        thread_url=more.get("thread_url", "https://acme.slack.com/archives/C1/p1"),
        run="claude-worker-abc-1",
    )


@pytest.mark.parametrize(
    ("request_text", "title"),
    [
        ("add a script that prints primes", "Add a script that prints primes"),
        ("Add a script. Then run it.", "Add a script"),
        ("Does it work? Look.", "Does it work?"),
        ("\n\n## Use v1.2.3 of the *library*\nand more", "Use v1.2.3 of the *library*"),
        ("@ada asked for `x`", "Ada asked for x"),
        ("mail ada@example.com", "Mail ada@example.com"),
        ("fixes #1", "Fixes issue #1"),
        ("Resolve: acme/web#12", "Resolve: issue acme/web#12"),
        ("close https://github.com/a/b/issues/3", "Close issue https://github.com/a/b/issues/3"),
        ("\x1b[31mred\x1b[0m \x00text\u202e", "Red text"),
        ("> it breaks. Since noon.\n(a forwarded message, written by @Ada)", "It breaks"),
        ("", "Changes by PeerBot"),
        ("\n \n```", "Changes by PeerBot"),
    ],
)
def test_a_title_is_the_first_sentence_of_the_request(request_text: str, title: str) -> None:
    assert pull_request_title(request_text) == title


def test_a_long_title_ends_at_a_word() -> None:
    title = pull_request_title("write " + "many words " * 20)
    assert len(title) <= 72
    assert title.endswith(("many…", "words…"))
    assert len(pull_request_title("x" * 500)) == 72


@given(st.text())
def test_every_request_gives_a_title(text: str) -> None:
    title = pull_request_title(text)
    assert 0 < len(title) <= 72
    assert title.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", title)
    assert not re.search(r"(?<![A-Za-z0-9])@[A-Za-z0-9]", title)


def test_a_body_tells_who_asked_what_where_and_what_was_done() -> None:
    text = body(request="Add a test\n\nfor primes", answer="I added `test_primes.py`.")
    assert text == (
        "**Ada** asked in [this thread](https://acme.slack.com/archives/C1/p1):\n\n"
        "> Add a test\n>\n> for primes\n\n"
        "I added `test_primes.py`.\n\n"
        "---\n*Made by PeerBot, run `claude-worker-abc-1`.*\n"
    )


@pytest.mark.parametrize("address", [None, "", "javascript:alert(1)", "https://a b", "https://x) @ada"])
def test_what_is_no_web_address_is_not_linked(address: str | None) -> None:
    assert body(thread_url=address).startswith("**Ada** asked:\n")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("thanks @ada!", "thanks @\u200bada!"),
        ("cc @acme/core-team", "cc @\u200bacme/core-team"),
        ("(@ada)", "(@\u200bada)"),
        ("mail ada@example.com", "mail ada@example.com"),
        ("_@ada_ and @@ada", "_@\u200bada_ and @\u200bada"),
        ("&commat;ada &#64;ada a & b", "&amp;commat;ada &amp;#64;ada a & b"),
        ("see #12", "see #12"),
        ("this fixes #12", "this fixes issue #12"),
        ("Fixed: GH-4", "Fixed: issue GH-4"),
        ("closes **#1**", "closes issue **#1**"),
        ("fix the #hash", "fix the #hash"),
        ("<img src=x> a < b </p> <!-- c -->", "&lt;img src=x> a < b &lt;/p> &lt;!-- c -->"),
        ("<https://example.com/x>", "<https://example.com/x>"),
        ("`npm i @scope/x` <b>", "`npm i @scope/x` &lt;b>"),
        ("`` a @b `` @c", "`` a @b `` @\u200bc"),
        ('<a title="`">@ada<a title="`">', '&lt;a title="`">@ada<a title="`">'),
        ("```py\n@cached\n<b>\n```\n@ada", "```py\n@cached\n<b>\n```\n@\u200bada"),
        ("~~~\n```\n@x\n~~~", "~~~\n```\n@x\n~~~"),
        ("```\n@never closed", "```\n@never closed\n```"),
    ],
)
def test_what_people_and_models_wrote_has_no_effect_but_code_stays_code(written: str, shown: str) -> None:
    assert f"\n\n{shown}\n\n---\n" in body(answer=written)
    quoted = "\n".join(f"> {line}" for line in shown.splitlines())
    assert f"\n\n{quoted}\n\n" in body(request=written)


@pytest.mark.parametrize(
    "written",
    [
        "\\`@ada\\`",  # escaped: no code
        "`a\n@ada`\n",  # over a line's end
        "| ` | @ada | ` |",  # over a table's cells
        "> ```\n> x\n@ada\n> ```",  # a fence ends with its quote
        "```not`a`fence\n@ada",
    ],
)
def test_what_only_looks_like_code_mentions_nobody_either(written: str) -> None:
    text = body(answer=written)
    assert all("@\u200bada" in line for line in text.splitlines() if "ada" in line)


def test_a_name_is_shown_as_it_is() -> None:
    assert "**\\*Ada\\* \\[x\\]\\(y\\) @\u200bbob**" in body(requester="*Ada*\n[x](y) @bob")


@pytest.mark.parametrize("unit", ["word ", "@ada ", "<b>", "line\n"])
def test_a_body_is_bounded_and_says_that_it_was_cut(unit: str) -> None:
    text = body(request="r" * 100_000, answer="```\n" + unit * 40_000)
    assert len(text) <= 60_000
    assert "shortened" in text
    assert text.endswith("run `claude-worker-abc-1`.*\n")
    assert text.count("\n```\n") == 2


@given(st.text(), st.text(), st.text())
def test_every_text_gives_a_body(request: str, answer: str, requester: str) -> None:
    text = body(request=request, answer=answer, requester=requester)
    assert len(text) <= 60_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_one_line_keeps_what_fits() -> None:
    assert one_line(" a\n b\tc ", 5) == "a b c"
    assert one_line("alpha beta gamma", 12) == "alpha beta…"
