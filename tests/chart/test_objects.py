"""The chart deploys the objects that dispatcher, workers and operators rely on."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, EXAMPLES, NEEDS_HELM, TOKENS, helm, render, tokens_for

from peerbot import __version__
from peerbot.runs.jobs import worker_pod
from peerbot.settings import Settings

pytestmark = NEEDS_HELM

WORKER = {
    "app.kubernetes.io/name": "peerbot-worker",
    "app.kubernetes.io/instance": "peerbot",
    "app.kubernetes.io/component": "worker",
}
DISPATCHER = {**WORKER, "app.kubernetes.io/name": "peerbot", "app.kubernetes.io/component": "dispatcher"}


def egress(mode: str) -> list[dict[str, Any]]:
    made = render({"networkPolicy": {"workers": mode}})
    return made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"]  # type: ignore[no-any-return]


def test_the_dispatchers_rights_are_these_and_no_others() -> None:
    made = render()
    role = made.one("Role", "claude-worker")
    (binding,) = (item for item in made.objects if item["kind"] == "RoleBinding")

    assert [item["metadata"]["name"] for item in made.objects if item["kind"] == "Role"] == ["claude-worker"]
    assert not made.kinds() & {"ClusterRole", "ClusterRoleBinding"}
    assert {
        (group, name): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
    } == {
        ("batch", "jobs"): {"create", "get", "list", "watch", "patch", "delete"},
        ("", "pods"): {"get", "list", "watch"},
        ("", "events"): {"get", "list", "watch"},
        ("", "secrets"): {"create", "delete"},
    }
    assert binding["roleRef"]["name"] == "claude-worker"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "claude-worker", "namespace": "peerbot"}]


def test_the_workers_account_has_no_right_and_no_token() -> None:
    made = render()

    assert made.one("ServiceAccount", "claude-worker-sandbox")["automountServiceAccountToken"] is False
    assert made.worker_pod()["serviceAccountName"] == "claude-worker-sandbox"


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_the_dispatchers_pods_keep_to_the_restricted_standard(kind: str) -> None:
    made = render()
    pod = made.pod() if kind == "Deployment" else made.one("Pod", "peerbot-doctor")["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir", "configMap", "secret"}


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_kubernetes_adds_no_variables_that_look_like_settings(kind: str) -> None:
    made = render()
    pod = made.pod() if kind == "Deployment" else made.one("Pod", "peerbot-doctor")["spec"]

    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("values", ["", CHART / "examples/production.yaml", CHART / "examples/s3.yaml"])
def test_every_variable_of_the_dispatcher_is_a_setting(values: str | Path) -> None:
    made = render(values)
    names = [item["name"] for item in made.container()["env"]]
    theirs = {name for name in names if name.startswith("AWS_")}

    assert len(names) == len(set(names))
    assert set(names) - theirs - {name.upper() for name in Settings.model_fields} == set()


def test_what_is_not_set_has_the_settings_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    with_defaults = render()
    in_pod = {"PEERBOT_RUNTIME", "PEERBOT_WORKER_POD", "PEERBOT_GATEWAY_URL", "PEERBOT_TOKENS_DIR"}
    for name, value in with_defaults.environment().items():
        monkeypatch.setenv(name, value)
    tokens: dict[str, Any] = dict(
        zip(("slack_bot_token", "slack_app_token", "github_token", "anthropic_api_key"), TOKENS.values(), strict=True)
    )
    settings = Settings(**tokens)

    for name in set(with_defaults.environment()) - in_pod:
        assert getattr(settings, name.lower()) == Settings.model_fields[name.lower()].default, name


def test_the_dispatcher_understands_what_it_is_told_of_workers(tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = {
        "global": {"imageRegistry": "registry.example/", "imagePullSecrets": ["pull"]},
        "worker": {
            "image": {"tag": "t", "pullPolicy": "Always"},
            "labels": {"team": "a"},
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
            "nodeSelector": {"pool": "agents"},
            "tolerations": [{"key": "agents", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "low",
            "runtimeClassName": "gvisor",
        },
    }
    file = tmp_path / "worker-pod.json"
    file.write_text(json.dumps(render(said).worker_pod()))
    pod = worker_pod.WorkerPod.read(file)

    assert pod.image == "registry.example/buremba/peerbot-worker:t"
    assert pod.imagePullPolicy == "Always"
    assert pod.imagePullSecrets == ["pull"]
    assert pod.instance == "peerbot"
    assert pod.requests == {"ephemeral-storage": "8Gi"}
    assert pod.limits == {"cpu": "4000m", "memory": "8Gi", "ephemeral-storage": "8Gi"}
    for key, value in said["worker"].items():
        if key not in ("image", "annotations"):
            assert getattr(pod, key) == value, key
    more = {"karpenter.sh/do-not-disrupt": "true", worker_pod.NETWORK: "internet"}
    assert pod.annotations == {**said["worker"]["annotations"], **more}


def test_a_change_of_the_workers_or_of_a_token_starts_new_replicas_and_nothing_else_does() -> None:
    def marks(values: dict[str, Any], token: str = "xoxb-planted-1") -> tuple[str, str]:
        made = render(values, sets={**TOKENS, "secrets.slackBotToken": token})
        notes = made.one("Deployment", "peerbot-dispatcher")["spec"]["template"]["metadata"]["annotations"]
        return notes["checksum/config"], notes["checksum/secret"]

    before = marks({})

    assert marks({"networkPolicy": {"dnsServers": ["10.0.0.10/32"]}}) == before
    assert marks({"worker": {"runtimeClassName": "gvisor"}})[0] != before[0]
    assert marks({}, "xoxb-planted-5")[1] != before[1]


@pytest.mark.parametrize("drain", [0, 20, 240])
def test_a_replica_has_time_to_end_whatever_its_drain_is(drain: int) -> None:
    made = render({"dispatcher": {"drainSeconds": drain}})
    (_, before) = made.container()["lifecycle"]["preStop"]["exec"]["command"]

    assert made.environment()["PEERBOT_DRAIN_SECONDS"] == str(drain)
    assert made.pod()["terminationGracePeriodSeconds"] == int(before) + drain + 15


def test_replicas_are_replaced_one_at_a_time_the_new_one_first() -> None:
    spec = render().one("Deployment", "peerbot-dispatcher")["spec"]

    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_services_are_the_guides_and_the_gateways_and_reach_the_dispatcher_alone() -> None:
    made = render()
    labels = made.one("Deployment", "peerbot-dispatcher")["spec"]["template"]["metadata"]["labels"]
    ports = {item["name"]: item["containerPort"] for item in made.container()["ports"]}

    for name, port in {"peerbot-dispatcher": 3000, "peerbot-gateway": 3001}.items():
        spec = made.one("Service", name)["spec"]
        assert [item["port"] for item in spec["ports"]] == [port]
        assert ports[spec["ports"][0]["targetPort"]] == port
        assert spec["selector"].items() <= labels.items()
        assert not spec["selector"].items() <= made.one("Pod", "peerbot-doctor")["metadata"]["labels"].items()
    assert made.environment()["PEERBOT_GATEWAY_URL"] == "http://peerbot-gateway:3001"


def test_the_gateway_is_for_workers_alone() -> None:
    spec = render().one("NetworkPolicy", "peerbot-dispatcher")["spec"]
    health, gateway = spec["ingress"]

    assert spec["podSelector"] == {"matchLabels": DISPATCHER}
    assert spec["policyTypes"] == ["Ingress"]
    assert health == {"ports": [{"port": 3000, "protocol": "TCP"}]}
    assert gateway == {
        "from": [{"podSelector": {"matchLabels": WORKER}}],
        "ports": [{"port": 3001, "protocol": "TCP"}],
    }


@pytest.mark.parametrize("mode", ["internet", "gateway", "open"])
def test_nobody_reaches_a_worker(mode: str) -> None:
    spec = render({"networkPolicy": {"workers": mode}}).one("NetworkPolicy", "peerbot-worker")["spec"]

    assert spec["podSelector"] == {"matchLabels": WORKER}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec


def test_workers_reach_the_gateway_and_names_alone_where_that_is_wanted() -> None:
    gateway, names = egress("gateway")

    assert gateway == {
        "to": [{"podSelector": {"matchLabels": DISPATCHER}}],
        "ports": [{"port": 3001, "protocol": "TCP"}],
    }
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}


def test_workers_reach_the_internet_but_nothing_private_and_no_metadata_server() -> None:
    *others, internet = egress("internet")
    assert others == egress("gateway")

    blocks = [item["ipBlock"] for item in internet["to"]]
    four = next(block for block in blocks if block["cidr"] == "0.0.0.0/0")
    assert "ports" not in internet
    for private in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "240.0.0.0/4"),
    ):
        assert private in four["except"]
    assert [block["cidr"] for block in blocks if block is not four] == ["2000::/3"]


def test_more_addresses_can_be_kept_from_workers() -> None:
    made = render({"networkPolicy": {"except": ["203.0.113.7/32"]}})
    (four, _) = made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"][-1]["to"]

    assert "203.0.113.7/32" in four["ipBlock"]["except"]


def test_workers_reach_everything_where_that_is_wanted() -> None:
    assert egress("open") == [{}]


def test_without_network_policies_there_are_none() -> None:
    assert "NetworkPolicy" not in render({"networkPolicy": {"enabled": False}}).kinds()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_token_is_in_any_object_but_the_secret(example: Path) -> None:
    made = render(example, sets=tokens_for(example))
    others = json.dumps([item for item in made.objects if item["kind"] != "Secret"])

    for token in TOKENS.values():
        assert token not in others
        assert base64.b64encode(token.encode()).decode() not in others
    if tokens_for(example):
        assert made.secret() == {
            "slack-bot-token": "xoxb-planted-1",
            "slack-app-token": "xapp-planted-2",
            "github-token": "ghp-planted-3",
            "anthropic-api-key": "sk-ant-planted-4",
        }


def test_a_session_page_gets_its_settings_its_secret_and_a_way_in_for_its_two_paths() -> None:
    page = {
        "publicUrl": "https://peerbot.example.com",
        "slackClientId": "1.2",
        "operators": ["U1", "U2"],
        "ingress": {"enabled": True, "className": "nginx", "annotations": {"a/b": "c"}, "tlsSecretName": "tls"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway", "namespace": "infra"}]},
    }
    off = render({"sessionPage": {"operators": ["U1"]}})
    made = render({"sessionPage": page}, sets={**TOKENS, "secrets.slackClientSecret": "planted-5"})
    ingress, route = made.one("Ingress", "peerbot-sessions"), made.one("HTTPRoute", "peerbot-sessions")

    assert not off.kinds() & {"Ingress", "HTTPRoute"}
    assert not {"PEERBOT_PUBLIC_URL", "SLACK_CLIENT_ID", "PEERBOT_SESSION_OPERATORS"} & off.environment().keys()
    assert "slack-client-secret" not in off.secret()
    assert made.environment().items() >= {
        ("PEERBOT_PUBLIC_URL", "https://peerbot.example.com"),
        ("SLACK_CLIENT_ID", "1.2"),
        ("PEERBOT_SESSION_OPERATORS", "U1,U2"),
    }
    assert made.secret()["slack-client-secret"] == "planted-5"
    assert {item["name"] for item in made.container()["env"] if "valueFrom" in item} >= {"SLACK_CLIENT_SECRET"}
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "peerbot.example.com"
    backends = {path["path"]: path["backend"]["service"] for path in rule["http"]["paths"]}
    service = {"name": "peerbot-dispatcher", "port": {"name": "health"}}
    assert backends == {"/sessions": service, "/static": service}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["peerbot.example.com"], "secretName": "tls"}]
    assert ingress["metadata"]["annotations"] == {"a/b": "c"}
    (rule,) = route["spec"]["rules"]
    assert [match["path"]["value"] for match in rule["matches"]] == ["/sessions", "/static"]
    assert rule["backendRefs"] == [{"name": "peerbot-dispatcher", "port": 3000}]
    assert route["spec"]["hostnames"] == ["peerbot.example.com"]
    assert route["spec"]["parentRefs"] == [{"name": "gateway", "namespace": "infra"}]


def test_helm_test_asks_the_doctor_with_the_dispatchers_own_settings_and_rights() -> None:
    made = render()
    doctor = made.one("Pod", "peerbot-doctor")
    (container,) = doctor["spec"]["containers"]

    assert doctor["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert doctor["spec"]["serviceAccountName"] == "claude-worker"
    assert container["args"] == ["doctor"]
    assert container["image"] == made.container()["image"]
    assert container["env"] == made.container()["env"]


def test_another_release_has_names_of_its_own() -> None:
    made = render(release="second")

    made.one("Deployment", "second-peerbot-dispatcher")
    made.one("Secret", "second-peerbot-secrets")
    env = made.one("Deployment", "second-peerbot-dispatcher")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "PEERBOT_GATEWAY_URL", "value": "http://second-peerbot-gateway:3001"} in env


def notes(*sets: str) -> str:
    tokens = [f"{key}={value}" for key, value in TOKENS.items()]
    flags = [word for item in (*tokens, *sets) for word in ("--set", item)]
    done = helm("install", "peerbot", str(CHART), "--namespace", "peerbot", "--dry-run=client", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_say_what_to_do_next() -> None:
    said = notes()

    assert "helm test peerbot --namespace peerbot --logs" in said
    assert "kubectl logs --follow deployment/peerbot-dispatcher --namespace peerbot" in said
    assert "@peerbotai Hello!" in said
    assert "sockets" not in said


def test_the_notes_say_what_is_weak() -> None:
    assert "of 10 replicas five hear events" in notes("autoscaling.enabled=true")
    assert "a cloud's metadata server included" in notes("networkPolicy.workers=open")
    assert "Network policies are off" in notes("networkPolicy.enabled=false")
    assert "With one replica" in notes("dispatcher.replicaCount=1")


def test_the_chart_has_the_products_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == __version__
    assert chart["version"] == __version__


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"workers": "open"}, "open"),
        ({"enabled": False}, "open"),
        ({}, "internet"),
        ({"workers": "gateway"}, "gateway"),
    ],
    ids=str,
)
def test_what_workers_reach_is_told_to_the_doctor_and_to_session_pages(policy: dict[str, Any], told: str) -> None:
    config = render({"networkPolicy": policy}).one("ConfigMap", "peerbot-config")

    assert json.loads(config["data"]["worker-pod.json"])["annotations"]["peerbot.dev/network"] == told
