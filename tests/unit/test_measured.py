"""The metrics' definitions: named as Prometheus' users expect, with the values that the code has, and few of them."""

import asyncio
import re
from typing import get_args

from peerbot import metrics, tasks
from peerbot.conversation.documents import Input, TurnStatus
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.limits import Scope
from peerbot.conversation.questions import End
from peerbot.metrics import DEFINITIONS
from peerbot.runs.port import Phase
from peerbot.slack.lanes import Urgency

UNITS = ("_seconds", "_bytes", "_dollars", "_total")
PLAIN = ("inputs_waiting", "inputs_unrecorded", "line_place", "line_length", "runs", "runs_most", "slack_budget_left")
OTHERS = ("slack_calls_waiting", "slack_sockets", "github_budget_left", "build_info")


def values(name: str, label: str) -> set[str]:
    """The values that a label is said to have."""
    (found,) = [each for each in DEFINITIONS if each.name == f"peerbot_{name}"]
    return set(found.labels[label])


def value_of(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"peerbot_{name}", labels) or 0.0


def test_each_name_has_its_unit_and_each_counter_its_ending() -> None:
    for each in DEFINITIONS:
        plain = each.name.removeprefix("peerbot_")
        assert re.fullmatch(r"peerbot_[a-z_]+", each.name)
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert each.name.endswith(UNITS) or plain in PLAIN + OTHERS, each.name
        assert len(each.labels) <= 2
        assert each.says.endswith(".")


def test_the_values_of_labels_are_those_that_the_code_has() -> None:
    kinds = get_args(Input.model_fields["kind"].annotation)

    assert values("inputs_total", "kind") == set(kinds)
    assert values("run_ends_total", "reason") == set(RunEnd)
    assert values("turns_total", "status") == {*TurnStatus, "stopped", "asks"}
    assert values("questions_settled_total", "how") == set(get_args(End))
    assert values("budget_refusals_total", "scope") == set(Scope)
    assert values("runs", "state") == set(Phase) - {Phase.ENDED}
    assert values("slack_wait_seconds", "urgency") == {urgency.name.lower() for urgency in Urgency}


def test_what_can_be_counted_is_there_at_zero_from_the_start() -> None:
    page = metrics.exposition().decode()

    assert 'peerbot_answers_total{outcome="let_go"}' in page
    assert 'peerbot_run_ends_total{reason="node_lost"}' in page


def test_an_agent_that_names_a_thousand_models_makes_no_thousand_series() -> None:
    labels = {metrics.model_label(f"model-{i}") for i in range(1000)}

    assert len(labels) <= metrics.MOST_MODELS + 1
    assert metrics.OTHER in labels


def test_the_oldest_input_ages_by_itself_and_none_has_no_age() -> None:
    metrics.waiting([])
    assert value_of("oldest_input_age_seconds") == 0
    metrics.waiting([1_000.0, 2_000.0])
    assert value_of("oldest_input_age_seconds") > 1_000_000
    assert value_of("inputs_waiting") == 2
    metrics.waiting([])


async def test_a_loop_that_dies_starts_again_and_is_counted() -> None:
    before, began = value_of("loop_restarts_total", loop="test"), 0

    async def loop() -> None:
        nonlocal began
        began += 1
        if began == 1:
            raise KeyError("an odd answer")

    async with asyncio.timeout(5):
        await tasks.kept("test", loop)

    assert began == 2
    assert value_of("loop_restarts_total", loop="test") - before == 1


async def test_a_loop_that_is_cancelled_ends() -> None:
    owner, began = tasks.Tasks(), asyncio.Event()

    async def loop() -> None:
        began.set()
        await asyncio.Event().wait()

    kept = owner.keep("test", loop)
    await began.wait()
    await owner.close(0)

    assert kept.cancelled()
