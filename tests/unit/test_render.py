"""What people see of a turn: it says what happened, keeps Slack's limits for any input, and pings nobody."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from peerbot.conversation.documents import FileChange, PullRequest, Turn, TurnStatus
from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.local.slack.expand import expanded
from peerbot.slack.blocks import Rendered
from peerbot.slack.card import State, card_message
from peerbot.slack.render import Answer, answer, notice, plain, words

REPOSITORY = "https://github.example/acme/web"
BRANCH = f"{REPOSITORY}/tree/peerbot/2026-11-23-abc"
EVIL = "<!channel> @here <@U1> & `x` | *b*\n\x00</x>"


def assert_slack_takes(rendered: Rendered) -> None:
    """Every block is valid for Slack's own SDK, and all limits hold, also in the plain version."""
    for version in (rendered, plain(rendered)):
        assert 0 < len(version.text) <= 3_900
        assert 0 < len(version.blocks) <= 50
        for block in version.blocks:
            parsed = Block.parse(block)
            assert parsed is not None
            parsed.validate_json()
            for inner in block.get("tasks", []):
                Block.parse(inner).validate_json()  # type: ignore[union-attr]
                assert 0 < len(inner["title"]) <= 150
            for text in texts(block):
                assert text
        assert len(json.dumps(version.blocks, ensure_ascii=False)) < 13_000
        assert sum(len(block["text"]) for block in version.blocks if block["type"] == "markdown") <= 12_000
        identities = [task["task_id"] for block in version.blocks for task in block.get("tasks", [])]
        assert len(set(identities)) == len(identities)
        everything = [version.text, *texts(version.blocks)]
        assert not any(re.search(r"<[@!#]|@(channel|here|everyone)\b", text) for text in everything)
    assert not {block["type"] for block in plain(rendered).blocks} & {"plan", "markdown"}


def texts(value: Any) -> list[str]:
    """Every text in the blocks, wherever it stands."""
    if isinstance(value, dict):
        own = [text for key, text in value.items() if key in ("text", "title") and isinstance(text, str)]
        return own + [text for inner in value.values() for text in texts(inner)]
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else []


def said(rendered: Rendered) -> str:
    return "\n".join(texts(rendered.blocks))


def shown_card(progress: Progress | None = None, state: State = "working", **more: Any) -> Rendered:
    given: dict[str, Any] = {
        "run_name": "claude-worker-abc-1",
        "repository_url": REPOSITORY,
        "repository": "acme/web",
        "branch_url": BRANCH,
        "branch": "peerbot/2026-11-23-abc",
        "limit_minutes": 5.0,
        "requester": "Ada Lovelace",
    }
    return card_message(progress, state=state, **(given | more))


def progress(*titles: str, current: int = -1, **more: Any) -> Progress:
    """Steps, those before `current` complete, those after it to come; without `current` all are complete."""
    current = len(titles) if current < 0 else current
    statuses = [
        StepStatus.COMPLETE if i < current else StepStatus.IN_PROGRESS if i == current else StepStatus.PENDING
        for i in range(len(titles))
    ]
    steps = [Step(id="same", title=title, status=status) for title, status in zip(titles, statuses, strict=True)]
    return Progress(**({"seq": 1, "title": "Run the tests", "steps": steps, "seconds": 134.0} | more))


def turn(**more: Any) -> Turn:
    given: dict[str, Any] = {
        "k": 3,
        "run": 2,
        "answers": ["1.000001-message"],
        "status": TurnStatus.DONE,
        "text": "The test passes now.",
        "repository": "acme/web",
        "branch": "peerbot/2026-11-23-abc",
        "seconds": 252.0,
        "cost_usd": 0.3149,
        "model": "claude",
    }
    return Turn(**(given | more))


def whole_answer(*, missed: str = "", with_file: bool = True, **more: Any) -> Answer:
    return answer(
        turn(**more), repository_url=REPOSITORY, branch_url=BRANCH, seconds=None, missed=missed, with_file=with_file
    )


def shown_answer(**more: Any) -> Rendered:
    """An answer that is one message."""
    whole = whole_answer(**more)
    [message] = whole.messages
    assert not whole.file
    return message


