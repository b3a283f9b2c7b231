"""`peerbot doctor` against a real control plane: the account's rights, admission, a worker's pod from inside.

The node is played (`stage.py`): the test writes the findings of the pod's program in its place.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, ResourceQuota, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding
from pods import node_of, quota_holds
from programs import until
from stage import StagedNode
from system import System

from images import WORKER

ACCOUNT = "claude-worker"
RULES = (
    ("batch", "jobs", ["create", "get", "list", "watch", "patch", "delete"]),
    ("", "pods", ["get", "list", "watch"]),
    ("", "events", ["get", "list", "watch"]),
    ("", "secrets", ["create", "delete"]),
)
FENCED = {"api": False, "metadata": False, "gateway": True, "kernel": "6.1.0"}
Play = Callable[[Pod], None]


@dataclass
class Place:
    """A namespace with the chart's two accounts, and everything else that a dispatcher needs."""

    plane: ControlPlane
    namespace: str
    system: System
    directory: Path
    kubeconfig: Path | None = None
    pod: dict[str, Any] = field(default_factory=dict)

    def accounts(self, rules: tuple[tuple[str, str, list[str]], ...] = RULES) -> None:
        """Make both accounts, the dispatcher's with these rights."""
        client, namespace = self.plane.client, self.namespace
        for name in (ACCOUNT, "claude-worker-sandbox"):
            client.create(ServiceAccount(metadata=ObjectMeta(name=name)), namespace=namespace)
        policy = [PolicyRule(apiGroups=[group], resources=[kind], verbs=verbs) for group, kind, verbs in rules]
        client.create(Role(metadata=ObjectMeta(name=ACCOUNT), rules=policy), namespace=namespace)
        role = RoleRef(apiGroup="rbac.authorization.k8s.io", kind="Role", name=ACCOUNT)
        whose = [Subject(kind="ServiceAccount", name=ACCOUNT, namespace=namespace)]
        binding = RoleBinding(metadata=ObjectMeta(name=ACCOUNT), roleRef=role, subjects=whose)
        client.create(binding, namespace=namespace)
        self.kubeconfig = self.plane.account(namespace, ACCOUNT)

    async def doctor(self, play: Play | None = None, **settings: str) -> tuple[int, dict[str, dict[str, str]]]:
        """Run it, and play what becomes of its pod; exit code and findings by check."""
        described = {"image": "example.com/worker:1", "nodeSelector": {"kubernetes.io/hostname": "stage"}, **self.pod}
        file = self.directory / "worker-pod.json"
        file.write_text(json.dumps(described))
        environment = self.system.environment | {
            "PEERBOT_RUNTIME": "kubernetes",
            "PEERBOT_NAMESPACE": self.namespace,
            "PEERBOT_WORKER_POD": str(file),
            "PEERBOT_GATEWAY_URL": "http://peerbot-gateway:3001",
            "WORKER_CPU": "100m",
            "WORKER_MEMORY": "64Mi",
            "KUBECONFIG": str(self.kubeconfig),
        }
        doctor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerbot", "doctor", "--json"),
            env=environment | settings,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if play:
                await asyncio.to_thread(until, lambda: any(map(node_of, self.pods())), 60, "a probe pod")
                play(self.pods()[0])
            async with asyncio.timeout(150):
                out, _ = await doctor.communicate()
        finally:
            if doctor.returncode is None:
                doctor.kill()
                await doctor.wait()
        found = {finding["check"]: finding for finding in json.loads(out)["findings"]}
        assert all(finding["fix"] for finding in found.values() if finding["outcome"] == "wrong")
        return doctor.returncode or 0, found

    def pods(self) -> list[Pod]:
        return list(self.plane.client.list(Pod, namespace=self.namespace))

    def jobs(self) -> list[Job]:
        return list(self.plane.client.list(Job, namespace=self.namespace))


