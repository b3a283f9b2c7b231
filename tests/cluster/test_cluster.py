"""The real node: the work in its pods, and its reports on pods that can't run."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import isolation
import pytest
from control_plane import ControlPlane
from lightkube import ApiError
from lightkube.models.core_v1 import (
    EmptyDirVolumeSource,
    PodSpec,
    ServicePort,
    ServiceSpec,
    Volume,
    VolumeMount,
)
from lightkube.models.discovery_v1 import Endpoint, EndpointConditions, EndpointPort
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.core_v1 import PodEviction, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget
from node import Node
from pods import (
    POD_SECONDS,
    condition,
    gone,
    job,
    job_status,
    name_of,
    phase,
    pod_spec,
    terminated,
    wait_for_pod,
    waiting,
)
from programs import until

from images import DEBIAN

pytestmark = pytest.mark.usefixtures("node")


def shell(script: str) -> PodSpec:
    return pod_spec(DEBIAN, "sh", "-c", script)


def test_a_job_runs_and_completes(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(job("works", shell("echo done by $(id -u)")), namespace=namespace)
    until(lambda: job_status(client, namespace, "works").succeeded, POD_SECONDS, "the Job's end")
    pod = wait_for_pod(client, namespace, "works", terminated)
    assert list(client.log(name_of(pod), namespace=namespace, newlines=False)) == ["done by 10001"]


def test_an_exit_code_and_the_last_words_are_kept(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(job("fails", shell("echo this is why; exit 7")), namespace=namespace)
    until(lambda: job_status(client, namespace, "fails").failed, POD_SECONDS, "the Job's end")
    ended = terminated(wait_for_pod(client, namespace, "fails", terminated))
    assert (ended.exitCode, ended.reason, ended.message) == (7, "Error", "this is why\n")


def test_too_much_memory_is_an_oom_kill(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(job("hungry", pod_spec(DEBIAN, "tail", "/dev/zero", limits={"memory": "32Mi"})), namespace=namespace)
    ended = terminated(wait_for_pod(client, namespace, "hungry", terminated))
    assert (ended.exitCode, ended.reason) == (137, "OOMKilled")


def test_too_much_scratch_is_an_eviction(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    spec = shell("head -c 60000000 /dev/zero > /scratch/file; sleep 600")
    spec.volumes = [Volume(name="scratch", emptyDir=EmptyDirVolumeSource(sizeLimit="20Mi"))]
    spec.containers[0].volumeMounts = [VolumeMount(name="scratch", mountPath="/scratch")]
    client.create(job("full", spec), namespace=namespace)
    pod = wait_for_pod(client, namespace, "full", lambda pod: phase(pod) == "Failed", 2 * POD_SECONDS)
    assert pod.status
    assert pod.status.reason == "Evicted"
    assert "exceeds the limit" in str(pod.status.message)


def test_an_image_that_is_not_there_is_told(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(job("imageless", pod_spec("localhost:1/nobody/nothing:1")), namespace=namespace)
    wait_for_pod(client, namespace, "imageless", lambda pod: waiting(pod) in ("ErrImagePull", "ImagePullBackOff"))
    wait_for_pod(client, namespace, "imageless", lambda pod: waiting(pod) == "ImagePullBackOff")


def test_more_than_the_node_has_is_unschedulable(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(job("huge", pod_spec(DEBIAN, "true", limits={"cpu": "900"})), namespace=namespace)
    pod = wait_for_pod(client, namespace, "huge", lambda pod: condition(pod, "PodScheduled"))
    assert "Insufficient cpu" in condition(pod, "PodScheduled").message


def test_a_drain_ends_a_pod_in_order_and_a_budget_holds_it(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    spec = shell("trap 'echo asked; exit 143' TERM; echo up; while :; do sleep 0.1; done")
    client.create(job("drained", spec), namespace=namespace)
    pod = wait_for_pod(client, namespace, "drained", lambda pod: phase(pod) == "Running")
    name = name_of(pod)
    eviction = PodEviction(metadata=ObjectMeta(name=name, namespace=namespace))
    budget = PodDisruptionBudgetSpec(minAvailable=1, selector=LabelSelector(matchLabels={"job-name": "drained"}))
    client.create(PodDisruptionBudget(metadata=ObjectMeta(name="one"), spec=budget), namespace=namespace)
    until(lambda: _observed(control_plane, namespace), 30, "the budget to hold")
    with pytest.raises(ApiError) as refused:
        client.create(eviction, name, namespace=namespace)
    assert refused.value.status.code == 429
    client.delete(PodDisruptionBudget, "one", namespace=namespace)
    until(lambda: gone(client, PodDisruptionBudget, "one", namespace), 30, "the budget to be gone")
    client.create(eviction, name, namespace=namespace)
    until(lambda: job_status(client, namespace, "drained").failed, POD_SECONDS, "the pod's end")


def test_services_and_names_work_in_a_pod(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    with _server() as port:
        spec = ServiceSpec(ports=[ServicePort(port=80, targetPort=port)])
        client.create(Service(metadata=ObjectMeta(name="outside"), spec=spec), namespace=namespace)
        endpoint = Endpoint(addresses=[isolation.ADDRESS], conditions=EndpointConditions(ready=True))
        metadata = ObjectMeta(name="outside-1", labels={"kubernetes.io/service-name": "outside"})
        slices = EndpointSlice(
            metadata=metadata, addressType="IPv4", endpoints=[endpoint], ports=[EndpointPort(port=port)]
        )
        client.create(slices, namespace=namespace)
        script = f"""
            set -e
            get() {{ exec 3<>/dev/tcp/$1/$2 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3 | grep hello; }}
            until (get outside 80) 2>/dev/null; do sleep 0.1; done   # by Service, once kube-proxy knows of it
            get outside.{namespace}.svc.cluster.local 80
            get host.tests.internal {port}                         # straight to the test
            getent hosts kubernetes.default.svc.cluster.local
            ! getent hosts nobody.example.com
        """
        asks = job("asks", pod_spec(DEBIAN, "bash", "-c", script, activeDeadlineSeconds=60))
        client.create(asks, namespace=namespace)
        pod = wait_for_pod(client, namespace, "asks", terminated)
    assert terminated(pod).exitCode == 0, terminated(pod).message
    printed = [line for line in client.log(name_of(pod), namespace=namespace, newlines=False) if line]
    assert printed[:3] == ["hello from the test"] * 3
    assert printed[-1].split() == ["10.96.0.1", "kubernetes.default.svc.cluster.local"]


def test_pods_outlive_the_api_server(control_plane: ControlPlane, node: Node, namespace: str) -> None:
    client = control_plane.client
    client.create(job("goes-on", shell("sleep 3; echo still here")), namespace=namespace)
    wait_for_pod(client, namespace, "goes-on", lambda pod: phase(pod) == "Running")
    control_plane.api_server.kill()
    control_plane.start_api_server()
    until(lambda: job_status(client, namespace, "goes-on").succeeded, POD_SECONDS, "the Job's end")
    control_plane.api_server.wait_until(node.ready, POD_SECONDS)


@contextmanager
def _server() -> Iterator[int]:
    """A server of the test's own that pods can reach; its port."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from the test\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((isolation.ADDRESS, 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _observed(control_plane: ControlPlane, namespace: str) -> bool:
    status = control_plane.client.get(PodDisruptionBudget, "one", namespace=namespace).status
    return bool(status and status.expectedPods)
