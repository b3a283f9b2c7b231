"""The chart fits into clusters as they are: names, labels, other people's controllers, networks and users."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, EXAMPLES, NEEDS_HELM, TOKENS, Manifests, render, template, tokens_for

from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import RunSpec

pytestmark = NEEDS_HELM

NOT_EVICTED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def job_of(made: Manifests, directory: Path, **environment: str) -> dict[str, Any]:
    """Return a run's Job, as the dispatcher makes it that got these manifests."""
    file = directory / "worker-pod.json"
    file.write_text(json.dumps(made.worker_pod()))
    spec = RunSpec(Conversation("T01", "C01", "1795489988.273013"), 1, "secret", environment)
    job: dict[str, Any] = manifest.job(
        spec, WorkerPod.read(file), manifest.Size("1", "1Gi"), deadline_seconds=60
    ).to_dict()
    return job


def test_pull_secrets_are_named_alone_or_in_an_object() -> None:
    made = render({"global": {"imagePullSecrets": ["one", {"name": "two"}]}})

    assert made.pod()["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert made.worker_pod()["imagePullSecrets"] == ["one", "two"]


MORE: dict[str, Any] = {
    "retention": {"olderThan": "180d"},
    "autoscaling": {"enabled": True},
    "metrics": {
        "from": [{"podSelector": {}}],
        **{name: {"enabled": True} for name in ("podMonitor", "rules", "dashboard")},
    },
}
"""What is off until somebody asks for it."""


def test_all_objects_go_into_the_namespace_that_is_named() -> None:
    made = render({**MORE, "namespaceOverride": "bots"})
    (binding,) = (item for item in made.objects if item["kind"] == "RoleBinding")

    assert {"CronJob", "PodMonitor", "PrometheusRule", "HorizontalPodAutoscaler"} <= set(made.kinds())
    assert {item["metadata"]["namespace"] for item in made.objects} == {"bots"}
    assert binding["subjects"][0]["namespace"] == "bots"
    assert {item["metadata"]["namespace"] for item in render(MORE).objects} == {"peerbot"}


def named(made: Manifests) -> set[tuple[str, str]]:
    return {(item["kind"], item["metadata"]["name"]) for item in made.objects}


def test_names_can_be_chosen_and_everything_finds_everything_by_them() -> None:
    assert ("Deployment", "peerbot-coder-dispatcher") in named(render({"nameOverride": "coder"}))
    made = render({"fullnameOverride": "coder"})
    deployment = made.one("Deployment", "coder-dispatcher")["spec"]["template"]["spec"]
    variables = {item["name"]: item for item in deployment["containers"][0]["env"]}

    assert {("Service", "coder-gateway"), ("ConfigMap", "coder-config"), ("Secret", "coder-secrets")} <= named(made)
    assert variables["PEERBOT_GATEWAY_URL"]["value"] == "http://coder-gateway:3001"
    assert variables["SLACK_BOT_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "coder-secrets"


def test_two_releases_in_one_namespace_share_nothing_and_reach_only_their_own_pods() -> None:
    one, other = render(), render({"serviceAccount": {"name": "claude-second"}}, release="second")
    policy = other.one("NetworkPolicy", "second-peerbot-worker")["spec"]
    file = json.loads(other.one("ConfigMap", "second-peerbot-config")["data"]["worker-pod.json"])

    assert named(one) & named(other) == set()
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "second"
    assert (file["instance"], file["serviceAccountName"]) == ("second", "claude-second-sandbox")
    assert other.one("Deployment", "second-peerbot-dispatcher")["spec"]["template"]["spec"]["serviceAccountName"] == (
        "claude-second"
    )


def test_replicas_take_labels_annotations_volumes_and_a_spread_of_their_own() -> None:
    spread = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    made = render(
        {
            "dispatcher": {
                "labels": {"team": "a"},
                "annotations": {"sidecar.istio.io/inject": "true"},
                "extraVolumes": [{"name": "aws", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "aws", "mountPath": "/aws"}],
                "topologySpreadConstraints": [spread],
            }
        }
    )
    meta = made.one("Deployment", "peerbot-dispatcher")["spec"]["template"]["metadata"]
    doctor = made.one("Pod", "peerbot-doctor")["spec"]

    assert meta["labels"]["team"] == "a"
    assert meta["labels"]["app.kubernetes.io/component"] == "dispatcher"
    assert meta["annotations"]["sidecar.istio.io/inject"] == "true"
    assert made.pod()["topologySpreadConstraints"] == [spread]
    for pod in (made.pod(), doctor):
        assert {"name": "aws", "emptyDir": {}} in pod["volumes"]
        assert {"name": "aws", "mountPath": "/aws"} in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize("unavailable", [1, "50%"])
def test_a_disruption_budget_counts_those_away_where_that_is_set(unavailable: int | str) -> None:
    made = render({"podDisruptionBudget": {"enabled": True, "maxUnavailable": unavailable}})
    spec = made.one("PodDisruptionBudget", "peerbot-dispatcher")["spec"]

    assert spec["maxUnavailable"] == unavailable
    assert "minAvailable" not in spec


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_pod_says_what_it_needs_as_a_quota_wants_it(example: Path) -> None:
    made = render(example, sets=tokens_for(example))
    for pod in (made.pod(), made.one("Pod", "peerbot-doctor")["spec"]):
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_no_autoscaler_moves_a_worker_unless_somebody_lets_it(tmp_path: Path) -> None:
    job = job_of(render(), tmp_path)
    notes = job["spec"]["template"]["metadata"]["annotations"]

    assert notes.items() >= NOT_EVICTED.items()
    moved = render({"worker": {"annotations": {"karpenter.sh/do-not-disrupt": "false"}}}).worker_pod()
    assert moved["annotations"]["karpenter.sh/do-not-disrupt"] == "false"


ARGO_LABEL, ARGO_NOTE = "app.kubernetes.io/instance", "argocd.argoproj.io/tracking-id"


def argo_prunes(item: dict[str, Any], application: str, in_git: set[tuple[str, str]]) -> bool:
    """Argo CD's rule, with both ways in which it can track: a live object that is its own and not in git.

    An object that belongs to another one is that one's.
    """
    meta = item["metadata"]
    labels, notes = meta.get("labels", {}), meta.get("annotations", {})
    own = labels.get(ARGO_LABEL) == application or notes.get(ARGO_NOTE, "").startswith(f"{application}:")
    return own and not meta.get("ownerReferences") and (item["kind"], meta["name"]) not in in_git


def test_argo_cd_does_not_prune_a_running_worker_and_flux_does_not_know_it(tmp_path: Path) -> None:
    made = render()
    job = {"kind": "Job", **job_of(made, tmp_path)}
    labels = job["metadata"]["labels"]
    marked = {**job, "metadata": {**job["metadata"], "labels": {**labels, ARGO_LABEL: "peerbot"}}}

    assert not argo_prunes(job, "peerbot", named(made))
    assert argo_prunes(marked, "peerbot", named(made))  # what it would do
    assert not [key for key in (*labels, *job["metadata"]["annotations"]) if "fluxcd" in key or "helm" in key]
    template = job["spec"]["template"]["metadata"]["labels"]
    policy = made.one("NetworkPolicy", "peerbot-worker")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= template.items()  # its pod has the label: network policies look for it


def test_on_openshift_the_cluster_chooses_users_and_its_name_servers_are_reached(tmp_path: Path) -> None:
    made = render({"openshift": {"enabled": True}})
    worker = job_of(made, tmp_path)["spec"]["template"]["spec"]["securityContext"]
    egress = made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"]
    names = next(rule for rule in egress if {"port": 5353, "protocol": "UDP"} in rule.get("ports", []))

    for context in (
        made.pod()["securityContext"],
        made.one("Pod", "peerbot-doctor")["spec"]["securityContext"],
        worker,
    ):
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert names["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}]
    assert len(names["ports"]) == 2
    everywhere = json.dumps(render().one("NetworkPolicy", "peerbot-worker"))
    assert "5353" not in everywhere


def test_ranges_that_are_left_out_are_of_both_kinds() -> None:
    made = render({"networkPolicy": {"except": ["203.0.113.7/32", "2600:1f00::/24", "fd00::/8"]}})
    four, six = made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"][-1]["to"]

    assert "203.0.113.7/32" in four["ipBlock"]["except"]
    assert "2600:1f00::/24" in six["ipBlock"]["except"]
    for block in (four["ipBlock"], six["ipBlock"]):  # or the API server refuses the policy
        whole = ip_network(block["cidr"])
        assert all(ip_network(item).subnet_of(whole) for item in block["except"])  # type: ignore[arg-type]
    assert not [item for item in four["ipBlock"]["except"] if ":" in item]
    assert not [item for item in six["ipBlock"]["except"] if "." in item]


@pytest.mark.parametrize("mode", ["internet", "gateway"])
def test_workers_reach_a_proxy_that_is_in_a_private_range(mode: str) -> None:
    allowed = [{"cidr": "10.1.2.3/32", "port": 3128}, {"cidr": "fd00::/8"}]
    made = render({"networkPolicy": {"workers": mode, "allow": allowed}})
    egress = made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"]

    proxy = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 3128, "protocol": "TCP"}]}
    assert proxy in egress
    assert {"to": [{"ipBlock": {"cidr": "fd00::/8"}}]} in egress