@pytest.fixture
async def place(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with System(tmp_path / "system") as system:
        place = Place(control_plane, namespace, system, tmp_path)
        # Before the stage's thread does: msgspec crashes where two threads decode a type for the first time at once.
        assert place.pods() == []
        yield place


def tells(stage: StagedNode, **reach: Any) -> Play:
    """The probe's program ends, and tells this."""
    return lambda pod: stage.exit(pod, 0, message=json.dumps(FENCED | reach))


async def test_a_good_cluster_is_all_well(place: Place, stage: StagedNode) -> None:
    """In a namespace that enforces `restricted`, with the rights of the chart's Role and no other."""
    place.accounts()
    seen: list[Pod] = []

    def play(pod: Pod) -> None:
        seen.append(pod)
        tells(stage)(pod)

    code, found = await place.doctor(play)

    assert code == 0, found
    outcomes = {check: finding["outcome"] for check, finding in found.items()}
    assert outcomes["runtime_class"] == "skipped"  # none is asked for
    checks = (
        "worker_description",
        "kubernetes_rights",
        "worker_job",
        "worker_pod",
        "worker_network",
        "worker_gateway",
        "store",
    )
    assert {outcomes[check] for check in checks} == {"good"}
    assert f"system:serviceaccount:{place.namespace}:{ACCOUNT}" in found["kubernetes_rights"]["said"]
    assert "Linux 6.1.0" in found["worker_pod"]["said"]
    assert "sandbox" not in found
    (pod,) = seen
    assert pod.metadata
    assert pod.spec
    assert pod.metadata.labels
    assert pod.metadata.labels["app.kubernetes.io/name"] == "peerbot-worker"  # as the worker's NetworkPolicy selects it
    assert pod.spec.serviceAccountName == "claude-worker-sandbox"
    security = pod.spec.containers[0].securityContext
    assert security
    assert security.readOnlyRootFilesystem
    await asyncio.to_thread(until, lambda: not place.jobs() and not place.pods(), 30, "the probe to be gone")


async def test_a_network_without_policies_is_named(place: Place, stage: StagedNode) -> None:
    place.accounts()
    code, found = await place.doctor(tells(stage, api=True, metadata=True, gateway=False))

    assert code == 1
    assert "reaches the API server and the metadata server" in found["worker_network"]["said"]
    assert "networkPolicy.enabled" in found["worker_network"]["fix"]
    assert found["worker_gateway"]["outcome"] == "wrong"
    assert found["worker_pod"]["outcome"] == "good"


async def test_a_network_that_is_meant_to_be_open_is_no_fault(place: Place, stage: StagedNode) -> None:
    place.accounts()
    place.pod = {"annotations": {"peerbot.dev/network": "open"}}
    code, found = await place.doctor(tells(stage, api=True))

    assert (code, found["worker_network"]["outcome"]) == (0, "skipped")


async def test_missing_rights_are_named(place: Place, stage: StagedNode) -> None:
    rules = (("batch", "jobs", ["create", "get", "list", "watch", "delete"]), *RULES[1:3], ("", "secrets", ["create"]))
    place.accounts(rules)
    code, found = await place.doctor(tells(stage))

    assert code == 1
    assert "may not patch jobs, delete secrets in the namespace" in found["kubernetes_rights"]["said"]
    assert "helm upgrade" in found["kubernetes_rights"]["fix"]
    assert found["worker_pod"]["outcome"] == "good"


async def test_without_any_right_the_checks_that_need_one_are_left_out(place: Place) -> None:
    place.accounts(())
    code, found = await place.doctor()

    assert code == 1
    assert "create jobs" in found["kubernetes_rights"]["said"]
    assert (found["worker_job"]["outcome"], found["worker_pod"]["outcome"]) == ("skipped", "skipped")


@pytest.mark.parametrize(("cpu", "word"), [("lots", "quantities must match"), ("8", "limit")])
async def test_a_job_that_is_not_admitted_is_named(place: Place, cpu: str, word: str) -> None:
    place.accounts()
    place.pod = {"limits": {"cpu": "4"}}
    code, found = await place.doctor(WORKER_CPU=cpu)

    assert code == 1
    assert found["worker_job"]["outcome"] == "wrong"
    assert word in found["worker_job"]["said"]


async def test_a_quota_that_is_used_up_is_named(place: Place, stage: StagedNode) -> None:
    place.accounts()
    client, namespace = place.plane.client, place.namespace
    quota = ResourceQuota(metadata=ObjectMeta(name="pods"), spec=ResourceQuotaSpec(hard={"pods": "0"}))
    client.create(quota, namespace=namespace)
    await asyncio.to_thread(until, lambda: quota_holds(client, namespace, "pods"), 30, "the quota to hold")
    code, found = await place.doctor()

    assert code == 1
    assert "quota is used up" in found["worker_pod"]["said"]
    assert f"quota of the namespace {namespace}" in found["worker_pod"]["fix"]
    assert found["worker_network"]["outcome"] == "skipped"
    assert place.jobs() == []


async def test_a_runtime_class_that_is_not_there_is_named(place: Place) -> None:
    place.accounts()
    place.pod = {"runtimeClassName": "gone"}
    code, found = await place.doctor()

    assert code == 1
    assert found["runtime_class"]["outcome"] == "skipped"  # the account may not look
    assert 'RuntimeClass "gone" not found' in found["worker_pod"]["said"]
    assert "worker.runtimeClassName" in found["worker_pod"]["fix"]

    place.kubeconfig = place.plane.kubeconfig
    _, found = await place.doctor()
    assert found["runtime_class"]["said"] == "there is no runtime class gone"


async def test_an_image_that_cannot_be_pulled_is_named(place: Place, stage: StagedNode) -> None:
    place.accounts()
    code, found = await place.doctor(lambda pod: stage.wait(pod, "ImagePullBackOff", "no such image"))

    assert code == 1
    assert "its image can't be pulled" in found["worker_pod"]["said"]
    assert "example.com/worker:1" in found["worker_pod"]["fix"]


async def test_a_program_that_fails_in_the_pod_is_named(place: Place, stage: StagedNode) -> None:
    place.accounts()
    code, found = await place.doctor(lambda pod: stage.exit(pod, 127, message="python3: not found"))

    assert code == 1
    assert "python3: not found" in found["worker_pod"]["said"]
    assert "worker.image" in found["worker_pod"]["fix"]


async def test_a_pod_that_no_node_takes_is_left_out_with_the_reason(place: Place) -> None:
    place.accounts()
    place.pod = {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}
    code, found = await place.doctor()

    assert code == 0, found
    assert (found["worker_pod"]["outcome"], found["worker_network"]["outcome"]) == ("skipped", "skipped")
    assert "no node took a worker's pod within 90 s" in found["worker_pod"]["said"]
    assert "nodes" in found["worker_pod"]["said"]


async def test_a_description_of_workers_that_cannot_be_used_is_named(place: Place) -> None:
    place.accounts()
    place.pod = {"imagine": "example.com/worker:1"}
    code, found = await place.doctor()

    assert code == 1
    assert "PEERBOT_WORKER_POD" in found["worker_description"]["said"]
    assert "imagine" in found["worker_description"]["said"]
    assert found["kubernetes_rights"]["outcome"] == "good"


async def test_an_api_server_that_is_not_there_is_named(place: Place, tmp_path: Path) -> None:
    config = json.loads(place.plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    place.kubeconfig = tmp_path / "nowhere.kubeconfig"
    place.kubeconfig.write_text(json.dumps(config))
    code, found = await place.doctor()

    assert code == 1
    for check in ("kubernetes_rights", "worker_job", "worker_pod"):
        assert "the API server does not answer" in found[check]["said"]
        assert "kubectl get pods" in found[check]["fix"]
    assert found["store"]["outcome"] == "good"


@pytest.mark.usefixtures("node")
async def test_a_real_pod_of_the_workers_image_tells_what_it_reaches(place: Place) -> None:
    """The network between these pods enforces no policy, so the finding is that; no dispatcher is there, so is that."""
    place.accounts()
    place.pod = {"image": WORKER, "imagePullPolicy": "Never", "nodeSelector": {}}
    code, found = await place.doctor()

    assert code == 1
    assert f"Linux {os.uname().release}" in found["worker_pod"]["said"]
    assert "reaches the API server, so no NetworkPolicy" in found["worker_network"]["said"]
    assert found["worker_gateway"]["outcome"] == "wrong"
