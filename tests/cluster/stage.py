"""A node that nobody serves: the scheduler puts real pods there, and the test plays their fate.

So each verdict is quick to provoke, even on a machine that can run no real node. The test only writes what kubelet
would report (an OOM kill, an eviction); `test_cluster.py` shows that a real kubelet reports the same.
"""

import datetime
import threading
from contextlib import ExitStack
from typing import Any, Self

import httpx2
from control_plane import ControlPlane
from lightkube import ApiError, Client
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import NodeCondition, NodeSpec, NodeStatus, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod, PodStatus
from lightkube.resources.core_v1 import NodeStatus as StatusOfNode
from lightkube.types import PatchType
from pods import metadata, name_of

_BEAT_SECONDS = 2.0
_ROOM = {"cpu": "1000", "memory": "4000Gi", "ephemeral-storage": "40000Gi", "pods": "5000"}


class StagedNode:
    """A node `name` that says it is well until `go_silent()`; pods that are deleted leave it at once."""

    def __init__(
        self,
        plane: ControlPlane,
        name: str = "stage",
        room: dict[str, str] | None = None,
        taints: list[Taint] | None = None,
    ) -> None:
        self.name = name
        self._taints = taints
        self._plane = plane
        self._client = plane.client
        self._room = room or _ROOM
        self._silent = threading.Event()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"}
            spec = NodeSpec(taints=self._taints)
            self._client.create(Node(metadata=ObjectMeta(name=self.name, labels=labels), spec=spec))
            stack.callback(self._client.delete, Node, self.name)
            ready = NodeCondition(type="Ready", status="True", reason="Played", lastHeartbeatTime=_now())
            status = NodeStatus(conditions=[ready], capacity=self._room, allocatable=self._room)
            self._client.patch(StatusOfNode, self.name, {"status": status.to_dict()}, patch_type=PatchType.STRATEGIC)
            # Here first: lightkube's decoder learns a kind when it first meets it, and two threads must not at once.
            self._beat(self._client)
            thread = threading.Thread(target=self._live, name=self.name)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self._over.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def go_silent(self) -> None:
        """Let the node be silent from now on, as if its machine were gone.

        Kubernetes gives its pods up only if another node is well. Otherwise it assumes that it is cut off itself.
        """
        self._silent.set()

    def run(self, pod: Pod) -> None:
        """Its container runs."""
        self._say(pod, "Running", {"running": {"startedAt": _stamp()}}, ready=True)

    def wait(self, pod: Pod, reason: str, message: str = "") -> None:
        """Its container can't start yet, as with `ImagePullBackOff`."""
        self._say(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def wait_for_service(self, pod: Pod, name: str, reason: str) -> None:
        """The service that its worker needs can't start."""
        service = {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 1, "started": False}
        service |= {"state": {"waiting": {"reason": reason}}}
        self._patch(pod, {"initContainerStatuses": [service]})
        self.wait(pod, "PodInitializing")

    def exit(
        self, pod: Pod, code: int, reason: str | None = None, message: str = "", *, outlived: bool = False
    ) -> None:
        """Its container ended, as with 137 and `OOMKilled`. If `outlived`, another container of the pod runs on."""
        reason = reason or ("Error" if code else "Completed")
        ended = {"exitCode": code, "reason": reason, "message": message, "startedAt": _stamp(), "finishedAt": _stamp()}
        phase = "Running" if outlived else "Failed" if code else "Succeeded"
        self._say(pod, phase, {"terminated": ended})

    def evict(self, pod: Pod, message: str) -> None:
        """Let the node evict it, for the resources that it used."""
        self._patch(pod, {"phase": "Failed", "reason": "Evicted", "message": message})

    def _say(self, pod: Pod, phase: str, state: dict[str, Any], *, ready: bool = False) -> None:
        assert pod.spec
        container = {"name": pod.spec.containers[0].name, "ready": ready, "restartCount": 0, "state": state}
        container |= {"image": pod.spec.containers[0].image, "imageID": "", "started": ready}
        self._patch(pod, {"phase": phase, "startTime": _stamp(), "containerStatuses": [container]})

    def _patch(self, pod: Pod, status: dict[str, Any]) -> None:
        change, namespace = {"status": status}, metadata(pod).namespace
        self._client.patch(PodStatus, name_of(pod), change, namespace=namespace, patch_type=PatchType.MERGE)

    def _live(self) -> None:
        with self._plane.client_of(self._plane.kubeconfig) as client:
            while not self._over.is_set():
                if not self._silent.is_set():
                    self._beat(client)
                self._over.wait(_BEAT_SECONDS)

    def _beat(self, client: Client) -> None:
        """Say that the node lives, and let deleted pods go."""
        try:
            spec = LeaseSpec(holderIdentity=self.name, leaseDurationSeconds=40, renewTime=_now())
            lease = Lease(metadata=ObjectMeta(name=self.name, namespace="kube-node-lease"), spec=spec)
            client.apply(lease, field_manager=self.name, force=True)
            for pod in client.list(Pod, namespace="*", fields={"spec.nodeName": self.name}):
                if metadata(pod).deletionTimestamp:
                    client.delete(Pod, name_of(pod), namespace=metadata(pod).namespace, grace_period=0)
        except (ApiError, httpx2.HTTPError):
            pass  # the API server is down, by the test's doing: again at the next beat


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _stamp() -> str:
    return _now().strftime("%Y-%m-%dT%H:%M:%SZ")
