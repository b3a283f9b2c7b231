"""Answers on their way to Slack: whole, in order, each part exactly once, for any poster and any fault of Slack."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.conversation.documents import Input, Posted, Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused, Unavailable
from peerbot.github.client import GitHub
from peerbot.github.repositories import Repositories
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.slack import Fault, LocalSlack
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.post import Poster
from peerbot.thread.answers import Answers, file_name, turn_metadata

SHORT = "All tests pass."
LONG = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(80))  # three messages
HUGE = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(200))  # three and a file
POSTS, SHARE = "chat.postMessage", "files.completeUploadExternal"


@dataclass
class Desk:
    """A place for answers: a conversation, its journal, and posters that share nothing else."""

    slack: LocalSlack
    journal: Journal
    client: AsyncWebClient
    session: aiohttp.ClientSession
    conversation: Conversation
    identity: str

    async def turn(self, text: str, k: int = 1) -> Turn:
        turn = Turn(k=k, run=None, inputs=[self.identity], status=TurnStatus.DONE, text=text, seconds=1)
        assert await self.journal.write_turn(self.conversation, turn)
        return turn

    async def post(self, turn: Turn, *, claim: int = 0, tries: int = 1) -> Posted:
        """Post by a new poster, which ends at the first failure; returns the receipt."""
        repositories = Repositories(GitHub(self.session, token="ghp-none", api_url="http://127.0.0.1:9/"))
        answers = Answers(
            journal=self.journal,
            poster=Poster(Outbound(self.client), Us(self.slack.team, self.slack.bot_user)),
            repositories=repositories,
            tries=tries,
        )
        await answers.post(self.conversation, turn, claim=claim)
        posted = await self.journal.posted(self.conversation, turn.k)
        assert posted
        return posted

    def ours(self) -> list[dict[str, Any]]:
        """The bot's messages in the thread."""
        thread = self.slack.thread(self.conversation.channel, self.conversation.thread_ts)
        return [message for message in thread if message["user"] == self.slack.bot_user]

    def parts(self) -> list[int]:
        return [message["metadata"]["event_payload"]["part"] for message in self.ours() if "metadata" in message]

    def said(self) -> str:
        """Return all words of the answer, the file's included."""
        blocks = [block for message in self.ours() for block in message.get("blocks", [])]
        words = [block["text"] for block in blocks if block["type"] == "markdown"]
        files = [self.slack.file(file["id"]).decode() for message in self.ours() for file in message.get("files", [])]
        return "\n\n".join(words + files)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    journal = Journal(await open_storage(tmp_path.as_uri()))
    async with LocalSlack() as slack:
        ts = await slack.say(slack.person, slack.general, "hello")
        item = Input(
            team=slack.team,
            channel=slack.general,
            thread_ts=ts,
            ts=ts,
            user=slack.person,
            text="hello",
            event_id="Ev1",
        )
        await journal.record(item)
        async with open_client(slack.api_url, slack.bot_token) as client:
            assert client.session is not None
            yield Desk(slack, journal, client, client.session, item.conversation, item.id)
    await journal.close()


async def test_a_long_answer_comes_in_parts_and_the_receipt_holds_all_of_them(desk: Desk) -> None:
    receipt = await desk.post(await desk.turn(LONG))

    assert desk.parts() == [1, 2, 3]
    assert desk.said() == LONG
    assert receipt.ts == [message["ts"] for message in desk.ours()]
    assert [message["text"][:11] for message in desk.ours()] == ["Part 1 of 3", "Part 2 of 3", "Part 3 of 3"]
    assert ["turn 1" in str(message["blocks"]) for message in desk.ours()] == [False, False, True]


async def test_what_is_longer_than_three_messages_ends_in_a_file_of_the_thread(desk: Desk) -> None:
    receipt = await desk.post(await desk.turn(HUGE))

    assert desk.parts() == [1, 2, 3]
    [file] = desk.ours()[-1]["files"]
    assert file["name"] == "answer-turn-1-part-4.md"
    assert desk.ours()[-1]["text"] == "The rest of the answer: part 4 of 4."
    assert desk.said() == HUGE
    assert receipt.ts == [message["ts"] for message in desk.ours()]
    assert len(receipt.ts) == 4