def test_a_proxy_and_the_companys_authorities_reach_dispatcher_doctor_and_workers(tmp_path: Path) -> None:
    made = render(CHART / "examples/closed-network.yaml")
    job = job_of(made, tmp_path)["spec"]["template"]["spec"]
    environment = made.environment()

    assert environment["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert environment["NO_PROXY"] == ".example.com,minio.storage"
    assert environment["PEERBOT_CA_FILE"] == "/etc/peerbot/ca/ca.crt"
    for pod in (made.pod(), made.one("Pod", "peerbot-doctor")["spec"], job):
        assert {"name": "ca", "configMap": {"name": "company-authorities"}} in pod["volumes"]
        mounts = pod["containers"][0]["volumeMounts"]
        assert {"name": "ca", "mountPath": "/etc/peerbot/ca", "readOnly": True} in mounts
    assert {"name": "PEERBOT_CA_FILE", "value": "/etc/peerbot/ca/ca.crt"} in job["containers"][0]["env"]
    assert "PEERBOT_CA_FILE" not in render().environment()


def test_the_dispatcher_sees_the_tokens_change_in_whoever_makes_the_secret() -> None:
    for values, sets, name in (({}, TOKENS, "peerbot-secrets"), ({"secrets": {"existingSecret": "mine"}}, {}, "mine")):
        made = render(values, sets=sets)
        (volume,) = (item for item in made.pod()["volumes"] if item["name"] == "tokens")

        assert made.environment()["PEERBOT_TOKENS_DIR"] == "/etc/peerbot/tokens"
        assert volume["secret"]["secretName"] == name
        assert volume["secret"]["optional"], "a missing key holds up no mount: the variable that needs it names it"
        assert {item["key"] for item in volume["secret"]["items"]} == {
            item["valueFrom"]["secretKeyRef"]["key"] for item in made.container()["env"] if "valueFrom" in item
        }
        mount = {"name": "tokens", "mountPath": "/etc/peerbot/tokens", "readOnly": True}
        assert mount in made.container()["volumeMounts"]


def test_every_block_of_values_in_the_guide_to_deploying_renders() -> None:
    page = (CHART.parents[1] / "docs/deploy.md").read_text()
    blocks = [part.partition("```")[0] for part in page.split("```yaml\n")[1:]]

    assert len(blocks) >= 4
    for block in blocks:
        if "kind:" not in block:
            done = template(yaml.safe_load(block))
            assert done.returncode == 0, block + done.stderr
