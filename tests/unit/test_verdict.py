"""The verdict on a run, from Kubernetes' objects with statuses as kubelet, scheduler and Job controller write them."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from lightkube.core.schema import DictMixin
from lightkube.models.core_v1 import Container
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod

from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs.verdict import Seen, judge, visible_state
from peerbot.runs.port import NOT_ASKED, Phase, RunState

K = TypeVar("K", bound=DictMixin)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CONVERSATION = Conversation("T01", "C01", "1795489988.273013")


def time(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def made(kind: type[K], document: dict[str, Any]) -> K:
    thing = kind.from_dict(document)
    assert isinstance(thing, kind)
    return thing


def job(*, age: float = 5.0, condition: dict[str, str] | None = None) -> Job:
    status = {"conditions": [{"status": "True", **condition}]} if condition else {}
    metadata = {"name": "claude-worker-x-1", "uid": "1", "creationTimestamp": time(-age)}
    return made(Job, {"metadata": metadata, "status": status})


def pod(status: dict[str, Any], *, deleted: float | None = None) -> Pod:
    metadata = {"name": "claude-worker-x-1-abcde", "uid": "2"}
    requests = {"cpu": "2000m", "memory": "4Gi"}
    spec = {"containers": [{"name": "worker", "resources": {"requests": requests}}]}
    metadata |= {"deletionTimestamp": time(deleted)} if deleted else {}
    return made(Pod, {"metadata": metadata, "spec": spec, "status": status})


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "containerStatuses": [
            {"name": "worker", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        ]
    }


def terminated(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {
        "phase": "Failed" if code else "Succeeded",
        **container({"terminated": {"exitCode": code, "reason": reason, "message": message}}),
    }


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def verdict(job: Job, *pods: Pod, events: list[Event] | None = None, orphaned: bool = False) -> RunState:
    return judge(CONVERSATION, 1, Seen(job, pods, events or [], orphaned=orphaned), NOW)


@pytest.mark.parametrize(
    ("status", "end", "said", "detail"),
    [
        (terminated(0, "Completed"), RunEnd.FINISHED, "", "exit code 0"),
        (terminated(75), RunEnd.CUT_OFF, "", "exit code 75"),
        (terminated(143), RunEnd.CRASHED, NOT_ASKED, "exit code 143"),
        (terminated(1, message="Traceback …"), RunEnd.CRASHED, "", "Traceback …"),
        (terminated(137, "OOMKilled"), RunEnd.OUT_OF_MEMORY, "", "OOMKilled"),
        (terminated(128, "StartError"), RunEnd.CRASHED, "its program could not be started", "StartError"),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. Threshold…"},
            RunEnd.EVICTED,
            "it used too much memory for its node",
            "low on resource",
        ),
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
                **disrupted("TerminationByKubelet", "Pod ephemeral local storage usage exceeds…"),
            },
            RunEnd.EVICTED,
            "it used too much disk for its node",
            "ephemeral",
        ),
        (
            {**terminated(0, "Completed"), **disrupted("EvictionByEvictionAPI", "Eviction API: evicting")},
            RunEnd.EVICTED,
            "its node is being emptied",
            "Eviction API",
        ),
        (
            {**terminated(143), **disrupted("PreemptionByScheduler", "default-scheduler: preempting")},
            RunEnd.EVICTED,
            "it had to make room for something more important",
            "preempting",
        ),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, RunEnd.DEADLINE, "", "DeadlineExceeded"),
        ({"phase": "Failed", "reason": "NodeShutdown"}, RunEnd.NODE_LOST, "its node went away", "NodeShutdown"),
        ({"phase": "Failed"}, RunEnd.NEVER_STARTED, "", "no container has run"),
    ],
)
def test_a_pod_that_ended_says_why(status: dict[str, Any], end: RunEnd, said: str, detail: str) -> None:
    state = verdict(job(), pod(status))
    assert (state.phase, state.end, state.said) == (Phase.ENDED, end, said)
    assert detail in state.detail


@pytest.mark.parametrize("code", [143, 137])
def test_a_worker_whose_pod_somebody_deleted_was_asked_to_end(code: int) -> None:
    """It is killed if it takes too long. An agent that sends its supervisor a signal deletes no pod."""
    asked = verdict(job(), pod(terminated(code), deleted=-1))
    assert (asked.end, asked.said, asked.by_signal) == (RunEnd.DRAINED, "", False)
    unasked = verdict(job(), pod(terminated(code)))
    assert (unasked.end, unasked.by_signal) == (RunEnd.CRASHED, True)


def test_a_worker_whose_pod_was_deleted_after_it_had_crashed_has_crashed() -> None:
    assert verdict(job(), pod(terminated(1), deleted=-1)).end is RunEnd.CRASHED


def test_a_pod_that_kubernetes_deletes_for_its_deadline_was_not_asked_by_anybody() -> None:
    late = {"type": "FailureTarget", "reason": "DeadlineExceeded", "message": "Job was active longer than…"}
    state = verdict(job(condition=late), pod(terminated(143), deleted=-1))
    assert (state.end, state.by_signal) == (RunEnd.DEADLINE, False)


@pytest.mark.parametrize(("code", "by_signal"), [(1, False), (139, True), (124, True)])
def test_only_an_end_that_may_come_from_a_signal_counts_as_one(code: int, by_signal: bool) -> None:
    state = verdict(job(), pod(terminated(code)))
    assert state.end
    assert (state.end.died_of_itself, state.by_signal) == (True, by_signal)


@pytest.mark.parametrize(
    ("condition", "end"),
    [
        ({"type": "Complete", "reason": "CompletionsReached"}, RunEnd.FINISHED),
        ({"type": "Failed", "reason": "DeadlineExceeded", "message": "Job was active longer than…"}, RunEnd.DEADLINE),
        (
            {
                "type": "Failed",
                "reason": "PodFailurePolicy",
                "message": "Pod ns/x-abc has condition DisruptionTarget matching FailJob rule at index 0",
            },
            RunEnd.EVICTED,
        ),
        (
            {
                "type": "Failed",
                "reason": "PodFailurePolicy",
                "message": "Container worker for pod ns/x failed with exit code 137 matching FailJob rule at index 1",
            },
            RunEnd.OUT_OF_MEMORY,
        ),
        (
            {
                "type": "FailureTarget",
                "reason": "PodFailurePolicy",
                "message": "Container worker for pod ns/x failed with exit code 75 matching FailJob rule at index 1",
            },
            RunEnd.CUT_OFF,
        ),
        (
            {
                "type": "Failed",
                "reason": "PodFailurePolicy",
                "message": "Container worker for pod ns/x failed with exit code 143 matching FailJob rule at index 1",
            },
            RunEnd.DRAINED,
        ),
        ({"type": "Failed", "reason": "BackoffLimitExceeded", "message": "Job has reached…"}, RunEnd.GONE),
    ],
)
def test_a_job_whose_pod_is_gone_still_says_why(condition: dict[str, str], end: RunEnd) -> None:
    assert verdict(job(condition=condition)).end is end


@pytest.mark.parametrize(("code", "end"), [(0, RunEnd.FINISHED), (75, RunEnd.CUT_OFF), (1, RunEnd.CRASHED)])
def test_a_run_has_ended_when_its_worker_has_whatever_runs_on_beside_it(code: int, end: RunEnd) -> None:
    """A service mesh's sidecar that Kubernetes does not end: the pod runs on, and its Job, too."""
    sidecar = {"name": "istio-proxy", "image": "x", "imageID": "", "ready": True, "restartCount": 0}
    status = {**terminated(code), "phase": "Running"}
    status["containerStatuses"].insert(0, {**sidecar, "state": {"running": {"startedAt": time(-60)}}})
    state = verdict(job(age=90), pod(status))
    assert (state.phase, state.end) == (Phase.ENDED, end)
    assert f"exit code {code}" in state.detail


