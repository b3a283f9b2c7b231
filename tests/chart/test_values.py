"""Faults in somebody's values are told in a sentence, before anything is deployed."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from rendering import CHART, NEEDS_HELM, ROOT, TOKENS, refusal, render

pytestmark = NEEDS_HELM

WRONG = {
    "Slack's app token for its bot token": (
        {},
        {**TOKENS, "secrets.slackBotToken": "xapp-planted"},
        "secrets.slackBotToken is the wrong kind of token: set the one that begins with xoxb-.",
    ),
    "Slack's bot token for its app token": (
        {},
        {**TOKENS, "secrets.slackAppToken": "xoxb-planted"},
        "secrets.slackAppToken is the wrong kind of token: set the one that begins with xapp-.",
    ),
    "tokens from two places": (
        {"externalSecret": {"enabled": True}},
        {"secrets.existingSecret": "mine"},
        "Set secrets.existingSecret or externalSecret.enabled, not both",
    ),
    "a token beside a secret": (
        {"secrets": {"existingSecret": "mine"}},
        {"secrets.githubToken": "planted"},
        "A token is set under secrets, but",
    ),
    "nowhere to keep conversations": (
        {"config": {"gcsBucketName": ""}},
        TOKENS,
        "config.gcsBucketName and config.store are both empty",
    ),
    "a store on a pod's own disk": ({"config": {"store": "file:///data"}}, TOKENS, "at '/config/store'"),
    "more at least than at most": (
        {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}},
        TOKENS,
        "autoscaling.minReplicas (5) is above autoscaling.maxReplicas (4).",
    ),
    "a session page to which nobody could sign in": (
        {"sessionPage": {"publicUrl": "https://peerbot.example.com"}},
        {**TOKENS, "secrets.slackClientSecret": "planted"},
        "sessionPage.slackClientId is not: nobody could sign in.",
    ),
    "a session page without its secret": (
        {"sessionPage": {"publicUrl": "https://peerbot.example.com", "slackClientId": "1.2"}},
        TOKENS,
        "Not set: secrets.slackClientSecret",
    ),
    "a session page that is not safe on its way": (
        {"sessionPage": {"publicUrl": "http://peerbot.example.com", "slackClientId": "1.2"}},
        TOKENS,
        "at '/sessionPage/publicUrl'",
    ),
    "a route to nowhere": (
        {"sessionPage": {"ingress": {"enabled": True}}},
        TOKENS,
        "sessionPage.publicUrl is empty",
    ),
    "a route of no gateway": (
        {"sessionPage": {"publicUrl": "https://a.b", "slackClientId": "1.2", "httpRoute": {"enabled": True}}},
        {**TOKENS, "secrets.slackClientSecret": "planted"},
        "sessionPage.httpRoute.parentRefs is empty",
    ),
    "a budget that blocks every drain": (
        {"dispatcher": {"replicaCount": 1}, "podDisruptionBudget": {"enabled": True}},
        TOKENS,
        "podDisruptionBudget.minAvailable (1) is not below the number of replicas (1): no node could ever be drained.",
    ),
    "a budget above the autoscaler's least": (
        {
            "dispatcher": {"replicaCount": 9},
            "autoscaling": {"enabled": True},
            "podDisruptionBudget": {"enabled": True, "minAvailable": 2},
        },
        TOKENS,
        "podDisruptionBudget.minAvailable (2) is not below the number of replicas (2)",
    ),
    "a budget of everybody": (
        {"podDisruptionBudget": {"enabled": True, "minAvailable": "100%"}},
        TOKENS,
        "at '/podDisruptionBudget/minAvailable'",
    ),
    "a network mode that is none": (
        {"networkPolicy": {"workers": "intranet"}},
        TOKENS,
        "value must be one of 'internet', 'gateway', 'open'",
    ),
    "a resource that is none": (
        {"worker": {"resources": {"requests": {"cpus": 1}}}},
        TOKENS,
        "at '/worker/resources/requests': additional properties 'cpus' not allowed",
    ),
    "a worker without a size": (
        {"worker": {"resources": {"requests": {"memory": None}}}},
        TOKENS,
        "at '/worker/resources/requests': missing property 'memory'",
    ),
    "no replica that may be away": (
        {"podDisruptionBudget": {"enabled": True, "maxUnavailable": 0}},
        TOKENS,
        "podDisruptionBudget.maxUnavailable is 0: no node could ever be drained.",
    ),
    "a proxy with a password": (
        {"proxy": {"url": "http://user:planted@proxy:3128"}},
        TOKENS,
        "proxy.url holds a password, which everybody who may read Deployments would see",
    ),
    "a proxy that is none": ({"proxy": {"url": "proxy:3128"}}, TOKENS, "at '/proxy/url'"),
    "a volume of the dispatcher's own": (
        {"dispatcher": {"extraVolumes": [{"name": "tokens", "emptyDir": {}}]}},
        TOKENS,
        "dispatcher.extraVolumes: the volume tokens has the name of one of the dispatcher's own",
    ),
    "a label that the services look for": (
        {"dispatcher": {"labels": {"app.kubernetes.io/component": "mine"}}},
        TOKENS,
        "dispatcher.labels: the chart sets app.kubernetes.io/component itself.",
    ),
    "a label by which Argo CD would prune runs": (
        {"worker": {"labels": {"argocd.argoproj.io/instance": "peerbot"}}},
        TOKENS,
        "worker.labels: argocd.argoproj.io/instance would say that workers belong to somebody else",
    ),
    "a pull secret without a name": ({"global": {"imagePullSecrets": [{}]}}, TOKENS, "missing property 'name'"),
    "an address that is none": (
        {"networkPolicy": {"allow": [{"cidr": "proxy"}]}},
        TOKENS,
        "at '/networkPolicy/allow/0/cidr'",
    ),
    "no replica": ({"dispatcher": {"replicaCount": 0}}, TOKENS, "at '/dispatcher/replicaCount'"),
    "a turn without time": ({"config": {"sessionTimeoutMinutes": 0}}, TOKENS, "at '/config/sessionTimeoutMinutes'"),
    "words for a switch": ({"slack": {"allowDirectMessages": "yes"}}, TOKENS, "at '/slack/allowDirectMessages'"),
    "a level that is none": ({"config": {"logLevel": "TRACE"}}, TOKENS, "at '/config/logLevel'"),
}


@pytest.mark.parametrize(("values", "sets", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_with_its_sentence(
    values: dict[str, Any], sets: dict[str, str], sentence: str
) -> None:
    said = refusal(values, sets=sets)

    assert sentence in said
    assert "planted" not in said


def test_tokens_that_are_missing_are_named_with_how_to_set_them_in_one_sentence() -> None:
    guide = {key: TOKENS[key] for key in ("secrets.slackBotToken", "secrets.githubToken")}  # as its install sets them

    assert (
        "Not set: secrets.slackAppToken, secrets.anthropicApiKey, and the cluster's secret peerbot/peerbot-secrets "
        'has no value to keep: add --set secrets.slackAppToken="$SLACK_APP_TOKEN" '
        '--set secrets.anthropicApiKey="$ANTHROPIC_API_KEY", or name a secret of your own with '
        "--set secrets.existingSecret=NAME."
    ) in refusal(sets=guide)


def sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place where keys are the chart's own: mappings with keys."""
    found = [path]
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += sections(value, (*path, key))
    return found