def spoken(message: Rendered) -> str:
    """An answer's own words in a message."""
    return str(message.blocks[0]["text"])


def plan_of(rendered: Rendered) -> Any:
    return rendered.blocks[0]


# The card


@pytest.mark.parametrize(
    ("state", "place", "title"),
    [
        ("queued", 2, "Queued · 2nd in line"),
        ("queued", 11, "Queued · 11th in line"),
        ("queued", 21, "Queued · 21st in line"),
        ("queued", None, "Queued"),
        ("starting", None, "Starting workspace"),
        ("paused", None, "Interrupted"),
        ("working", None, "Working"),
        ("done", None, "Done"),
        ("failed", None, "Ended without an answer"),
    ],
)
def test_the_first_card_says_who_works_where_before_there_is_progress(
    state: State, place: int | None, title: str
) -> None:
    rendered = shown_card(None, state, place=place)

    assert_slack_takes(rendered)
    assert plan_of(rendered)["title"] == title
    assert len(plan_of(rendered)["tasks"]) == 1
    for text in (rendered.text, said(rendered)):
        assert "claude-worker-abc-1" in text
        assert f"<{REPOSITORY}|acme/web>" in text
        assert f"<{BRANCH}|peerbot/2026-11-23-abc>" in text
        assert "limit 5 min" in text
        assert "requested by Ada Lovelace" in text


def test_a_working_card_shows_what_goes_on_now() -> None:
    rendered = shown_card(progress("Read the code", "Run the tests", "Push", current=1, narration="Two *tests* fail."))

    assert_slack_takes(rendered)
    assert plan_of(rendered)["title"] == "Run the tests"
    assert [(task["title"], task["status"]) for task in plan_of(rendered)["tasks"]] == [
        ("Read the code", "complete"),
        ("Run the tests", "in_progress"),
        ("Push", "pending"),
    ]
    assert {"type": "markdown", "text": "Two *tests* fail."} in rendered.blocks
    assert "2m 14s · 3 steps" in said(rendered)
    assert "▸ Run the tests" in said(plain(rendered))


def test_a_narration_of_many_paragraphs_has_no_more_blocks_than_slack_takes() -> None:
    rendered = shown_card(progress("Read the code", current=0, narration="x\n\n" * 150))

    assert rendered.blocks[1] == {"type": "markdown", "text": "x\n\n" * 19 + "…"}


def test_a_step_shows_its_result() -> None:
    done = Step(id="1", title="Run the tests", status=StepStatus.COMPLETE, output="212 passed\n")
    rendered = shown_card(Progress(seq=1, title="x", steps=[done], seconds=1))

    assert_slack_takes(rendered)
    assert "212 passed" in said(rendered)


def test_a_finished_card_leaves_no_step_spinning_and_drops_the_narration() -> None:
    steps = progress("Read", "Test", "Push", current=1, narration="Now I test.")

    done, failed = shown_card(steps, "done"), shown_card(steps, "failed")

    assert plan_of(done)["title"] == "Worked for 2m 14s"
    assert [task["status"] for task in plan_of(done)["tasks"]] == ["complete", "complete", "pending"]
    assert plan_of(failed)["title"] == "Ended without an answer after 2m 14s"
    assert [task["status"] for task in plan_of(failed)["tasks"]] == ["complete", "error", "pending"]
    assert "Now I test." not in said(done) + said(failed)


@pytest.mark.parametrize(
    ("current", "first", "last", "earlier", "later"),
    [
        (499, "step 494", "step 499", "494 earlier steps", None),
        (0, "step 0", "step 5", None, "494 more steps"),
        (100, "step 98", "step 103", "98 earlier steps", "396 more steps"),
    ],
)
def test_of_500_steps_those_around_the_current_one_are_shown(
    current: int, first: str, last: str, earlier: str | None, later: str | None
) -> None:
    rendered = shown_card(progress(*(f"step {i}" for i in range(500)), current=current))

    assert_slack_takes(rendered)
    titles = [task["title"] for task in plan_of(rendered)["tasks"]]
    assert len(titles) <= 8
    assert f"step {current}" in titles
    assert [t for t in titles if t.startswith("step")][:: len(titles) - bool(earlier) - bool(later) - 1] == [
        first,
        last,
    ]
    assert (titles[0] if earlier else None) == earlier
    assert (titles[-1] if later else None) == later