def beside(state: dict[str, Any], *, started: bool = False, last: dict[str, Any] | None = None) -> Pod:
    """Make a pod whose worker waits for a service."""
    service = {"name": "db", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "started": started}
    status = {
        "phase": "Pending",
        "initContainerStatuses": [{**service, "state": state, **({"lastState": last} if last else {})}],
        **container({"waiting": {"reason": "PodInitializing"}}),
    }
    made_pod = pod(status)
    assert made_pod.spec
    made_pod.spec.initContainers = [Container(name="db", restartPolicy="Always")]
    return made_pod


def test_a_worker_that_waits_for_a_service_says_which_and_why() -> None:
    unknown = beside({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off…"}})
    assert verdict(job(age=10), unknown).said == ""
    assert verdict(job(age=31), unknown).said == "the image of its service db can't be pulled"

    over_and_over = {"terminated": {"exitCode": 1, "message": "no space for the database"}}
    crashing = beside({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, last=over_and_over)
    state = verdict(job(age=20), crashing)
    assert state.said == "its service db does not start"
    assert "exit code 1: no space for the database" in state.detail

    slow = beside({"running": {"startedAt": time(-60)}})
    assert verdict(job(age=30), slow).said == ""
    assert verdict(job(age=60), slow).said == "its service db is not ready"
    assert verdict(job(age=901), slow).end is RunEnd.NOT_ADMITTED

    up = beside({"running": {"startedAt": time(-60)}}, started=True)
    assert verdict(job(age=30), up).said == ""


def test_a_change_of_a_service_is_a_change_of_the_run() -> None:
    creating, failing = (beside({"waiting": {"reason": why}}) for why in ("PodInitializing", "CrashLoopBackOff"))
    assert visible_state(creating) != visible_state(failing)


def test_a_pod_whose_node_is_lost_is_given_up_when_its_time_to_end_is_over() -> None:
    status = {"phase": "Running", **container({"running": {"startedAt": time(-60)}})}
    lost = status | disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    assert verdict(job(age=90), pod(lost, deleted=20)).phase is Phase.RUNNING
    assert verdict(job(age=90), pod(lost, deleted=-1)).end is RunEnd.NODE_LOST
    assert verdict(job(age=90), pod(status, deleted=-1)).phase is Phase.RUNNING  # somebody deleted it; it may still end


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "0/3 nodes are available: 2 Insufficient cpu, 1 Insufficient memory. preemption: …",
            "no node has enough CPU and memory free (it asks for 2000m CPU and 4Gi)",
        ),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", "no node is of the kind"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s).", "no node takes it at the moment"),
        ("no nodes available to schedule pods", "there is no node for it"),
    ],
)
def test_a_pod_without_a_node_says_what_is_missing(message: str, said: str) -> None:
    state = verdict(job(), pod(unscheduled(message)))
    assert (state.phase, state.said.startswith(said)) == (Phase.STARTING, True)
    assert message in state.detail


