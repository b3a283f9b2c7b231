"""The journal on a real directory: every write twice, two journals at once, damage, and documents of other releases."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerbot.conversation.documents import (
    Card,
    Input,
    Posted,
    RepositorySettled,
    RepostClaim,
    Run,
    RunClosed,
    RunStarted,
    Started,
    Turn,
    TurnStatus,
)
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Unavailable, Unreadable
from peerbot.journal import choices
from peerbot.journal.gcs import GoogleStore
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.journal.turn_list import TurnFiles

THREAD = Conversation("T1", "C1", "1795000000.000100")
OTHER = Conversation("T1", "C1", "1795000000.000200")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def journal(root: Path) -> AsyncIterator[Journal]:
    journal = Journal(await open_storage(f"file://{root}"))
    yield journal
    await journal.close()


@pytest.fixture
async def replica(root: Path) -> AsyncIterator[Journal]:
    """Another dispatcher on the same directory, with memory of its own."""
    journal = Journal(await open_storage(f"file://{root}"))
    yield journal
    await journal.close()


def message(ts: str = "1795000000.000100", conversation: Conversation = THREAD, text: str = "hello") -> Input:
    return Input(
        team=conversation.team,
        channel=conversation.channel,
        thread_ts=conversation.thread_ts,
        ts=ts,
        user="U1",
        text=text,
        event_id="Ev1",
    )


def run(n: int) -> Run:
    return Run(
        n=n,
        serves=["1795000000.000100-message"],
        secret_hash="0" * 64,
        repository="acme/user-ada",
        default_branch="main",
        branch=THREAD.branch,
        reserved_by="dispatcher-1",
    )


def turn(k: int, text: str = "Done.") -> Turn:
    return Turn(k=k, run=1, inputs=["1795000000.000100-message"], status=TurnStatus.DONE, text=text)


def began(by: str) -> Started:
    return Started(began_by=by, repository="acme/user-ada", default_branch="main", branch=THREAD.branch)


def write(root: Path, key: str, content: str) -> None:
    """Write an object past the journal."""
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    (root / key).write_text(content)


def read(root: Path, key: str) -> dict[str, object]:
    document: dict[str, object] = json.loads((root / key).read_text())
    return document


class TestRecording:
    async def test_an_input_that_is_delivered_twice_is_one(self, journal: Journal, replica: Journal) -> None:
        assert await journal.record(message())
        assert not await replica.record(message())
        assert not await journal.record(message())

    async def test_the_same_record_again_is_ours_after_a_lost_answer(self, journal: Journal) -> None:
        once = message()
        assert await journal.record(once)
        assert await journal.record(once)

    async def test_what_was_recorded_is_read_back_elsewhere(self, journal: Journal, replica: Journal) -> None:
        said = message(text="ünïcode & <b>\n\x1b[31m")
        await journal.record(said)
        assert await replica.input(THREAD, said.id) == said
        assert await replica.input(THREAD, "1.000001-message") is None
        assert await replica.input(OTHER, said.id) is None

    async def test_a_conversation_is_known_from_its_first_input_on(self, journal: Journal, replica: Journal) -> None:
        assert not await journal.knows(THREAD)
        await replica.record(message())
        assert await journal.knows(THREAD)
        assert not await journal.knows(OTHER)

    async def test_a_conversation_once_known_costs_no_look(self, journal: Journal, root: Path) -> None:
        await journal.record(message())
        (root / f"conversations/{THREAD}/inputs/{message().id}.json").unlink()
        assert await journal.knows(THREAD)

    async def test_a_marker_alone_makes_no_conversation_known(self, journal: Journal) -> None:
        await journal.mark(message())
        assert not await journal.knows(THREAD)

    async def test_marking_twice_is_one_marker_and_unmarking_twice_is_fine(
        self, journal: Journal, replica: Journal
    ) -> None:
        await journal.mark(message())
        await replica.mark(message())
        assert await journal.pending_in(THREAD) == [message().id]
        await journal.unmark(THREAD, message().id)
        await replica.unmark(THREAD, message().id)
        assert await journal.pending() == {}

    async def test_pending_inputs_are_by_conversation_in_the_order_in_which_they_were_said(
        self, journal: Journal
    ) -> None:
        for ts in ("1795000010.000000", "1795000009.999999", "999.000001"):
            await journal.mark(message(ts))
        await journal.mark(message("1795000001.000000", OTHER))
        assert await journal.pending() == {
            THREAD: ["999.000001-message", "1795000009.999999-message", "1795000010.000000-message"],
            OTHER: ["1795000001.000000-message"],
        }
        assert await journal.pending_in(OTHER) == ["1795000001.000000-message"]

    async def test_a_stray_key_among_the_markers_is_skipped_and_logged(
        self, journal: Journal, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        await journal.mark(message())
        for stray in ("README", "T1/C1/x/1.000001-message", f"{THREAD}/lost+found", "T1/1.000001-message"):
            write(root, f"pending/{stray}", "?")
        assert await journal.pending() == {THREAD: [message().id]}
        assert await journal.pending_in(THREAD) == [message().id]
        assert "lost+found" in caplog.text
        assert "pending/README" in caplog.text

    @pytest.mark.parametrize("name", ["../../../x", "", "1.000001", "1.000001-message/../x", "1.000001-MESSAGE\n"])
    async def test_what_is_no_inputs_name_reaches_no_object(self, journal: Journal, name: str) -> None:
        with pytest.raises(ValueError, match="not an input"):
            await journal.input(THREAD, name)
        with pytest.raises(ValueError, match="not an input"):
            await journal.unmark(THREAD, name)


class TestConversationAndRuns:
    async def test_two_who_begin_a_conversation_agree_on_one_beginning(
        self, journal: Journal, replica: Journal
    ) -> None:
        assert await journal.conversation(THREAD) is None
        first, second = await asyncio.gather(journal.begin(THREAD, began("U1")), replica.begin(THREAD, began("U2")))
        assert first == second
        assert await journal.conversation(THREAD) == await replica.conversation(THREAD) == first

    async def test_what_was_read_once_costs_no_second_look(
        self, journal: Journal, replica: Journal, root: Path
    ) -> None:
        started = await journal.begin(THREAD, began("U1"))
        assert await replica.conversation(THREAD) == started
        (root / f"conversations/{THREAD}/conversation.json").unlink()
        assert await journal.conversation(THREAD) == await replica.conversation(THREAD) == started

    async def test_of_two_dispatchers_one_reserves_each_run(self, journal: Journal, replica: Journal) -> None:
        for n in range(1, 21):
            won = await asyncio.gather(journal.reserve(THREAD, run(n)), replica.reserve(THREAD, run(n)))
            assert sorted(won) == [False, True]
        assert [record.n for record in await journal.runs(THREAD)] == list(range(1, 21))

    async def test_the_loser_reads_the_winners_reservation(self, journal: Journal, replica: Journal) -> None:
        ours, theirs = run(1), run(1)
        assert await journal.reserve(THREAD, ours)
        assert not await replica.reserve(THREAD, theirs)
        seen = await replica.newest_run(THREAD)
        assert seen is not None
        assert seen.run == ours != theirs

    async def test_a_runs_life_is_seen_by_the_other_replica_at_once(self, journal: Journal, replica: Journal) -> None:
        await journal.reserve(THREAD, run(1))
        seen = await replica.newest_run(THREAD)
        assert seen is not None
        assert (seen.started, seen.closed) == (None, None)

        started = RunStarted(supervisor_hash="1" * 64, agent_hash="2" * 64)
        assert await journal.run_started(THREAD, 1, started)
        assert not await replica.run_started(THREAD, 1, RunStarted(supervisor_hash="3", agent_hash="4"))
        seen = await replica.newest_run(THREAD)
        assert seen is not None
        assert (seen.started, seen.closed) == (started, None)

        closed = RunClosed(reason=RunEnd.OUT_OF_MEMORY, detail="the agent used 4 GiB")
        assert await journal.close_run(THREAD, 1, closed)
        assert not await replica.close_run(THREAD, 1, RunClosed(reason=RunEnd.GONE))
        assert await replica.run(THREAD, 1) == await replica.newest_run(THREAD) == (await replica.runs(THREAD))[0]
        seen = await replica.run(THREAD, 1)
        assert seen is not None
        assert (seen.started, seen.closed) == (started, closed)

    async def test_runs_are_in_the_order_of_their_numbers(self, journal: Journal, replica: Journal) -> None:
        assert await journal.runs(THREAD) == []
        assert await journal.newest_run(THREAD) is None
        for n in (10, 9, 2, 1):
            await journal.reserve(THREAD, run(n))
        assert [record.n for record in await replica.runs(THREAD)] == [1, 2, 9, 10]
        newest = await replica.newest_run(THREAD)
        assert newest is not None
        assert newest.n == 10
        assert await replica.run(THREAD, 11) is None

    async def test_the_newest_run_is_read_without_the_others(self, journal: Journal, root: Path) -> None:
        write(root, f"conversations/{THREAD}/runs/1.json", "damaged")
        await journal.reserve(THREAD, run(2))
        newest = await journal.newest_run(THREAD)
        assert newest is not None
        assert newest.n == 2
        with pytest.raises(Unreadable):
            await journal.runs(THREAD)

    async def test_runs_of_another_conversation_are_not_ours(self, journal: Journal) -> None:
        await journal.reserve(OTHER, run(1))
        assert await journal.runs(THREAD) == []
        assert await journal.run(THREAD, 1) is None


class TestTurns:
    async def test_of_two_runs_that_worked_on_one_turn_one_writes_it(self, journal: Journal, replica: Journal) -> None:
        won = await asyncio.gather(
            journal.write_turn(THREAD, turn(1, "Ada's")), replica.write_turn(THREAD, turn(1, "Bob's"))
        )
        assert sorted(won) == [False, True]
        kept = await journal.turn(THREAD, 1)
        assert kept is not None
        assert kept.text == ("Ada's" if won[0] else "Bob's")
        assert await replica.turn(THREAD, 1) == kept

    async def test_the_newest_turn_is_the_one_with_the_highest_number(self, journal: Journal) -> None:
        assert await journal.newest_turn(THREAD) is None
        for k in (9, 10, 1):
            await journal.write_turn(THREAD, turn(k))
        await journal.write_card(THREAD, 11, Card(channel="C1", ts="1.000001"))  # in progress, not written
        newest = await journal.newest_turn(THREAD)
        assert newest is not None
        assert newest.k == 10
        assert await journal.turn_numbers(THREAD) == [1, 9, 10]

    async def test_one_listing_says_what_exists_of_each_turn(
        self, journal: Journal, replica: Journal, root: Path
    ) -> None:
        await journal.write_turn(THREAD, turn(1))
        await journal.write_card(THREAD, 1, Card(channel="C1", ts="1.000001"))
        await journal.write_posted(THREAD, 1, Posted(ts=["1.000002"]))
        await journal.write_turn(THREAD, turn(2))
        await journal.write_card(THREAD, 10, Card(channel="C1", ts="1.000003"))
        await journal.claim_repost(THREAD, 2, 1, RepostClaim(claimed_by="one"))
        await journal.claim_repost(THREAD, 2, 2, RepostClaim(claimed_by="another"))
        write(root, f"conversations/{THREAD}/turns/11.thanks", "{}")  # of a later release
        assert await replica.turn_files(THREAD) == [
            TurnFiles(1, written=True, card=True, posted=True),
            TurnFiles(2, written=True, card=False, posted=False, claims=2),
            TurnFiles(10, written=False, card=True, posted=False),
        ]

    async def test_one_of_two_claims_to_post_again(self, journal: Journal, replica: Journal) -> None:
        assert await journal.repost_claim(THREAD, 1, 0) is None
        claim = RepostClaim(claimed_by="one")
        assert await journal.claim_repost(THREAD, 1, 1, claim)
        assert not await replica.claim_repost(THREAD, 1, 1, RepostClaim(claimed_by="another"))
        assert await replica.repost_claim(THREAD, 1, 1) == claim

    async def test_a_card_and_a_receipt_are_written_once(self, journal: Journal, replica: Journal) -> None:
        assert await journal.card(THREAD, 1) is None
        assert await journal.posted(THREAD, 1) is None
        card, posted = Card(channel="C1", ts="1.000001"), Posted(ts=["1.000002", "1.000003"])
        assert await journal.write_card(THREAD, 1, card)
        assert not await replica.write_card(THREAD, 1, Card(channel="C1", ts="9.000009"))
        assert await journal.write_posted(THREAD, 1, posted)
        assert not await replica.write_posted(THREAD, 1, Posted(ts=[]))
        assert await replica.card(THREAD, 1) == await journal.card(THREAD, 1) == card
        assert await replica.posted(THREAD, 1) == await journal.posted(THREAD, 1) == posted


async def parts(journal: Journal) -> list[bytes | None]:
    """Read all parts of the first turn."""
    return [await journal.get(key) for key in await journal.session_parts(THREAD, 1)]


class TestSessions:
    async def test_parts_come_back_in_order_without_the_whole(self, journal: Journal, replica: Journal) -> None:
        for part in (2, 10, 1, 11):
            assert await journal.write_session_part(THREAD, 1, 1, part, b"part %d" % part)
        assert await journal.write_session(THREAD, 1, 1, b"\x1f\x8b whole")
        await journal.write_session_part(THREAD, 1, 2, 1, b"run 2's")
        await journal.write_session_part(THREAD, 1, 11, 1, b"run 11's")
        of_the_first = [b"part 1", b"part 2", b"part 10", b"part 11"]
        assert await parts(replica) == [*of_the_first, b"run 2's", b"run 11's"]
        assert await replica.session(THREAD, 1, 1) == b"\x1f\x8b whole"
        assert await replica.session(THREAD, 1, 2) is None
        assert await replica.session_parts(THREAD, 2) == []

    async def test_the_same_part_again_succeeds_and_another_in_its_place_does_not(self, journal: Journal) -> None:
        assert await journal.write_session_part(THREAD, 1, 1, 1, b"entries")
        assert await journal.write_session_part(THREAD, 1, 1, 1, b"entries")
        assert not await journal.write_session_part(THREAD, 1, 1, 1, b"other entries")
        assert await journal.write_session(THREAD, 1, 1, b"all")
        assert not await journal.write_session(THREAD, 1, 1, b"all else")
        assert await parts(journal) == [b"entries"]


class TestRepositories:
    async def test_a_name_stays_with_the_first_user_who_claimed_it(self, journal: Journal, replica: Journal) -> None:
        assert (await choices.claim_repository(journal, "acme", "user-ada", "T1/U1")).user == "T1/U1"
        assert (await choices.claim_repository(replica, "acme", "user-ada", "T1/U2")).user == "T1/U1"
        assert (await choices.claim_repository(replica, "acme", "user-ada", "T1/U1")).user == "T1/U1"
        assert (await choices.claim_repository(replica, "other", "user-ada", "T1/U2")).user == "T1/U2"

    async def test_a_name_in_other_letters_is_the_same_name(self, journal: Journal) -> None:
        assert (await choices.claim_repository(journal, "Acme", "user-Ada", "T1/U1")).user == "T1/U1"
        assert (await choices.claim_repository(journal, "acme", "USER-ada", "T1/U2")).user == "T1/U1"

    async def test_what_was_settled_last_about_a_name_holds_and_nothing_is_settled_twice(
        self, journal: Journal, replica: Journal
    ) -> None:
        first, other, second = (
            RepositorySettled(i=i, id=number, conversation=str(THREAD)) for i, number in ((1, 5), (1, None), (2, 9))
        )
        assert await choices.settled(journal, "acme", "user-ada") is None
        assert await choices.settle(journal, "acme", "user-ada", first) == first
        assert await choices.settle(replica, "Acme", "USER-ada", other) == first
        assert await choices.settle(replica, "acme", "user-ada", second) == second
        assert await choices.settled(journal, "acme", "user-ada") == second
        assert await choices.settled(journal, "acme", "user") is None

    async def test_where_somebody_began_a_conversation_is_found_in_every_channel(self, journal: Journal) -> None:
        elsewhere = Conversation(THREAD.team, "C0OTHER", THREAD.thread_ts)
        for number in range(70):
            other = Conversation(THREAD.team, "C0MANY", f"{number + 1}.000001")
            await journal.begin(other, began("U2"))
        await journal.begin(elsewhere, began("U1"))

        assert await choices.has_begun_in(journal, THREAD, "U1", {"acme/user-ada"})
        assert not await choices.has_begun_in(journal, THREAD, "U1", {"acme/user-bob"})
        assert not await choices.has_begun_in(journal, THREAD, "U3", {"acme/user-ada"})
        stranger = Conversation("T9", THREAD.channel, THREAD.thread_ts)
        assert not await choices.has_begun_in(journal, stranger, "U1", {"acme/user-ada"})


class TestDamage:
    @pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '"x"', '{"schema": 1, "channel": 3}'])
    async def test_a_damaged_document_is_told_with_its_key(self, journal: Journal, root: Path, content: str) -> None:
        key = f"conversations/{THREAD}/turns/1.card"
        write(root, key, content)
        with pytest.raises(Unreadable, match=rf"is damaged: {key}") as failure:
            await journal.card(THREAD, 1)
        assert isinstance(failure.value, PeerBotError)
        assert failure.value.__cause__ is not None

    async def test_a_document_of_a_newer_release_is_told_as_that(self, journal: Journal, root: Path) -> None:
        await journal.write_turn(THREAD, turn(1))
        newer = read(root, f"conversations/{THREAD}/turns/1.json") | {"schema": 2, "text": {"blocks": []}}
        write(root, f"conversations/{THREAD}/turns/2.json", json.dumps(newer))
        with pytest.raises(Unreadable, match="newer release"):
            await journal.newest_turn(THREAD)

    async def test_keys_that_a_newer_release_added_are_ignored(self, journal: Journal, root: Path) -> None:
        await journal.write_turn(THREAD, turn(1))
        newer = read(root, f"conversations/{THREAD}/turns/1.json") | {"mood": "good", "k": 2}
        write(root, f"conversations/{THREAD}/turns/2.json", json.dumps(newer))
        newest = await journal.newest_turn(THREAD)
        assert newest is not None
        assert newest.k == 2

    async def test_every_document_carries_its_schema(self, journal: Journal, root: Path) -> None:
        await journal.mark(message())
        await journal.reserve(THREAD, run(1))
        assert read(root, f"pending/{THREAD}/{message().id}")["schema"] == 1
        document = read(root, f"conversations/{THREAD}/runs/1.json")
        assert document["schema"] == 1
        assert document["for"] == ["1795000000.000100-message"]

    async def test_what_people_wrote_is_not_in_the_error(self, journal: Journal, root: Path) -> None:
        await journal.record(message(text="a secret plan"))
        key = f"conversations/{THREAD}/inputs/{message().id}.json"
        damaged = json.dumps(read(root, key) | {"user": ["a secret plan"]})
        write(root, f"conversations/{THREAD}/inputs/1795000000.000200-message.json", damaged)
        with pytest.raises(Unreadable) as failure:
            await journal.input(THREAD, "1795000000.000200-message")
        assert "secret plan" not in f"{failure.value!r} {failure.value.__cause__!r} {failure.value.__cause__}"


async def test_ping_answers_where_the_store_does(journal: Journal) -> None:
    await journal.ping()


async def test_ping_fails_where_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    journal = Journal(GoogleStore("bucket", deadline_seconds=0.3))
    with pytest.raises(Unavailable):
        await journal.ping()
    await journal.close()