def test_nine_steps_collapse_into_more_than_one_step() -> None:
    titles = [task["title"] for task in plan_of(shown_card(progress(*(f"step {i}" for i in range(9)))))["tasks"]]

    assert titles[0] == "3 earlier steps"
    assert len(titles) == 7


def test_a_card_at_work_says_how_long_ago_it_last_moved() -> None:
    """Slack shows `{ago}` to each reader, so the card stays true without an edit."""
    steps = progress("Read", "Test")
    moved = "last moved <!date^1796045671^{ago}|at 13:34 UTC>"

    assert moved in said(shown_card(steps, moved_at=1796045671.9))
    assert "last moved" not in said(shown_card(steps, "done", moved_at=1796045671.9))


_hostile = st.sampled_from([EVIL, "x" * 40_000, "&" * 40_000, "📦" * 20_000, "", "  \n ", "```\n" * 500, "\ud800"])
_words = _hostile | st.text(max_size=30)


@settings(max_examples=40, deadline=None)
@given(
    titles=st.lists(_words, max_size=20),
    title=_words,
    narration=_words,
    output=_words,
    state=st.sampled_from(["queued", "starting", "paused", "working", "done", "failed"]),
    names=st.fixed_dictionaries(dict.fromkeys(("run_name", "repository", "branch", "requester"), _words)),
    url=st.sampled_from([BRANCH, "javascript:alert(1)", f"https://x/{EVIL}", "https://x/" + "y" * 5_000]),
)
def test_every_card_keeps_slacks_limits(
    titles: list[str], title: str, narration: str, output: str, state: State, names: dict[str, str], url: str
) -> None:
    steps = [Step(id=t[:9], title=t, status=StepStatus.IN_PROGRESS, output=output) for t in titles]
    hostile = Progress(seq=1, title=title, steps=steps, narration=narration, seconds=1e7)

    assert_slack_takes(shown_card(hostile, state, repository_url=url, branch_url=url, **names))


# The answer


def test_an_answer_says_what_changed_where_and_at_what_cost() -> None:
    rendered = shown_answer(
        commit="4f2c1d9",
        pull_request=PullRequest(number=7, url=f"{REPOSITORY}/pull/7"),
        files=[
            FileChange(path="README.md", added=1, removed=0),
            FileChange(path="src/app.py", added=120, removed=34),
            FileChange(path="logo.png", added=None, removed=None),
        ],
    )

    assert_slack_takes(rendered)
    assert rendered.blocks[0] == {"type": "markdown", "text": "The test passes now."}
    for text in (rendered.text, said(rendered)):
        assert "*3 files changed* · +121 −34\n`src/app.py` +120 −34\n`README.md` +1 −0\n`logo.png` binary" in text
        assert f"*<{REPOSITORY}/pull/7|Pull request #7>* · <{BRANCH}|peerbot/2026-11-23-abc>" in text
        assert "4m 12s · $0.31 · turn 3" in text


def test_an_answer_without_changes_says_so_and_links_no_branch() -> None:
    rendered = shown_answer(model="demo", cost_usd=0.0)

    assert_slack_takes(rendered)
    assert "no files changed" in said(rendered)
    assert BRANCH not in said(rendered)
    assert "less than $0.01 · demo model" in said(rendered)


def test_people_are_told_how_long_they_waited_where_that_is_known() -> None:
    [rendered] = answer(turn(), repository_url=REPOSITORY, branch_url=BRANCH, seconds=4_000.0).messages

    assert "1h 06m" in said(rendered)


def test_a_failed_turn_shows_its_reason_and_where_the_work_is() -> None:
    rendered = shown_answer(status=TurnStatus.FAILED, text="The time limit of 5 minutes was reached.", commit="4f2c1d9")

    assert_slack_takes(rendered)
    assert "⚠️ The time limit of 5 minutes was reached." in said(rendered)
    assert "⚠️ The time limit of 5 minutes was reached." in rendered.text
    assert f"<{BRANCH}|" in said(rendered)
    assert "no files changed" not in said(rendered)


