"""`peerbot cost`: what work has cost, read from a journal from outside, with the merged pull requests of GitHub."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from system import System

from peerbot.conversation.documents import Input, PullRequest, Slice, Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.conversation.spent import Spent
from peerbot.costs.app import cost
from peerbot.costs.report import By
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.outside import OutsideSettings

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)


async def command(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", "cost", *arguments, stdout=-1, stderr=-1, env=environment
    )
    out, error = await process.communicate()
    return int(process.returncode or 0), out.decode(), error.decode()


async def test_it_says_by_whom_money_was_spent_and_how_much_for_each_merged_pull_request(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        first = await system.ask(SCRIPT)
        second = await system.ask(SCRIPT, user=system.add_person("UGRACE", "Grace"))
        assert first.pull_request
        assert first.repository
        assert second.cost_usd
        assert first.cost_usd
        await system.github.merge(first.repository, first.pull_request.number)

        code, out, error = await command(system.environment, "--by", "person", "--json")
        assert (code, error) == (0, "")
        report = json.loads(out)
        team = system.slack.team
        rows = {row["name"]: row for row in report["rows"]}
        assert set(rows) == {f"{team}/{system.slack.person}", f"{team}/UGRACE"}
        ours = rows[f"{team}/{system.slack.person}"]
        assert ours["usd"] == pytest.approx(first.cost_usd)
        assert (ours["turns"], ours["pull_requests"], ours["merged"]) == (1, 1, 1)
        assert ours["usd_per_merged"] == pytest.approx(first.cost_usd)
        assert rows[f"{team}/UGRACE"]["merged"] == 0
        assert rows[f"{team}/UGRACE"]["usd_per_merged"] is None
        total = report["total"]
        assert total["usd"] == pytest.approx(first.cost_usd + second.cost_usd)
        assert total["usd_per_merged"] == pytest.approx(total["usd"])
        assert report["models"]

        code, out, _ = await command(system.environment, "--by", "repository", "--no-github")
        assert code == 0
        head, *lines = out.splitlines()
        assert head.split()[:3] == ["repository", "turns", "dollars"]
        assert lines[0].startswith("peerbot-community/user-")
        assert lines[-1].split()[0] == "total"
        assert " ? " in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "yesterday is not a day. Write it as 2026-11-01"),
        (["--by", "mood"], "invalid choice"),
        (["--store", "file:///nowhere/at/all"], "There is no journal at file:///nowhere/at/all"),
    ],
)
async def test_wrong_use_is_told(arguments: list[str], said: str) -> None:
    code, out, error = await command({}, *arguments)
    assert (code, out) == (2, "")
    assert said in error


# On journals that nobody spoke in


@pytest.fixture
async def journal(tmp_path: Path) -> Any:
    journal = Journal(await open_storage((tmp_path / "journal").as_uri()))
    yield journal
    await journal.close()


async def write(
    journal: Journal, n: int, k: int = 1, *, channel: str = "C1", at: datetime = NOVEMBER, user: str = "U1", **more: Any
) -> Conversation:
    conversation = Conversation("T1", channel, f"{int(at.timestamp()) - 60}.{n:06}")
    where = {"team": "T1", "channel": channel, "thread_ts": conversation.thread_ts}
    item = Input(**where, ts=f"{int(at.timestamp()) - 30}.{k:06}", user="U9", text="", event_id="E")
    await journal.record(item)
    await journal.create(paths.slice_document(conversation, k, 1), Slice(run=1, usd=0.5, user=user))
    values = {"cost_usd": 1.0, "spent": [Spent(model="opus", usd=1.0, input=10, cache_read=5, output=2)]} | more
    turn = Turn(k=k, run=1, inputs=[item.id], status=TurnStatus.DONE, text="", ended_at=at, **values)
    await journal.write_turn(conversation, turn)
    return conversation


def settings(tmp_path: Path, **values: Any) -> OutsideSettings:
    return OutsideSettings(peerbot_store=(tmp_path / "journal").as_uri(), **values)


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (By.MONTH, {"2026-10": 1, "2026-11": 2}),
        (By.CHANNEL, {"T1/C1": 2, "T1/C2": 1}),
        (By.PERSON, {"T1/U1": 2, "T1/U2": 1}),
        (By.REPOSITORY, {"acme/a": 1, "(none)": 2}),
    ],
)
async def test_each_kind_of_row_has_what_belongs_to_it(
    journal: Journal, tmp_path: Path, by: By, rows: dict[str, int]
) -> None:
    await write(journal, 1, at=datetime(2026, 10, 31, 23, 59, tzinfo=UTC), repository="acme/a")
    await write(journal, 2, channel="C2")
    await write(journal, 3, user="U2")
    report = await cost(settings(tmp_path), print, by=by, github=False)
    assert {row.name: row.turns for row in report.rows} == rows
    assert (report.total.usd, report.total.tokens_read, report.total.tokens_written) == (3, 45, 6)
    assert [(each.model, each.requests) for each in report.models] == [("opus", 3)]


async def test_only_turns_since_that_day_count_and_old_conversations_are_not_read(
    journal: Journal, tmp_path: Path
) -> None:
    old = await write(journal, 1, at=NOVEMBER - timedelta(days=100))
    (tmp_path / "journal" / paths.turn_document(old, 1)).write_text("damaged, and nobody looks")
    await write(journal, 2, at=NOVEMBER - timedelta(seconds=1))
    await write(journal, 3)
    report = await cost(settings(tmp_path), print, by=By.MONTH, since=NOVEMBER, github=False)
    assert report.total.turns == 1
    assert report.notes == []


async def test_what_the_figures_leave_out_is_said(journal: Journal, tmp_path: Path) -> None:
    damaged = await write(journal, 1)
    (tmp_path / "journal" / paths.turn_document(damaged, 1)).write_text("damaged")
    await write(journal, 2, spent=[])  # of a release that did not count itself
    pull = PullRequest(number=1, url="https://example.org/1")
    await write(journal, 3, repository="acme/a", pull_request=pull)
    report = await cost(settings(tmp_path), print, by=By.MONTH)
    assert report.total.turns == 2
    assert report.total.usd == 2
    assert (report.total.pull_requests, report.total.merged) == (1, None)
    assert [note.split(" ")[0] for note in report.notes] == ["1", "GITHUB_TOKEN", "1"]
    assert all(note in report.text() for note in report.notes)

    away = settings(tmp_path, github_token="ghp_x", github_api_url="http://127.0.0.1:9")
    report = await cost(away, print, by=By.MONTH)
    assert report.total.merged is None
    assert "GitHub did not answer" in report.text()


async def test_it_shows_how_far_it_is_and_holds_few_turns_at_once(journal: Journal, tmp_path: Path) -> None:
    for n in range(300):
        await write(journal, n + 1)
    said: list[str] = []
    report = await cost(settings(tmp_path), said.append, by=By.CHANNEL, github=False, quiet_seconds=0)
    assert report.total.turns == 300
    assert len(said) == 300
    assert said[100] == said[100].strip()
    assert int(said[100].split()[0]) <= 101 + 2 * 16, "conversations that are read ahead"
    quiet: list[str] = []
    await cost(settings(tmp_path), quiet.append, by=By.CHANNEL, github=False)
    assert quiet == []
