"""`peerbot prune` and `peerbot forget` on journals of years ago: what goes, what stays, and a crash at every change."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gcs_server import gcs_server, make_bucket
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from old_journal import BEGAN, WORDS, Killed, Memory, Mortal, conversation, talk, turn
from s3_server import make_s3_bucket, s3_environment, s3_server

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import Input, KeptWork, Posted, Run, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.pulls import Watched
from peerbot.journal import choices, paths, pulls
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory as AgentsMemory
from peerbot.journal.open import open_storage
from peerbot.journal.storage import SizedStorage
from peerbot.outside import OutsideSettings
from peerbot.retention.forget import forget
from peerbot.retention.look import Looker
from peerbot.retention.prune import Pruning, prune
from peerbot.retention.removal import Deletes, remove
from peerbot.retention.report import Pruned
from peerbot.verify.app import verify

YEAR_LATER = BEGAN + timedelta(days=365)


async def command(store: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", *arguments, stdout=-1, stderr=-1,
        env={"PATH": os.environ["PATH"], "HOME": str(store), "PEERBOT_STORE": store.as_uri()},
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return int(process.returncode or 0), out.decode(), error.decode()


async def pruned(storage: SizedStorage, *, before: datetime | None = None, done: bool = True) -> Pruned:
    report = Pruned(store="", before=before or now() - timedelta(days=180), done=done)
    await Pruning(Deletes(storage, 100_000), report).all()
    return report


async def removed(storage: SizedStorage, thread: Conversation) -> None:
    await remove(Deletes(storage, 10_000), await Looker(storage).at(thread, now()), "prune")


async def faults(storage: SizedStorage, thread: Conversation) -> list[str]:
    """What a look from outside finds in a conversation."""
    looked = await Looker(storage).at(thread, now())
    why = looked.stays() if not looked.is_stub else ""
    return [why] if why.startswith("`peerbot verify`") else []


def below(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())


async def test_it_only_says_what_it_would_do_until_it_is_told_to_do_it(tmp_path: Path) -> None:
    journal = Journal(await open_storage(tmp_path.as_uri()))
    await talk(journal, conversation(1), 3)
    await talk(journal, conversation(2, began=now()), 1)
    before = below(tmp_path)

    code, out, error = await command(tmp_path, "prune", "--older-than", "180d", "--json")
    told = json.loads(out)

    assert (code, error) == (0, "")
    assert below(tmp_path) == before
    assert told["done"] is False
    assert told["removed"]["conversations"] == 1
    code, out, _ = await command(tmp_path, "prune", "--older-than", "180d", "--yes")
    gone = [key for key in before if key not in below(tmp_path)]
    assert code == 0
    assert told["removed"]["objects"] == len(gone)
    assert told["removed"]["bytes"] > 0
    assert "Removed: 1 conversations" in out
    folder = f"conversations/{conversation(1)}"
    assert [key for key in below(tmp_path) if key.startswith(folder)] == [
        f"{folder}/place.json",
        f"{folder}/runs/3.closed",
        f"{folder}/runs/3.json",
        f"{folder}/runs/3.started",
        f"{folder}/turns/3.removed",
    ]
    assert not any(WORDS in (tmp_path / key).read_text() for key in below(tmp_path) if folder in key)
    assert (await command(tmp_path, "verify"))[0] == 0
    code, out, _ = await command(tmp_path, "prune", "--older-than", "180d", "--yes", "--json")
    assert json.loads(out)["removed"]["objects"] == 0, "a second prune finds nothing"
    await journal.close()


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with gcs_server() as url:
        yield url


@pytest.fixture(scope="module")
def amazon() -> Iterator[str]:
    with s3_server() as url:
        yield url


async def prunes_and_forgets(url: str) -> None:
    """Prune one conversation and forget another in an empty store."""
    storage = await open_storage(url)
    old, other = conversation(1), conversation(2)
    await talk(Journal(storage), old, 1)
    report = await prune(OutsideSettings(peerbot_store=url), print, older_than=timedelta(days=180), yes=True)
    assert report.removed.conversations == 1
    assert report.removed.bytes > len(WORDS)
    await talk(Journal(storage), other, 1, user="UGRACE")
    forgotten = await forget(OutsideSettings(peerbot_store=url), person="UGRACE", asked_by="me", yes=True)
    assert forgotten.good
    assert forgotten.removed.conversations == 1
    left = [key async for key in storage.list("")]
    assert not any("/inputs/" in key or "/sessions/" in key for key in left)
    assert forgotten.receipt in left
    assert (await verify(OutsideSettings(peerbot_store=url), print)).good
    await storage.close()


async def test_it_works_on_a_bucket_of_google(google: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
    make_bucket(google, "retention")

    await prunes_and_forgets("gs://retention/folder")


@pytest.mark.slow
async def test_it_works_on_a_bucket_of_amazon(amazon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in s3_environment(amazon).items():
        monkeypatch.setenv(variable, value)
    make_s3_bucket(amazon, "retention")

    await prunes_and_forgets("s3://retention/folder")


@pytest.mark.parametrize("age", ["180", "0d", "-1d", "half a year", ""])
async def test_an_age_that_is_none_is_refused(tmp_path: Path, age: str) -> None:
    code, _, error = await command(tmp_path, "prune", f"--older-than={age}")

    assert code == 2
    assert "is no age" in error


async def test_an_old_conversation_with_anything_open_stays_and_the_report_says_why() -> None:
    storage = Memory()
    journal = Journal(storage)
    marked, running, unposted, kept, watched, asked, lost = (conversation(n) for n in range(1, 8))
    for each in (marked, running, unposted, kept, watched, asked, lost):
        await talk(journal, each, 2)
    item = Input(
        team="T1", channel="C1", thread_ts=marked.thread_ts, ts=f"{int(BEGAN.timestamp()) + 9}.000001", user="U1",
        text="", event_id="",
    )  # fmt: skip
    await journal.mark(item)
    await journal.reserve(
        running, Run(n=3, serves=[], secret_hash="", repository="", default_branch="", branch="", reserved_by="")
    )
    await storage.delete(paths.turn_document(unposted, 2, "posted"))
    three = Turn(
        k=3, run=2, inputs=[], status=TurnStatus.DONE, text="", ended_at=BEGAN, kept=KeptWork(turn=3, run=2, part=1)
    )
    await journal.write_turn(kept, three)
    await journal.write_posted(kept, 3, Posted(ts=[], refused="is_archived", posted_at=BEGAN))
    await journal.create(
        pulls.Watch(watched, 1, 2, "1.000001").key, Watched(repository="o/r", messages=1, with_file=False, end="")
    )
    await storage.put_if_absent(f"{paths.questions(asked)}2/1.json", b"{}")
    await storage.delete(paths.turn_document(lost, 2))
    before = dict(storage.objects)

    report = await pruned(storage)

    assert report.removed.conversations == 0
    assert sum(report.stays.values()) == 7
    assert len(report.stays) == 7, report.stays
    gone = before.keys() - storage.objects.keys()
    assert not {key for key in gone if "/sessions/" not in key}


async def test_a_crash_before_any_change_leaves_a_conversation_that_is_whole_or_begins_again() -> None:
    """And then it is pruned again, to the same end."""
    thread, reference = conversation(), Memory()
    await talk(Journal(reference), thread, 2)
    whole, counting = dict(reference.objects), Mortal(reference)
    await removed(counting, thread)
    end = reference.objects.keys()
    assert len(counting.changes) > 15
    assert counting.changes[0].endswith("place.json")
    assert counting.changes[1].endswith("turns/2.removed")

    for n in range(1, len(counting.changes) + 1):
        storage = Memory()
        storage.objects = dict(whole)
        with pytest.raises(Killed):
            await removed(Mortal(storage, dies_before=n), thread)
        journal = Journal(storage)
        assert await faults(storage, thread) == [], counting.changes[n - 1]
        assert await journal.next_turn(thread) == 3
        assert await journal.knows(thread)
        begun = await journal.conversation(thread)
        assert begun
        assert begun.branch == "peerbot/x"
        run = await journal.newest_run(thread)
        assert run
        assert run.closed
        assert run.n == 2
        memory = await AgentsMemory.of(journal, thread)
        fenced = n > 2
        assert await memory.removed() is fenced
        assert (await memory.last_session() is None) is fenced
        await removed(storage, thread)
        assert storage.objects.keys() == end, counting.changes[n - 1]


async def test_a_message_at_any_moment_of_a_removal_is_answered_and_nothing_is_lost() -> None:
    """It comes before any change; the removal goes on beside it, and the next turn is the third."""
    thread, reference = conversation(), Memory()
    await talk(Journal(reference), thread, 2)
    whole, counting = dict(reference.objects), Mortal(reference)
    await removed(counting, thread)

    for n in range(1, len(counting.changes) + 1):
        storage = Memory()
        storage.objects = dict(whole)

        class Interrupted(Mortal):
            def _change(self, what: str) -> None:
                self.changes.append(what)

            async def delete(self, key: str) -> None:
                if len(self.changes) + 1 == n:  # noqa: B023
                    await turn(Journal(storage), thread, 3, YEAR_LATER)  # noqa: B023
                await super().delete(key)

            async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
                if len(self.changes) + 1 == n:  # noqa: B023
                    await turn(Journal(storage), thread, 3, YEAR_LATER)  # noqa: B023
                return await super().put_if_absent(key, data, new=new)

        await removed(Interrupted(storage), thread)
        journal = Journal(storage)
        assert await faults(storage, thread) == [], n
        assert await journal.turn_numbers(thread) == [3]
        assert await journal.next_turn(thread) == 4
        third = await journal.turn(thread, 3)
        assert third
        assert await journal.input(thread, third.inputs[0])
        assert await journal.session(thread, 3, 3) is not None
        newest = await journal.newest_run(thread)
        assert newest
        assert newest.n == 3


async def test_a_late_writer_below_the_fence_changes_nothing_and_the_next_prune_removes_it() -> None:
    storage, thread = Memory(), conversation()
    journal = Journal(storage)
    await talk(journal, thread, 2)
    second = await journal.turn(thread, 2)
    assert second
    await removed(storage, thread)
    clean = set(storage.objects)

    late = Journal(storage)
    assert await late.write_turn(thread, second)
    assert await late.write_session_part(thread, 2, 2, 9, b"late")
    reservation = Run(n=1, serves=[], secret_hash="", repository="", default_branch="", branch="", reserved_by="")
    assert await late.reserve(thread, reservation)

    assert await late.turn_numbers(thread) == []
    assert await late.next_turn(thread) == 3
    assert await faults(storage, thread) == []
    newest = await late.newest_run(thread)
    assert newest
    assert newest.n == 2
    await pruned(storage)
    assert set(storage.objects) == clean


async def test_two_at_once_come_to_the_same_end() -> None:
    storage, threads = Memory(), [conversation(n) for n in range(1, 9)]
    for each in threads:
        await talk(Journal(storage), each, 3)

    await asyncio.gather(pruned(storage), pruned(storage))

    assert not any("/inputs/" in key or "/sessions/" in key for key in storage.objects)
    for each in threads:
        assert await faults(storage, each) == []
        assert len([key for key in storage.objects if str(each) in key and key.endswith(".removed")]) == 1


async def test_a_conversation_that_began_again_is_removed_again() -> None:
    storage, thread = Memory(), conversation()
    await talk(Journal(storage), thread, 2)
    await removed(storage, thread)
    await turn(Journal(storage), thread, 3, YEAR_LATER)

    report = await pruned(storage)

    assert report.removed.conversations == 1
    assert sorted(key.rpartition("/")[2] for key in storage.objects if "/turns/" in key) == ["3.removed"]
    assert await Journal(storage).next_turn(thread) == 4
    assert await faults(storage, thread) == []


async def test_old_transcripts_of_a_conversation_that_goes_on_are_thinned() -> None:
    storage, thread = Memory(), conversation()
    journal = Journal(storage)
    await talk(journal, thread, 5, apart=timedelta(days=100))

    report = await pruned(storage, before=BEGAN + timedelta(days=350))

    left = sorted(key.partition("/sessions/")[2] for key in storage.objects if "/sessions/" in key)
    assert left == ["4/4/part-000001.json", "4/4/whole.json.gz", "5/5/part-000001.json", "5/5/whole.json.gz"]
    assert report.thinned.objects == 6
    assert report.removed.objects == 0
    assert await faults(storage, thread) == []
    retried = await AgentsMemory.of(journal, thread, 5)
    session = await retried.last_session()
    assert session
    assert await journal.session(thread, session.turn, session.run) is not None


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_journal_holds_nothing_with_a_marker_goes(data: st.DataObject) -> None:
    asyncio.run(_nothing_with_a_marker_goes(data))


async def _nothing_with_a_marker_goes(data: st.DataObject) -> None:
    storage = Memory()
    journal = Journal(storage)
    threads = [conversation(n) for n in range(1, data.draw(st.integers(1, 4)) + 1)]
    for each in threads:
        await talk(journal, each, data.draw(st.integers(0, 3)))
    for key in data.draw(st.lists(st.sampled_from(sorted(storage.objects)), max_size=3, unique=True)):
        await storage.delete(key)
    if data.draw(st.booleans()):
        await removed(storage, threads[0])
    marked = data.draw(st.lists(st.sampled_from(threads), unique=True))
    for each in marked:
        ts = f"{int(BEGAN.timestamp()) + data.draw(st.integers(0, 10**6))}.000{data.draw(st.integers(100, 999))}"
        item = Input(
            team=each.team, channel=each.channel, thread_ts=each.thread_ts, ts=ts, user="U1", text="", event_id=""
        )
        await journal.mark(item)
        if data.draw(st.booleans()):
            await journal.record(item)
    before = dict(storage.objects)
    fences = {key: None for key in before if key.endswith(".removed")}

    await pruned(storage)

    for key in before.keys() - storage.objects.keys():
        of_marked = [each for each in marked if str(each) in key]
        assert not of_marked or any(str(each) in fence for each in of_marked for fence in fences), key
        assert not key.startswith("pending/")
    for each in marked:
        inputs = [key for key in before if key.startswith(paths.inputs(each)) and paths.parse_input(key) in str(before)]
        waiting = [key for key in inputs if paths.marker(each, paths.parse_input(key)) in before]
        assert all(key in storage.objects for key in waiting)


async def test_forget_erases_every_conversation_in_which_the_person_spoke_and_leaves_a_receipt(tmp_path: Path) -> None:
    journal = Journal(await open_storage(tmp_path.as_uri()))
    theirs, others = conversation(1), conversation(2)
    await talk(journal, theirs, 2, user="UGRACE")
    await talk(journal, others, 2)
    await choices.choose(journal, "user", "T1-UGRACE", Choice(instructions=WORDS, chosen_by="UGRACE"))
    await choices.choose(journal, "user", "T1-UGRACE", Choice(instructions=WORDS * 2, chosen_by="UGRACE"))
    before = below(tmp_path)

    code, out, _ = await command(tmp_path, "forget", "--person", "UGRACE", "--asked-by", "ticket 7")
    assert (code, below(tmp_path)) == (0, before)
    assert "Add --yes" in out
    code, out, _ = await command(tmp_path, "forget", "--person", "UGRACE", "--asked-by", "ticket 7", "--yes")

    left = below(tmp_path)
    assert code == 0
    assert [key for key in left if str(others) in key] == [key for key in before if str(others) in key]
    texts = {key: (tmp_path / key).read_text(errors="replace") for key in left if str(others) not in key}
    assert not any(WORDS in text for text in texts.values())
    receipt = json.loads(next(text for key, text in texts.items() if key.startswith("forgotten/")))
    assert (receipt["asked_by"], receipt["inputs"], receipt["turns"]) == ("ticket 7", 2, 2)
    assert "UGRACE" not in json.dumps(receipt)
    assert next(key for key in left if key.startswith("forgotten/")) in out
    fresh = Journal(await open_storage(tmp_path.as_uri()))
    chosen = await choices.choice(fresh, "user", "T1-UGRACE")
    assert chosen
    assert chosen.instructions == ""
    assert [key for key in left if key.startswith("settings/")] == ["settings/user/T1-UGRACE/3.json"]
    assert (await command(tmp_path, "verify"))[0] == 0
    code, out, _ = await command(tmp_path, "forget", "--person", "UGRACE", "--asked-by", "ticket 7", "--yes", "--json")
    assert code == 0
    assert json.loads(out)["removed"]["objects"] == json.loads(out)["settings"] == 0
    await fresh.close()
    await journal.close()


async def test_forget_leaves_a_thread_in_which_somebody_waits_and_says_so(tmp_path: Path) -> None:
    journal = Journal(await open_storage(tmp_path.as_uri()))
    thread = conversation()
    await talk(journal, thread, 1)
    item = Input(
        team="T1", channel="C1", thread_ts=thread.thread_ts, ts=f"{int(BEGAN.timestamp()) + 9}.000001", user="U1",
        text="", event_id="",
    )  # fmt: skip
    await journal.mark(item)
    before = below(tmp_path)

    code, out, _ = await command(tmp_path, "forget", "--thread", str(thread), "--asked-by", "me", "--yes")

    assert code == 1
    assert f"Left for now: {thread}, because somebody waits for an answer." in out
    assert [key for key in below(tmp_path) if not key.startswith("forgotten/")] == before
    await journal.unmark(thread, item.id)
    code, _, _ = await command(tmp_path, "forget", "--thread", str(thread), "--asked-by", "me", "--yes")
    assert code == 0
    assert not any("/inputs/" in key for key in below(tmp_path))
    settings = OutsideSettings(peerbot_store=tmp_path.as_uri())
    assert (await verify(settings, lambda _: None)).good
    await journal.close()