def test_a_refusal_is_its_sentence_alone() -> None:
    refused = turn(
        status=TurnStatus.REFUSED,
        run=None,
        text="Guests can't use this bot.",
        repository=None,
        seconds=None,
        cost_usd=None,
    )
    [rendered] = answer(refused, repository_url="", branch_url="", seconds=None).messages

    assert rendered.blocks == [{"type": "markdown", "text": "Guests can't use this bot."}]
    assert rendered.text == "Guests can't use this bot."


def test_of_many_files_the_eight_largest_are_listed() -> None:
    rendered = shown_answer(files=[FileChange(path=f"f{i}", added=i, removed=0) for i in range(30)], commit="1")

    assert "*30 files changed* · +435 −0\n`f29` +29 −0\n" in said(rendered)
    assert "`f22` +22 −0\nand 22 more" in said(rendered)


def test_an_answer_of_many_blocks_is_several_messages() -> None:
    text = "\n\n".join(f"- {i}\n\nText {i}." for i in range(50))
    whole = whole_answer(text=text)

    assert len(whole.messages) == 3
    for message in whole.messages:
        assert_slack_takes(message)
        assert expanded(spoken(message)) + len(message.blocks) - 1 <= 50
    assert "\n\n".join(map(spoken, whole.messages)) == text


def test_without_a_file_short_lines_without_end_become_no_messages_without_end() -> None:
    whole = whole_answer(text="z\n\n" * 5_000, with_file=False)

    assert len(whole.messages) < 8
    assert [message.blocks[0]["type"] for message in whole.messages[:4]] == ["markdown"] * 3 + ["section"]
    assert sum(said(message).count("z") for message in whole.messages) == 5_000


def test_no_fence_is_left_open_in_the_text_beside_the_blocks() -> None:
    rendered = shown_answer(text="```\n" + "x = 1\n" * 1_000 + "```", commit="1")

    assert rendered.text.count("```") == 2
    assert rendered.text.index(BRANCH) > rendered.text.rindex("```")


def test_an_answer_of_megabytes_is_split_without_reading_all_of_it() -> None:
    text = "\n\n".join(f"Paragraph {i}. {'word ' * 20}".strip() for i in range(30_000))
    began = time.process_time()
    whole = whole_answer(text=text)

    assert time.process_time() - began < 0.5, "all of it takes twice as long, and more"
    assert "\n\n".join([*map(spoken, whole.messages), whole.file]) == text


def test_a_long_answer_is_several_messages_and_the_last_says_what_changed() -> None:
    paragraphs = [f"Paragraph {i}. {'word ' * 60}".strip() for i in range(70)]
    whole = whole_answer(text="\n\n".join(paragraphs), commit="4f2c1d9")

    assert len(whole.messages) == 3
    assert not whole.file
    for i, message in enumerate(whole.messages, start=1):
        assert_slack_takes(message)
        assert len(spoken(message)) <= 11_500
        assert message.text.startswith(f"Part {i} of 3\nParagraph")
        assert (f"part {i} · goes on in the next message" in said(message)) == (i < 3)
        assert (f"<{BRANCH}|" in said(message)) == (i == 3)
    assert "\n\n".join(map(spoken, whole.messages)) == "\n\n".join(paragraphs)


def test_code_that_goes_on_in_the_next_message_is_closed_and_opened_again() -> None:
    lines = [f"x = {i}" for i in range(2_500)]
    whole = whole_answer(text="Here:\n\n```python\n" + "\n".join(lines) + "\n```\n\nThat is all.")

    assert len(whole.messages) == 3
    for message in whole.messages:
        assert_slack_takes(message)
        assert re.findall(r"^```.*$", spoken(message), re.M) == ["```python", "```"]
    assert re.findall(r"^x = .*$", "\n".join(map(spoken, whole.messages)), re.M) == lines


