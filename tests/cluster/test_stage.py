"""A staged node: the scheduler, the Job controller and the node's life are real, only the pods are played."""

from control_plane import ControlPlane
from lightkube.models.core_v1 import Toleration
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import CascadeType
from pods import (
    POD_SECONDS,
    gone,
    job,
    job_status,
    metadata,
    name_of,
    node_of,
    phase,
    pod_spec,
    terminated,
    wait_for_pod,
)
from programs import until
from stage import StagedNode


def test_a_job_ends_as_its_pod_does(control_plane: ControlPlane, namespace: str, stage: StagedNode) -> None:
    client = control_plane.client
    for name in ("good", "bad"):
        client.create(job(name, pod_spec("none")), namespace=namespace)
    for name, code, reason in (("good", 0, None), ("bad", 137, "OOMKilled")):
        pod = wait_for_pod(client, namespace, name, lambda pod: node_of(pod) == stage.name)
        stage.run(pod)
        stage.exit(pod, code, reason)
    until(lambda: job_status(client, namespace, "good").succeeded, POD_SECONDS, "the good Job's end")
    until(lambda: job_status(client, namespace, "bad").failed, POD_SECONDS, "the bad Job's end")
    assert terminated(wait_for_pod(client, namespace, "bad", terminated)).reason == "OOMKilled"


def test_an_evicted_pod_says_so(control_plane: ControlPlane, namespace: str, stage: StagedNode) -> None:
    client = control_plane.client
    client.create(job("full", pod_spec("none")), namespace=namespace)
    stage.evict(wait_for_pod(client, namespace, "full", node_of), "used too much")
    pod = wait_for_pod(client, namespace, "full", lambda pod: phase(pod) == "Failed")
    assert pod.status
    assert (pod.status.reason, pod.status.message) == ("Evicted", "used too much")


def test_a_deleted_pod_is_gone(control_plane: ControlPlane, namespace: str, stage: StagedNode) -> None:
    client = control_plane.client
    client.create(job("unwanted", pod_spec("none")), namespace=namespace)
    pod = wait_for_pod(client, namespace, "unwanted", node_of)
    stage.run(pod)
    client.delete(Job, "unwanted", namespace=namespace, cascade=CascadeType.BACKGROUND)
    until(lambda: gone(client, Pod, name_of(pod), namespace), POD_SECONDS, "the pod to be gone")


def test_a_node_that_says_nothing_is_lost_and_its_pods_with_it(
    control_plane: ControlPlane, namespace: str, stage: StagedNode
) -> None:
    client = control_plane.client
    here = {"kubernetes.io/hostname": stage.name}
    soon = Toleration(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", tolerationSeconds=1)
    client.create(job("lost", pod_spec("none", nodeSelector=here, tolerations=[soon])), namespace=namespace)
    stage.run(wait_for_pod(client, namespace, "lost", node_of))
    with StagedNode(control_plane, "well"):
        stage.go_silent()
        until(lambda: _ready(client.get(Node, stage.name)) == "Unknown", POD_SECONDS, "the node to be lost")
        wait_for_pod(client, namespace, "lost", lambda pod: metadata(pod).deletionTimestamp)


def _ready(node: Node) -> str:
    conditions = (node.status and node.status.conditions) or []
    return next(c.status for c in conditions if c.type == "Ready")
