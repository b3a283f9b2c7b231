"""Every metric of the dispatcher, defined once. Parts import what they count from here, as they import logs.

No label names a person, a channel, a thread or a repository: a reader of the metrics learns how PeerBot is, and not
what people do with it. Each label has few values, and those that are known are there from the start, at 0, so that a
rate has a beginning. `make docs` makes `docs/metrics.md` from this module, and `make check` compares the two.

A counter is this process's own and begins again at 0 with it. What must outlive a process (turns, dollars) is in the
journal, too (`peerbot cost`).
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from peerbot import __version__
from peerbot.errors import PeerBotError, Refused

disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each counter, which no reader of ours needs

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, CPU and open files of the process, under their usual names

MOST_MODELS = 20
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as operators read about it. `labels`: the values that each label may have; none: they are not fixed."""

    name: str
    kind: str
    says: str
    labels: Mapping[str, Sequence[str]]


DEFINITIONS: list[Definition] = []
"""All metrics, in the order in which they are declared."""

_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200)


def _defined(name: str, kind: str, says: str, labels: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Note a definition; returns the label values that are there from the start."""
    DEFINITIONS.append(Definition(f"peerbot_{name}", kind, says, labels))
    return list(product(*labels.values())) if labels else []


def _counter(name: str, says: str, **labels: Sequence[str]) -> Counter:
    there = _defined(f"{name}_total", "counter", says, labels)
    made = Counter(f"peerbot_{name}", says, list(labels), registry=REGISTRY)
    for values in there:
        made.labels(*values)
    return made


def _gauge(name: str, says: str, **labels: Sequence[str]) -> Gauge:
    there = _defined(name, "gauge", says, labels)
    made = Gauge(f"peerbot_{name}", says, list(labels), registry=REGISTRY)
    for values in there:
        made.labels(*values)
    return made


def _histogram(name: str, says: str, buckets: Sequence[float], **labels: Sequence[str]) -> Histogram:
    there = _defined(name, "histogram", says, labels)
    made = Histogram(f"peerbot_{name}", says, list(labels), buckets=buckets, registry=REGISTRY)
    for values in there:
        made.labels(*values)
    return made


# What comes in

EVENT_KINDS = ("message", "change", "interaction", "other")
INPUT_KINDS = ("message", "edit", "delete", "stop", "answer", "choice")

events = _counter(
    "events",
    "What Slack sent, by kind and outcome. `recorded`: it is in the journal. `ignored`: a message that is not for us. "
    "`handled`: anything else that was acked. `late`: it took longer than two seconds, and went on without an ack. "
    "`failed`: it could not be handled, and got no ack.",
    kind=EVENT_KINDS,
    outcome=("recorded", "ignored", "handled", "late", "failed"),
)
ack_seconds = _histogram(
    "ack_seconds", "From an event's arrival to its ack, or to the decision that it gets none.", _CALL_SECONDS
)
record_seconds = _histogram(
    "record_seconds", "The time that it took to write the marker and the input of one message.", _CALL_SECONDS
)
inputs = _counter(
    "inputs",
    "Inputs that this process wrote into the journal: each once, however often Slack sends it.",
    kind=INPUT_KINDS,
)
inputs_waiting = _gauge(
    "inputs_waiting", "Inputs of all replicas that are not answered yet, or whose answer is not shown yet."
)
oldest_input_age_seconds = _gauge(
    "oldest_input_age_seconds",
    "The age of the oldest of them; 0 if there is none. The list is read once a minute, and the age grows in between.",
)
unrecorded = _gauge("inputs_unrecorded", "Messages that wait in memory until the journal takes them.")

# The line, and runs

RUN_ENDS = (
    *("finished", "never_started", "not_admitted", "crashed", "out_of_memory", "deadline", "hung", "evicted"),
    *("node_lost", "drained", "dispatcher_ended", "cut_off", "gone"),
)
line_place = _histogram(
    "line_place", "The place that a conversation got when it entered the line.", (1, 2, 3, 5, 10, 20, 50, 100)
)
line_length = _gauge("line_length", "Conversations that wait for a run, as far as this replica knows.")
runs = _gauge("runs", "Runs of all replicas that exist now, by state.", state=("starting", "running"))
runs_most = _gauge("runs_most", "How many runs there may be at once (`WORKER_MAX_CONCURRENT`).")
runs_reserved = _counter("runs_reserved", "Runs that this process reserved.")
run_start_seconds = _histogram(
    "run_start_seconds",
    "How long a step of a run's start took, since the step before. `reserved`: since its oldest message was written. "
    "`made`: the Job is made, or the process started. `scheduled`: its pod has a node. `container`: its image is "
    "there, and its container runs. (Only on Kubernetes, and seen by the replica that made the Job.) `called`: its "
    "worker has called, since the reservation. `cloned`: its git has fetched, since the call. `asked`: its first "
    "request to the model, since the call.",
    (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900),
    step=("reserved", "made", "scheduled", "container", "called", "cloned", "asked"),
)
run_ends = _counter(
    "run_ends", "Runs that this process closed, by why they ended (docs/operate.md has the words).", reason=RUN_ENDS
)

# Turns and answers

TURN_STATUSES = ("done", "failed", "refused", "stopped", "asks")
MODEL_OUTCOMES = ("ok", "refused", "limited", "failed", "broken", "not_allowed", "budget", "gone")
turns = _counter(
    "turns",
    "Turns that this process wrote. `refused`: by policy, without a run. `stopped`: somebody stopped it. `asks`: it "
    "ended with a question to people.",
    status=TURN_STATUSES,
)
turn_seconds = _histogram("turn_seconds", "How long a run worked on a turn.", _LONG_SECONDS, status=TURN_STATUSES)
turn_limit_seconds = _gauge("turn_limit_seconds", "How long a turn may take (`SESSION_TIMEOUT_MINUTES`).")
answers = _counter(
    "answers",
    "Answers, by what this process did. `posted`: all of it is in Slack. `again`: it claimed an answer that another "
    "poster had left. `let_go`: Slack will never take it.",
    outcome=("posted", "again", "let_go"),
)
answer_seconds = _histogram(
    "answer_seconds", "From a turn's oldest message to its answer in Slack: what a person waits.", _LONG_SECONDS
)
questions = _counter("questions", "What the agent asked people.", kind=("question", "plan"))
questions_settled = _counter(
    "questions_settled",
    "What became of it. `ended`: it expired, as its turn ended without an answer.",
    how=("answered", "stopped", "ended", "asked_again"),
)

# Money

tokens = _counter(
    "tokens",
    "Tokens, as Claude's replies count them. A model's name counts as `other` after the first 20.",
    model=(), kind=("input", "output", "cache_read", "cache_write"),
)  # fmt: skip
cost_dollars = _counter("cost_dollars", "What that cost at list prices, in US dollars.", model=())
searches = _counter("web_searches", "Web searches of Claude's servers.")
budget_refusals = _counter(
    "budget_refusals",
    "Requests to the model that a used-up budget refused, by whose budget it was.",
    scope=("turn", "thread", "person", "channel", "month"),
)
month_budget_dollars = _gauge(
    "month_budget_dollars", "The budget of everybody together for a month (`PEERBOT_MONTH_BUDGET_USD`); 0: none."
)
month_spent_dollars = _gauge(
    "month_spent_dollars",
    "What all replicas together have spent of it in this month. It is read once a minute, if there is such a budget.",
)

# What we call

slack_calls = _counter(
    "slack_calls",
    "Calls of Slack's Web API, by method and outcome. `refused`: Slack will not do it. `failed`: no answer in time, or "
    "an error of Slack's. `limited`: a 429. `dropped`: its turn did not come in time, and Slack was not asked.",
    method=(), outcome=("ok", "refused", "failed", "limited", "dropped"),
)  # fmt: skip
slack_call_seconds = _histogram(
    "slack_call_seconds", "How long Slack took for a call, whatever came of it.", _CALL_SECONDS, method=()
)
slack_wait_seconds = _histogram(
    "slack_wait_seconds",
    "How long a call waited for room in Slack's budgets, by how urgent it was.",
    (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 45, 90, 180, 300),
    urgency=("final", "first", "progress", "comfort", "background"),
)
slack_budget_left = _gauge(
    "slack_budget_left",
    "How many calls of a method this replica may make at once. Of posts, in the channel with the least room.",
    method=(),
)
slack_calls_waiting = _gauge("slack_calls_waiting", "Calls that wait for room in Slack's budgets.")
slack_sockets = _gauge("slack_sockets", "Open sockets to Slack. A replica has two; beyond the fifth replica, none.")
slack_gaps = _counter("slack_gaps", "Times in which no socket heard Slack. Its history was read afterwards.")
CALL_OUTCOMES = ("ok", "refused", "limited", "failed")
github_calls = _counter(
    "github_calls",
    "Requests to GitHub's REST API. `refused`: a status of 400 to 499 that is no `limited`. `failed`: no answer, or "
    "500 and above.",
    outcome=CALL_OUTCOMES,
)
github_call_seconds = _histogram("github_call_seconds", "How long such a request took.", _CALL_SECONDS)
github_budget_left = _gauge(
    "github_budget_left", "Requests that GitHub's rate limit still allows, as GitHub said last."
)
model_requests = _counter(
    "model_requests",
    "Requests of agents to the model. `refused`, `limited`, `failed`: Claude's API said so (400 to 499, 429, 500 and "
    "above). `broken`: no answer, or it broke off. `not_allowed`: the gateway does not pass such a request. `budget`: "
    "a budget is used up. `gone`: the agent did not wait for the end.",
    outcome=MODEL_OUTCOMES,
)
model_request_seconds = _histogram(
    "model_request_seconds",
    "From a request to the end of its reply.",
    (0.1, 0.5, *_LONG_SECONDS),
    outcome=MODEL_OUTCOMES,
)
STORE_OPERATIONS = ("create", "read", "list", "delete")
store_calls = _counter(
    "store_calls",
    "Calls of the journal's store, with their repetitions; of a list, each page.",
    operation=STORE_OPERATIONS,
    outcome=("ok", "refused", "failed"),
)
store_call_seconds = _histogram(
    "store_call_seconds", "How long such a call took.", _CALL_SECONDS, operation=STORE_OPERATIONS
)
git_bytes = _counter(
    "git_relay_bytes", "What the git relay passed on. `in`: to workers. `out`: to GitHub.", direction=("in", "out")
)
git_requests = _counter(
    "git_relay_requests", "Requests of workers' git, by outcome.", outcome=("ok", "refused", "failed")
)

# The process itself

event_loop_lag_seconds = _histogram(
    "event_loop_lag_seconds",
    "How much later than asked the event loop wakes a task. All that the dispatcher does waits for it.",
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
loop_restarts = _counter(
    "loop_restarts", "Loops that died of an error that nobody foresaw, and were started again.", loop=()
)
tasks_failed = _counter("tasks_failed", "Background tasks that failed. The log has `task_failed` with the reason.")
build_info = _gauge("build_info", "Always 1: the version of PeerBot, and of Python.", version=(), python=())
start_time_seconds = _gauge("start_time_seconds", "When the process started, in seconds since 1970.")

build_info.labels(__version__, ".".join(map(str, sys.version_info[:3]))).set(1)
start_time_seconds.set(time.time())

_models: set[str] = set()
_oldest: float | None = None  # when the oldest input was written that is not answered


def model_label(model: str) -> str:
    """Say under which name a model is counted: the label has few values, whatever an agent or a reply names."""
    if model not in _models and len(_models) >= MOST_MODELS:
        return OTHER
    _models.add(model)
    return model


def waiting(written_at: Sequence[float]) -> None:
    """Learn when the inputs were written that are not answered, in seconds since 1970."""
    global _oldest  # noqa: PLW0603 - as every metric of the process
    inputs_waiting.set(len(written_at))
    _oldest = min(written_at, default=None)


def _oldest_age() -> float:
    return max(0.0, time.time() - _oldest) if _oldest is not None else 0.0


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe how long the block took, however it ends."""
    began = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - began)


@contextmanager
def called(calls: Counter, seconds: Histogram, *labels: str) -> Iterator[None]:
    """Count a call by its outcome, and observe its time. A call that is cancelled counts as no call."""
    began, outcome = time.perf_counter(), "ok"
    try:
        yield
    except PeerBotError as error:
        outcome = "refused" if isinstance(error, Refused) else "failed"
        raise
    except BaseException:
        outcome = ""
        raise
    finally:
        if outcome:
            calls.labels(*labels, outcome).inc()
            (seconds.labels(*labels) if labels else seconds).observe(time.perf_counter() - began)


oldest_input_age_seconds.set_function(_oldest_age)


def exposition() -> bytes:
    """Write all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