def test_what_is_longer_than_three_messages_goes_on_in_a_file_and_nothing_is_left_out() -> None:
    paragraphs = [f"Paragraph {i}. {'word ' * 60}".strip() for i in range(200)]
    whole = whole_answer(text="\n\n".join(paragraphs), commit="4f2c1d9")

    assert (len(whole.messages), whole.parts) == (3, 4)
    assert "goes on in the file below" in said(whole.messages[2])
    assert f"<{BRANCH}|" in said(whole.messages[2])
    assert "\n\n".join([*map(spoken, whole.messages), whole.file]) == "\n\n".join(paragraphs)


def test_without_a_file_there_are_more_messages_and_the_first_say_the_same() -> None:
    text = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(200))
    whole, more = whole_answer(text=text), whole_answer(text=text, with_file=False)

    assert not more.file
    assert len(more.messages) > 4
    assert list(map(spoken, more.messages))[:3] == list(map(spoken, whole.messages))
    assert "\n\n".join(map(spoken, more.messages)) == text


def test_where_a_part_ends_does_not_depend_on_whether_the_links_are_known() -> None:
    ended = turn(text="\n\n".join("word " * 60 for _ in range(100)), commit="1")
    linked = answer(ended, repository_url=REPOSITORY, branch_url=BRANCH, seconds=None)
    bare = answer(ended, repository_url="", branch_url="", seconds=None)

    assert list(map(spoken, linked.messages)) == list(map(spoken, bare.messages))


def test_an_answer_that_could_not_be_posted_is_told_with_the_next() -> None:
    rendered = shown_answer(missed="I could not post my last answer here: the channel was archived.")

    assert spoken(rendered).startswith("_I could not post my last answer here: the channel was archived._\n\nThe test")


def test_the_words_alone_are_all_of_it() -> None:
    rendered = shown_answer(text="## Done\n\n" + "word " * 1_500, commit="4f2c1d9")

    assert words(rendered).count("word") == 1_500
    assert words(rendered).startswith("*Done*")
    assert f"<{BRANCH}|" in words(rendered)


def test_the_plain_version_keeps_the_words_and_turns_headings_and_bold_into_slacks_own() -> None:
    rendered = plain(shown_answer(text="## Done\n\n**All** tests pass: a < b.\n\n```\n# **not** a heading\n```"))

    assert "*Done*\n\n*All* tests pass: a &lt; b.\n\n```\n# **not** a heading\n```" in said(rendered)


def test_the_plain_version_of_a_long_answer_goes_on_in_further_sections() -> None:
    paragraphs = [f"Paragraph {i}. " + "word " * 60 for i in range(29)]
    rendered = plain(shown_answer(text="\n\n".join(paragraphs)))

    sections = [block for block in rendered.blocks if block["type"] == "section"]
    assert len(sections) >= 3
    assert re.findall(r"Paragraph \d+", said(rendered)) == [f"Paragraph {i}" for i in range(29)]


@settings(max_examples=40, deadline=None)
@given(
    text=_words | st.lists(_words, max_size=5).map("\n\n".join),
    paths=st.lists(_words, max_size=12),
    status=st.sampled_from(TurnStatus),
    commit=st.sampled_from([None, "1"]),
    names=st.fixed_dictionaries({"repository": _words, "branch": _words}),
    url=st.sampled_from([BRANCH, "", f"https://x/{EVIL}", "https://x/" + "&" * 389]),
)
def test_every_answer_keeps_slacks_limits(
    text: str, paths: list[str], status: TurnStatus, commit: str | None, names: dict[str, str], url: str
) -> None:
    files = [FileChange(path=path, added=10**9, removed=10**9) for path in paths]
    pull_request = PullRequest(number=10**9, url=url) if commit else None
    ended = turn(text=text, files=files, status=status, commit=commit, pull_request=pull_request, **names)

    whole = answer(ended, repository_url=url, branch_url=url, seconds=1e9)
    for message in whole.messages:
        assert_slack_takes(message)
    assert len(whole.messages) == 3 or not whole.file


def test_a_note_is_one_plain_section() -> None:
    rendered = notice("Invite the bot to <!channel> & try again.")

    assert_slack_takes(rendered)
    assert [block["type"] for block in rendered.blocks] == ["section"]
    assert "&amp; try again" in rendered.text
