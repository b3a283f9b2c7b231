"""What teams add to workers' pods reaches the pods; what would break a run's promises is refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from rendering import CHART, NEEDS_HELM, TOKENS, refusal, render

from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import RunSpec

pytestmark = NEEDS_HELM

EXAMPLE = CHART / "examples/worker-additions.yaml"


def pod_of(values: str | Path | dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return the spec of the pod that a dispatcher makes which was deployed with these values."""
    file = directory / "worker-pod.json"
    file.write_text(json.dumps(render(values).worker_pod()))
    spec = RunSpec(
        Conversation("T01", "C01", "1795489988.273013"), 1, "secret", {"PEERBOT_GATEWAY_URL": "http://g:3001"}
    )
    job = manifest.job(spec, WorkerPod.read(file), manifest.Size("1", "1Gi"), deadline_seconds=60)
    document: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", **job.to_dict()}
    for version in ("1.29", "1.37"):
        assert kubernetes_validate.validate(document, version, strict=True) == version
    found: dict[str, Any] = document["spec"]["template"]["spec"]
    return found


def test_a_service_is_a_native_sidecar_that_is_up_before_the_worker_and_keeps_to_the_restricted_standard(
    tmp_path: Path,
) -> None:
    pod = pod_of(EXAMPLE, tmp_path)
    database, cache = pod["initContainers"]

    assert [item["restartPolicy"] for item in (database, cache)] == ["Always", "Always"]
    assert database["name"] == "postgres"
    assert database["startupProbe"]["exec"]["command"][0] == "pg_isready"
    assert database["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
    }
    assert {mount["name"] for mount in database["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    assert pod["automountServiceAccountToken"] is False


def test_variables_and_volumes_reach_the_worker_and_the_agent_is_told_which_are_its_own(tmp_path: Path) -> None:
    pod = pod_of(EXAMPLE, tmp_path)
    (worker,) = pod["containers"]
    variables = {item["name"]: item.get("value") for item in worker["env"]}

    assert variables["DATABASE_URL"] == "postgresql://postgres@localhost/test"
    assert variables["PEERBOT_AGENT_VARIABLES"] == "DATABASE_URL,REDIS_URL"
    assert {"name": "packages", "mountPath": "/home/worker/.cache"} in worker["volumeMounts"]
    assert next(item for item in pod["volumes"] if item["name"] == "packages")["persistentVolumeClaim"]


def test_a_worker_without_additions_is_as_it_was(tmp_path: Path) -> None:
    pod = pod_of({}, tmp_path)

    assert "initContainers" not in pod
    assert "PEERBOT_AGENT_VARIABLES" not in {item["name"] for item in pod["containers"][0]["env"]}
    assert [volume["name"] for volume in pod["volumes"]] == ["workspace", "home", "tmp", "bootstrap"]


def test_a_privileged_service_is_made_where_the_operator_says_so(tmp_path: Path) -> None:
    service = {
        "name": "docker",
        "image": "docker:dind",
        "securityContext": {"privileged": True, "runAsNonRoot": False, "runAsUser": 0},
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
    }
    worker = {"runtimeClassName": "kata", "privilegedServices": True, "services": [service]}
    (made,) = pod_of({"worker": worker}, tmp_path)["initContainers"]

    assert made["securityContext"] == service["securityContext"]


DATA = {"name": "data", "emptyDir": {}}


def mounted(path: str, **more: str) -> dict[str, Any]:
    return {"extraVolumes": [DATA], "extraVolumeMounts": [{"name": "data", "mountPath": path, **more}]}


def served(**service: Any) -> dict[str, Any]:
    return {"services": [{"name": "db", "image": "postgres", **service}]}


def secret(name: str) -> dict[str, Any]:
    return {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}


TOKEN = {"serviceAccountToken": {"path": "token"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a variable of ours": ({"extraEnv": [{"name": "PEERBOT_RUN_PATH"}]}, "PeerBot sets PEERBOT_RUN_PATH itself."),
    "the model's address": ({"extraEnv": [{"name": "ANTHROPIC_BASE_URL"}]}, "PeerBot sets ANTHROPIC_BASE_URL itself."),
    "git's settings": ({"extraEnv": [{"name": "GIT_CONFIG_COUNT"}]}, "PeerBot sets GIT_CONFIG_COUNT itself."),
    "the home directory": ({"extraEnv": [{"name": "HOME"}]}, "PeerBot sets HOME itself."),
    "a variable twice": (
        {"extraEnv": [{"name": "A"}, {"name": "A"}]},
        "worker.extraEnv: the variable A is there twice.",
    ),
    "no name": ({"extraEnv": [{"name": "a b"}]}, "at '/worker/extraEnv/0/name'"),
    "a number for a text": ({"extraEnv": [{"name": "A", "value": 5}]}, "at '/worker/extraEnv/0/value'"),
    "our secret in a variable": ({"extraEnv": [secret("peerbot-secrets")]}, "with PeerBot's own tokens"),
    "our secret for a service": (served(env=[secret("peerbot-secrets")]), "with PeerBot's own tokens"),
    "our secret as a volume": (
        {"extraVolumes": [{"name": "s", "secret": {"secretName": "peerbot-secrets"}}]},
        "the volume s is the secret peerbot-secrets with PeerBot's own tokens",
    ),
    "our secret in a projection": (
        {"extraVolumes": [{"name": "s", "projected": {"sources": [{"secret": {"name": "peerbot-secrets"}}]}}]},
        "with PeerBot's own tokens",
    ),
    "a token": (
        {"extraVolumes": [{"name": "t", "projected": {"sources": [TOKEN]}}]},
        "the volume t holds a service account's token: an agent gets no token of the cluster.",
    ),
    "a path of the host": (
        {"extraVolumes": [{"name": "h", "hostPath": {"path": "/var/run"}}]},
        "the volume h is a path of the host",
    ),
    "a kind that is not allowed": (
        {"extraVolumes": [{"name": "share", "nfs": {}}]},
        "the volume share has to be one of configMap",
    ),
    "a volume of no kind": ({"extraVolumes": [{"name": "none"}]}, "the volume none has to be one of configMap"),
    "a name of ours": ({"extraVolumes": [{"name": "home", "emptyDir": {}}]}, "one of the worker's own volumes"),
    "a volume twice": ({"extraVolumes": [DATA, DATA]}, "the volume data is there twice."),
    "a mount of nothing": (
        {"extraVolumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "/data mounts data, which is not among worker.extraVolumes.",
    ),
    "the bootstrap secret": (
        {"extraVolumeMounts": [{"name": "bootstrap", "mountPath": "/data"}]},
        "/data mounts bootstrap, which is not among",
    ),
    "the workspace": (mounted("/workspace/x"), "/workspace/x is in /workspace, which is the worker's own."),
    "the worker's program": (mounted("/opt/peerbot/"), "is in /opt/peerbot, which is the worker's own."),
    "the agent's settings": (mounted("/home/worker/.claude/x"), "is in /home/worker/.claude"),
    "the whole home": (mounted("/home/worker"), "would hide /home/worker/.claude from the worker."),
    "a way around": (mounted("/data/../workspace"), "is in /workspace"),
    "everything": (mounted("/"), "would hide"),
    "all programs": (mounted("/usr"), "/usr would hide /usr/bin from the worker."),
    "a path that is none": (mounted("data"), "at '/worker/extraVolumeMounts/0/mountPath'"),
    "mounts of the host": (mounted("/data", mountPropagation="HostToContainer"), "/data has a mountPropagation"),
    "a service that takes the worker's name": (
        {"services": [{"name": "worker", "image": "x"}]},
        "worker.services: worker is a name that is taken.",
    ),
    "a service as root": (served(securityContext={"runAsUser": 0}), "db runs as root"),
    "a privileged service": (
        served(securityContext={"privileged": True}),
        "db sets securityContext.privileged: without worker.privilegedServices a service sets only runAsUser",
    ),
    "a privileged service on the node's kernel": (
        {"privilegedServices": True},
        "worker.privilegedServices needs worker.runtimeClassName",
    ),
    "a service that reads the bootstrap secret": (
        served(volumeMounts=[{"name": "bootstrap", "mountPath": "/b"}]),
        "db mounts bootstrap: a service mounts workspace and what is among worker.extraVolumes.",
    ),
    "a service with the host's mounts": (
        served(volumeMounts=[{"name": "workspace", "mountPath": "/w", "mountPropagation": "Bidirectional"}]),
        "db has a mountPropagation",
    ),
    "a field that is none": (served(lifecycle={}), "additional properties 'lifecycle' not allowed"),
    "a service that is no sidecar": (
        served(restartPolicy="Never"),
        "additional properties 'restartPolicy' not allowed",
    ),
}


@pytest.mark.parametrize(("worker", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_break_a_runs_promises_is_refused(worker: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal({"worker": worker})


def test_ones_own_secret_with_the_tokens_is_refused_by_its_own_name() -> None:
    values = {"secrets": {"existingSecret": "mine"}, "worker": {"extraEnv": [secret("mine")]}}

    assert "is from the secret mine with PeerBot's own tokens" in refusal(values, sets={})
    assert render({"worker": {"extraEnv": [secret("mine")]}}, sets=TOKENS).worker_pod()["extraEnv"]