@pytest.mark.parametrize("missing", ["files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_an_app_that_may_send_no_files_says_all_of_it_in_messages(desk: Desk, missing: str) -> None:
    desk.slack.faults.add(missing, Fault(error="missing_scope"))

    receipt = await desk.post(await desk.turn(HUGE))

    assert desk.said() == HUGE
    assert desk.parts() == list(range(1, len(receipt.ts) + 1))
    assert len(receipt.ts) > 4


async def test_another_app_that_marks_its_message_like_an_answer_suppresses_none(desk: Desk) -> None:
    """Nor does a person's file with the name of an answer's rest."""
    desk.slack.add_user("U0ROBOT0001", "Another app", kind="bot")
    desk.slack.add_channel(
        desk.slack.general, "general", members=[desk.slack.person, desk.slack.bot_user, "U0ROBOT0001"]
    )
    channel, thread_ts = desk.conversation.channel, desk.conversation.thread_ts
    turn = await desk.turn(HUGE)
    for part in (1, 2, 3):
        mark = turn_metadata(desk.conversation, turn.k, part).as_metadata()
        await desk.slack.say("U0ROBOT0001", channel, "Done: nothing to see.", thread_ts=thread_ts, metadata=mark)
    await desk.slack.share_file(desk.slack.person, channel, file_name(1, 4), b"planted", thread_ts=thread_ts)

    receipt = await desk.post(turn, claim=1)

    assert desk.parts() == [1, 2, 3]
    assert desk.said() == HUGE
    assert receipt.ts == [message["ts"] for message in desk.ours()]


WRITES = [
    (text, write, lost)
    for text, writes in ((SHORT, 1), (LONG, 3), (HUGE, 4))
    for write in range(writes)
    for lost in (False, True)
]


@pytest.mark.parametrize(("text", "write", "lost"), WRITES)
async def test_the_next_poster_posts_the_missing_parts_and_nothing_twice(
    desk: Desk, text: str, write: int, lost: bool
) -> None:
    """A poster ends at each of its writes to Slack in turn, before it and after it."""
    turn = await desk.turn(text)
    desk.slack.faults.add(POSTS, Fault(), times=write)
    desk.slack.faults.add(POSTS if write < 3 else SHARE, Fault(lost=True) if lost else Fault(status=503))
    with pytest.raises(Unavailable):
        await desk.post(turn)
    desk.slack.faults.clear()

    receipt = await desk.post(turn, claim=1)

    assert desk.said() == text
    assert desk.parts() == [1, 2, 3][: len(desk.parts())]
    assert receipt.ts == [message["ts"] for message in desk.ours()]


async def test_many_posters_that_each_get_one_part_through_say_it_all_once(desk: Desk) -> None:
    turn = await desk.turn(HUGE)
    for claim in (0, 1):
        desk.slack.faults.add(POSTS, Fault())
        desk.slack.faults.add(POSTS, Fault(status=503))
        with pytest.raises(Unavailable):
            await desk.post(turn, claim=claim)

    receipt = await desk.post(turn, claim=1)

    assert (desk.said(), desk.parts(), len(receipt.ts)) == (HUGE, [1, 2, 3], 4)


async def test_a_poster_after_one_that_could_send_no_file_goes_on_in_messages(desk: Desk) -> None:
    turn = await desk.turn(HUGE)
    desk.slack.faults.add("files.getUploadURLExternal", Fault(error="missing_scope"))
    desk.slack.faults.add(POSTS, Fault(), times=4)
    desk.slack.faults.add(POSTS, Fault(status=503))
    with pytest.raises(Unavailable):
        await desk.post(turn)

    receipt = await desk.post(turn, claim=1)

    assert desk.said() == HUGE
    assert desk.parts() == list(range(1, len(receipt.ts) + 1))
    assert len(receipt.ts) > 4


async def test_a_persons_file_of_that_name_is_not_taken_for_the_answer(desk: Desk) -> None:
    turn = await desk.turn(HUGE)
    desk.slack.faults.add(SHARE, Fault(status=503))
    with pytest.raises(Unavailable):
        await desk.post(turn)
    await desk.slack.share_file(
        desk.slack.person,
        desk.conversation.channel,
        "answer-turn-1-part-4.md",
        b"mine",
        thread_ts=desk.conversation.thread_ts,
    )

    receipt = await desk.post(turn, claim=1)

    assert desk.said() == HUGE
    assert len(receipt.ts) == 4


async def test_a_slack_that_fails_to_take_the_file_gets_no_half_answer(desk: Desk) -> None:
    turn = await desk.turn(HUGE)
    desk.slack.faults.add("upload", Fault(status=500))
    with pytest.raises(Unavailable):
        await desk.post(turn)
    assert desk.ours() == []

    await desk.post(turn, claim=1)

    assert desk.said() == HUGE


GONE = ["is_archived", "not_in_channel", "channel_not_found", "thread_not_found", "restricted_action"]


@pytest.mark.parametrize("code", GONE)
async def test_an_answer_that_slack_will_never_take_is_let_go_and_the_journal_says_why(desk: Desk, code: str) -> None:
    desk.slack.faults.add(POSTS, Fault(error=code))

    receipt = await desk.post(await desk.turn(SHORT))

    assert (receipt.ts, receipt.refused) == ([], code)
    assert desk.ours() == []


async def test_the_next_answer_says_that_the_last_one_is_missing_and_the_one_after_does_not(desk: Desk) -> None:
    desk.slack.archive_channel(desk.conversation.channel)
    assert (await desk.post(await desk.turn(SHORT))).refused == "is_archived"
    desk.slack.unarchive_channel(desk.conversation.channel)

    await desk.post(await desk.turn(SHORT, k=2))
    await desk.post(await desk.turn(SHORT, k=3))

    first, second = (message["blocks"][0]["text"] for message in desk.ours())
    assert first == (
        "_I could not post my last answer here: the channel was archived. Ask me to repeat it._\n\n" + SHORT
    )
    assert second == SHORT


@pytest.mark.parametrize("code", ["token_revoked", "account_inactive", "invalid_auth", "missing_scope"])
async def test_an_answer_that_waits_for_the_operator_stays_to_be_posted(desk: Desk, code: str) -> None:
    turn = await desk.turn(SHORT)
    desk.slack.faults.add(POSTS, Fault(error=code), times=2)
    for claim in (0, 7):
        with pytest.raises(Refused):
            await desk.post(turn, claim=claim)
    assert await desk.journal.posted(desk.conversation, 1) is None

    await desk.post(turn, claim=8)

    assert desk.said() == SHORT


async def test_an_answer_that_slack_refuses_for_a_reason_we_do_not_know_is_let_go_at_the_third_claim(
    desk: Desk,
) -> None:
    turn = await desk.turn(SHORT)
    desk.slack.faults.add(POSTS, Fault(error="a_word_that_is_new"), times=4)
    for claim in (0, 1, 2):
        with pytest.raises(Refused):
            await desk.post(turn, claim=claim)

    receipt = await desk.post(turn, claim=3)

    assert (receipt.ts, receipt.refused) == ([], "a_word_that_is_new")
    await desk.post(await desk.turn(SHORT, k=2))
    assert desk.said().startswith("_I could not post my last answer here: Slack refused it.")


@pytest.mark.parametrize("code", ["invalid_blocks", "msg_blocks_too_long", "msg_too_long"])
async def test_blocks_that_slack_refuses_are_said_in_simpler_ones_and_at_last_as_text(desk: Desk, code: str) -> None:
    desk.slack.faults.add(POSTS, Fault(error=code), times=2)

    receipt = await desk.post(await desk.turn(LONG))

    assert len(receipt.ts) == 3
    shown = [str(message.get("blocks") or message["text"]) for message in desk.ours()]
    assert re.findall(r"Paragraph (\d+)", " ".join(shown)) == [str(i) for i in range(80)]
    bare = ["blocks" not in message for message in desk.ours()]
    assert bare == [True, False, False], "the other messages are not refused"


@pytest.mark.parametrize(
    "fault", [Fault(lost=True), Fault(status=503), Fault(error="internal_error")], ids=["dropped", "503", "internal"]
)
async def test_a_failure_that_passes_is_tried_again_after_a_look(desk: Desk, fault: Fault) -> None:
    desk.slack.faults.add(POSTS, Fault())
    desk.slack.faults.add(POSTS, fault)

    receipt = await desk.post(await desk.turn(LONG), tries=2)

    assert (desk.said(), desk.parts()) == (LONG, [1, 2, 3])
    assert receipt.ts == [message["ts"] for message in desk.ours()]


async def test_a_poster_that_is_told_to_come_back_in_minutes_does_not_ask_before(desk: Desk) -> None:
    desk.slack.faults.add(POSTS, Fault(status=429, retry_after_seconds=600))

    with pytest.raises(Unavailable):
        await desk.post(await desk.turn(SHORT), tries=4)

    assert [call.outcome for call in desk.slack.calls] == ["http 429"]


async def test_an_answer_to_a_message_that_was_deleted_is_let_go(desk: Desk) -> None:
    await desk.slack.delete(desk.slack.person, desk.conversation.channel, desk.conversation.thread_ts)

    receipt = await desk.post(await desk.turn(SHORT))

    assert receipt.refused == "thread_not_found"


async def test_a_thread_that_lost_its_first_message_still_gets_its_answer(desk: Desk) -> None:
    channel, thread_ts = desk.conversation.channel, desk.conversation.thread_ts
    await desk.slack.say(desk.slack.person, channel, "and another", thread_ts=thread_ts)
    await desk.slack.delete(desk.slack.person, channel, thread_ts)

    await desk.post(await desk.turn(SHORT))

    assert desk.said() == SHORT
