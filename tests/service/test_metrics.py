"""The metrics are true: a real Prometheus reads them, and they say what an outsider counts."""

import asyncio
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus import NEEDS_PROMETHEUS, Prometheus, alerts, check_metrics, page, ports, queries, samples, summed
from system import System, below, eventually

from peerbot.conversation.deadlines import SWEEP_SECONDS
from peerbot.conversation.ends import RunEnd
from peerbot.metrics import DEFINITIONS
from peerbot.web.metrics import APART_SECONDS, FRESH_SECONDS

LONG = "run `touch begun.txt; sleep 120`"
ASK = "ask me which colour"


def documents(system: System, name: str) -> list[dict[str, Any]]:
    """The journal's documents of a kind, read as files: `inputs/*.json`."""
    folder, _, pattern = name.partition("/")
    found = below(system.directory / "journal" / "conversations", pattern)
    return [json.loads(file.read_bytes()) for file in found if file.parent.name == folder]


@NEEDS_PROMETHEUS
@pytest.mark.timeout(300)
async def test_a_real_prometheus_finds_a_series_for_each_query_of_the_dashboard_and_the_alerts(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_MONTH_BUDGET_USD": "100"}) as system:
        await system.start()
        async with Prometheus(tmp_path / "prometheus", *await ports(system)) as prometheus:
            await system.ask("hello")
            asked = queries("1m")
            asked |= {
                f"{name}, {i}": side
                for name, rule in alerts().items()
                for i, side in enumerate(re.split(r" (?:>|==) ", " ".join(rule.split()).removeprefix("absent")))
            }
            for title, query in asked.items():
                found = await prometheus.until(query, bool, 10)
                assert found, title
            for name, rule in alerts().items():
                assert await prometheus.query(rule) == [], f"{name} fires, and all is well"
        assert check_metrics(await page((await ports(system))[0])) == ""


@pytest.mark.timeout(300)
async def test_two_dispatchers_together_count_what_the_journal_slack_and_the_model_have(tmp_path: Path) -> None:
    """Events come twice and to either of two dispatchers, a worker is killed, people ask, answer and stop."""
    async with System(tmp_path) as system:
        await system.start()
        await system.start()
        system.slack.faults.duplicate_events = True
        said = [await system.say(text) for text in ("hello", "run `echo one`", LONG, ASK)]
        system.slack.redeliver(system.slack.general, said[0][1].partition("-")[0])
        await eventually(lambda: system.work_file("begun.txt"), 90)
        system.kill_workers()
        await eventually(lambda: len(system.logged("run_died")) > 0, 60)
        system.slack.faults.duplicate_events = False
        await eventually(lambda: documents(system, "1/1.posted"), 90)  # an answer is what comes after it
        await system.say("blue", thread=said[3][0], mention=False)
        for conversation, identity in (said[0], said[1], said[3]):
            await system.answer(conversation, identity)
        await system.say("stop", thread=said[2][0], mention=False)
        await system.answer(*said[2])
        for conversation, _ in said:
            await system.settled(conversation)
        await eventually(lambda: len(documents(system, "runs/*.json")) == len(documents(system, "runs/*.closed")), 60)
        pages = [samples(await page(port)) for port in await ports(system)]

        def counted(name: str, label: str) -> dict[str, int]:
            found = {
                value for each in pages for (n, labels) in each if n == name for key, value in labels if key == label
            }
            sums = {value: int(summed(pages, name, **{label: value})) for value in found}
            return {value: number for value, number in sums.items() if number}

        inputs = Counter(document["kind"] for document in documents(system, "inputs/*.json"))
        ends = Counter(document["reason"] for document in documents(system, "runs/*.closed"))
        turns = documents(system, "turns/*.json")
        assert counted("peerbot_inputs_total", "kind") == inputs
        assert inputs == {"message": 5, "stop": 1}
        assert summed(pages, "peerbot_runs_reserved_total") == len(documents(system, "runs/*.json"))
        assert counted("peerbot_run_ends_total", "reason") == ends
        assert ends[RunEnd.CRASHED] >= 1
        assert sum(counted("peerbot_turns_total", "status").values()) == len(turns)
        assert counted("peerbot_turns_total", "status")["stopped"] == 1
        assert counted("peerbot_answers_total", "outcome") == {"posted": len(documents(system, "turns/*.posted"))}
        assert summed(pages, "peerbot_questions_total") == 1
        assert counted("peerbot_questions_settled_total", "how") == {"answered": 1}
        # Slack's own list of the calls that it got. The SDK opens sockets past us.
        calls = Counter(call.method for call in system.slack.calls if call.method != "apps.connections.open")
        ours = counted("peerbot_slack_calls_total", "method")
        ours.pop("apps.connections.open")
        assert calls == ours
        assert summed(pages, "peerbot_events_total", outcome="recorded") > 5, "each came at least twice"
        assert summed(pages, "peerbot_model_requests_total") >= system.model.requests
        # Money, as the turns have it
        spent = [each for turn in turns for each in turn["spent"]]
        assert summed(pages, "peerbot_cost_dollars_total") == pytest.approx(sum(each["usd"] for each in spent))
        for kind in ("input", "output", "cache_read", "cache_write"):
            assert summed(pages, "peerbot_tokens_total", kind=kind) == sum(each[kind] for each in spent)


@pytest.mark.timeout(120)
async def test_no_label_or_value_names_anybody(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        turn = await system.ask("say heliotrope")
        conversation = Path(
            next(iter(below(system.directory / "journal" / "conversations", "conversation.json")))
        ).parent
        text = await page((await ports(system))[0])
        user, (owner, _, name) = system.slack.person, str(turn.repository).partition("/")

        assert "peerbot_turns_total" in text
        names = (f"{owner}/", name)
        for secret in (
            user,
            "Ada",
            system.slack.team,
            system.slack.general,
            conversation.name,
            *names,
            "heliotrope",
        ):
            assert secret not in text, secret
        assert {label for (_, labels) in samples(text) for label, _ in labels} <= {
            "le", *(label for each in DEFINITIONS for label in each.labels)
        }  # fmt: skip


@pytest.mark.timeout(120)
async def test_whoever_asks_again_and_again_waits_and_gets_the_same_page(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        (port,) = await ports(system)
        began = time.monotonic()
        pages = [text for _ in range(5) for text in await asyncio.gather(*(page(port) for _ in range(5)))]
        seconds = time.monotonic() - began

        assert seconds >= len(pages) * APART_SECONDS * 0.9
        assert len(set(pages)) <= seconds / FRESH_SECONDS + 2, "the process's CPU time would differ in each"


@pytest.mark.timeout(300)
async def test_what_waits_is_measured_and_is_no_longer_when_it_is_answered(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1"}) as system:
        await system.start()
        (port,) = await ports(system)
        first, second = await system.say(LONG), await system.say("hello")
        found: Any = {}

        async def measured(name: str, wanted: float) -> None:
            async with asyncio.timeout(2 * SWEEP_SECONDS + 20):
                while True:
                    found.update(samples(await page(port)))
                    if summed([found], name) == wanted:
                        return
                    await asyncio.sleep(0.2)

        await measured("peerbot_line_length", 1)
        await measured("peerbot_inputs_waiting", 2)
        assert summed([found], "peerbot_oldest_input_age_seconds") > 0
        assert summed([found], "peerbot_line_place_count") == 1
        await measured("peerbot_runs", 1)
        await system.say("stop", thread=first[0], mention=False)
        await system.answer(*second)
        await measured("peerbot_line_length", 0)