@pytest.mark.parametrize(
    "path", sections(yaml.safe_load((CHART / "values.yaml").read_text())), ids=lambda path: ".".join(path) or "top"
)
def test_an_unknown_key_is_refused_wherever_it_stands(path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"notAKey": 1}
    for key in reversed(path):
        values = {key: values}

    assert "additional properties 'notAKey' not allowed" in refusal(values)


def test_a_secret_of_ones_own_is_the_one_that_is_read() -> None:
    made = render({"secrets": {"existingSecret": "mine"}}, sets={})
    read = {item["valueFrom"]["secretKeyRef"]["name"] for item in made.container()["env"] if "valueFrom" in item}

    assert "Secret" not in made.kinds()
    assert read == {"mine"}


def test_numbers_and_names_are_handed_on_as_they_were_meant() -> None:
    made = render(
        {
            "worker": {
                "maxConcurrent": 1000000,
                "job": {"idleSeconds": 0},
                "resources": {
                    "requests": {"cpu": 2, "ephemeral-storage": 1000},
                    "limits": {"cpu": 0.5, "nvidia.com/gpu": 1},
                },
            },
            "config": {"sessionTimeoutMinutes": 0.5},
            "slack": {"triggerPhrase": 'hey: "bot" #1'},
        }
    )
    environment = made.environment()

    assert environment["WORKER_MAX_CONCURRENT"] == "1000000"
    assert environment["WORKER_IDLE_SECONDS"] == "0"
    assert environment["WORKER_CPU"] == "2"
    assert environment["SESSION_TIMEOUT_MINUTES"] == "0.5"
    assert made.worker_pod()["requests"] == {"ephemeral-storage": "1000"}
    assert environment["SLACK_TRIGGER_PHRASE"] == 'hey: "bot" #1'
    assert made.worker_pod()["limits"] | {"memory": "", "ephemeral-storage": ""} == {
        "cpu": "0.5",
        "nvidia.com/gpu": "1",
        "memory": "",
        "ephemeral-storage": "",
    }


def test_schema_and_page_are_what_the_values_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/chart_page.py", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_schema_closes_every_object_but_those_whose_keys_are_not_the_charts() -> None:
    def open_maps(schema: dict[str, Any], path: str = "") -> list[str]:
        found = [path] if schema.get("type") == "object" and schema.get("additionalProperties") is not False else []
        for key, part in schema.get("properties", {}).items():
            found += open_maps(part, f"{path}.{key}")
        return found

    assert open_maps(json.loads((CHART / "values.schema.json").read_text())) == [
        ".serviceAccount.annotations",
        ".sessionPage.ingress.annotations",
        ".dispatcher.labels",
        ".dispatcher.annotations",
        ".dispatcher.nodeSelector",
        ".dispatcher.affinity",
        ".worker.labels",
        ".worker.annotations",
        ".worker.nodeSelector",
        ".worker.affinity",
        ".retention.serviceAccount.annotations",
        ".metrics.podMonitor.labels",
        ".metrics.rules.labels",
    ]