def test_nothing_waits_for_ever() -> None:
    late = verdict(job(age=901), pod(unscheduled("0/1 nodes are available: 1 Insufficient cpu.")))
    assert (late.phase, late.end) == (Phase.ENDED, RunEnd.NOT_ADMITTED)
    assert "CPU" in late.said


def test_an_image_that_cannot_be_pulled_is_told_after_half_a_minute() -> None:
    waiting = pod(
        {"phase": "Pending", **container({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off…"}})}
    )
    assert verdict(job(age=10), waiting).said == ""
    assert verdict(job(age=31), waiting).said == "its image can't be pulled"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            'Error creating: pods "x" is forbidden: exceeded quota: team, requested: requests.cpu=2, used: …',
            "the namespace's quota is used up (CPU)",
        ),
        (
            'pods "x" is forbidden: exceeded quota: team, requested: limits.memory=8Gi,requests.cpu=2, '
            "used: limits.memory=9Gi,requests.cpu=3, limited: limits.memory=16Gi,requests.cpu=4",
            "the namespace's quota is used up (team: at most 16Gi memory, 4 CPU)",
        ),
        (
            'pods "x" is forbidden: failed quota: team: must specify limits.cpu for: worker; limits.memory for: worker',
            "the namespace's quota team wants values that it has not: limits.cpu",
        ),
        (
            'pods "x" is forbidden: [maximum cpu usage per Container is 2, but limit is 4, minimum memory usage per '
            "Pod is 1Gi, but request is 536870912]",
            "the namespace's LimitRange does not allow it: at most 2 CPU for a container (it asks for 4); "
            "at least 1Gi memory for a pod (it asks for 536870912)",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 2Gi.  No limit is specified',
            "the namespace's LimitRange does not allow it: at most 2Gi memory for a container (it has no limit)",
        ),
        (
            'pods "x" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000',
            "the namespace's LimitRange does not allow it: a container's limit of CPU is at most 2 times its request",
        ),
        (
            'Error creating: admission webhook "policy.example.com" denied the request: no images from there',
            "a rule of the cluster does not admit it",
        ),
        (
            'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": …',
            "a rule of the cluster does not admit it",
        ),
    ],
)
def test_a_job_that_gets_no_pod_says_why(message: str, said: str) -> None:
    event = made(
        Event,
        {
            "metadata": {"name": "e"},
            "involvedObject": {},
            "reason": "FailedCreate",
            "type": "Warning",
            "message": message,
        },
    )
    assert verdict(job(), events=[event]).said == said


def test_a_job_whose_dispatcher_died_before_it_released_it_never_starts() -> None:
    assert verdict(job(), orphaned=True).end is RunEnd.NEVER_STARTED


def test_a_run_that_begins_as_it_should_has_nothing_to_say() -> None:
    creating = pod({"phase": "Pending", **container({"waiting": {"reason": "ContainerCreating"}})})
    running = pod({"phase": "Running", **container({"running": {"startedAt": time(-1)}})})
    assert [verdict(job()).said, verdict(job(), creating).said, verdict(job(), running).said] == ["", "", ""]
    assert verdict(job(), running).phase is Phase.RUNNING


@pytest.mark.parametrize("minutes", [-1, 1])
def test_clocks_that_are_a_minute_apart_change_no_verdict(minutes: int) -> None:
    """The API server's stamps against ours: what runs runs, and what waits waits."""
    now = NOW + timedelta(minutes=minutes)
    seen = Seen(job(age=5), [pod({"phase": "Running", **container({"running": {}})})])
    assert judge(CONVERSATION, 1, seen, now).phase is Phase.RUNNING
    seen = Seen(job(age=600), [pod(unscheduled("0/1 nodes are available: 1 Insufficient cpu."))])
    assert judge(CONVERSATION, 1, seen, now).phase is Phase.STARTING
    seen = Seen(job(age=1000), [pod(unscheduled("0/1 nodes are available: 1 Insufficient cpu."))])
    assert judge(CONVERSATION, 1, seen, now).end is RunEnd.NOT_ADMITTED
