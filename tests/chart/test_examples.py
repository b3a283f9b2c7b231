"""The guide's values are the examples, and every example makes manifests that every Kubernetes takes."""

import functools
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from rendering import CHART, EXAMPLES, NEEDS_HELM, TOKENS, Object, helm, render, tokens_for

pytestmark = NEEDS_HELM

VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")

PRODUCTION = """
global:
  imageRegistry: "ghcr.io/"
serviceAccount:
  annotations:
    iam.gke.io/gcp-service-account: claude-code-bot@PROJECT_ID.iam.gserviceaccount.com
secrets:
  slackBotToken: ""  # xoxb-your-bot-token
  githubToken: ""    # ghp_your-github-token
config:
  gcsBucketName: "peerbot-conversations-prod"
  gcsProjectId: "PROJECT_ID"
  githubOrganization: "peerbot-community"
dispatcher:
  replicaCount: 2
  resources:
    requests:
      cpu: 1000m
      memory: 2Gi
    limits:
      cpu: 2000m
      memory: 4Gi
worker:
  resources:
    requests:
      cpu: 2000m
      memory: 4Gi
    limits:
      cpu: 4000m
      memory: 8Gi
podDisruptionBudget:
  enabled: true
  minAvailable: 1
"""
SMALL = """
dispatcher:
  resources:
    requests: { cpu: 500m, memory: 1Gi }
    limits: { cpu: 1000m, memory: 2Gi }
worker:
  resources:
    requests: { cpu: 1000m, memory: 2Gi }
    limits: { cpu: 2000m, memory: 4Gi }
"""
LARGE = """
dispatcher:
  replicaCount: 3
  resources:
    requests: { cpu: 1000m, memory: 2Gi }
    limits: { cpu: 2000m, memory: 4Gi }
worker:
  resources:
    requests: { cpu: 2000m, memory: 4Gi }
    limits: { cpu: 4000m, memory: 8Gi }
"""
AUTOSCALING = """
autoscaling:
  enabled: true
  minReplicas: 2
  maxReplicas: 10
  targetCPUUtilizationPercentage: 70
"""
AUTOPILOT = """
dispatcher:
  resources:
    requests:
      cpu: 250m      # Autopilot minimum
      memory: 512Mi  # Autopilot minimum
worker:
  resources:
    requests:
      cpu: 1000m     # Claude needs substantial CPU
      memory: 2Gi    # Memory for Git operations
"""
COST = """
dispatcher:
  resources:
    requests:
      cpu: 250m
      memory: 512Mi
worker:
  resources:
    requests:
      cpu: 1000m
      memory: 2Gi
podDisruptionBudget:
  enabled: true
  minAvailable: 1
"""
GUIDE = {
    "production": PRODUCTION,
    "small-team": SMALL,
    "large-team": LARGE,
    "autoscaling": AUTOSCALING,
    "autopilot": AUTOPILOT,
    "cost-optimized": COST,
}
"""The blocks of values of the deployment guide, as it has them, by the example that each became."""


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    return bool(whole == part)


@pytest.mark.parametrize("name", GUIDE)
def test_the_guides_values_are_the_example_of_their_name(name: str) -> None:
    assert contains(yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text()), yaml.safe_load(GUIDE[name]))


@pytest.mark.parametrize("name", GUIDE)
def test_the_guides_values_size_dispatcher_and_worker_as_they_say(name: str) -> None:
    values = yaml.safe_load(GUIDE[name])
    made = render(GUIDE[name])

    if "dispatcher" in values:
        assert contains(made.container()["resources"], values["dispatcher"]["resources"])
        requests = values["worker"]["resources"]["requests"]
        assert made.environment()["WORKER_CPU"] == requests["cpu"]
        assert made.environment()["WORKER_MEMORY"] == requests["memory"]
        assert contains(made.worker_pod()["limits"], values["worker"]["resources"].get("limits", {}))
        replicas = made.one("Deployment", "peerbot-dispatcher")["spec"]["replicas"]
        assert replicas == values["dispatcher"].get("replicaCount", 2)
    if "podDisruptionBudget" in values:
        assert made.one("PodDisruptionBudget", "peerbot-dispatcher")["spec"]["minAvailable"] == 1
    else:
        assert "PodDisruptionBudget" not in made.kinds()


def test_the_guides_production_values_bind_the_account_and_name_bucket_and_organization() -> None:
    made = render(PRODUCTION)
    account = made.one("ServiceAccount", "claude-worker")

    assert made.pod()["serviceAccountName"] == "claude-worker"
    assert account["metadata"]["annotations"] == {
        "iam.gke.io/gcp-service-account": "claude-code-bot@PROJECT_ID.iam.gserviceaccount.com"
    }
    assert contains(
        made.environment(),
        {
            "GCS_BUCKET_NAME": "peerbot-conversations-prod",
            "GCS_PROJECT_ID": "PROJECT_ID",
            "GITHUB_ORGANIZATION": "peerbot-community",
        },
    )
    assert made.container()["image"].startswith("ghcr.io/")
    assert made.worker_pod()["image"].startswith("ghcr.io/")


def test_the_guides_autoscaling_leaves_the_replicas_to_the_autoscaler_and_goes_down_slowly() -> None:
    made = render(AUTOSCALING)
    scaler = made.one("HorizontalPodAutoscaler", "peerbot-dispatcher")["spec"]
    down = scaler["behavior"]["scaleDown"]

    assert "replicas" not in made.one("Deployment", "peerbot-dispatcher")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert [policy["value"] for policy in down["policies"]] == [1]
    assert down["policies"][0]["periodSeconds"] > made.pod()["terminationGracePeriodSeconds"]


def test_the_guides_slack_values_are_settings() -> None:
    made = render(
        """
        slack:
          triggerPhrase: "@peerbotai"
          allowDirectMessages: true
          allowPrivateChannels: false
          enableStatusReactions: true
          enableProgressUpdates: true
        """
    )

    assert {name: value for name, value in made.environment().items() if name.startswith("SLACK_")} == {
        "SLACK_TRIGGER_PHRASE": "@peerbotai",
        "SLACK_ALLOW_DIRECT_MESSAGES": "true",
        "SLACK_ALLOW_PRIVATE_CHANNELS": "false",
        "SLACK_ENABLE_STATUS_REACTIONS": "true",
        "SLACK_ENABLE_PROGRESS_UPDATES": "true",
    }


def test_the_guides_upgrade_sets_both_images_tags() -> None:
    made = render(PRODUCTION, sets={**TOKENS, "dispatcher.image.tag": "new-tag", "worker.image.tag": "new-tag"})

    assert made.container()["image"].endswith(":new-tag")
    assert made.worker_pod()["image"].endswith(":new-tag")


def test_the_guides_external_secret_is_made_for_every_token() -> None:
    made = render(CHART / "examples/secret-manager.yaml", sets={})
    spec = made.one("ExternalSecret", "peerbot-secrets")["spec"]

    assert "Secret" not in made.kinds()
    assert spec["refreshInterval"] == "1h"
    assert spec["secretStoreRef"] == {"name": "gcpsm-secret-store", "kind": "SecretStore"}
    assert spec["target"] == {"name": "peerbot-secrets"}
    assert {item["secretKey"]: item["remoteRef"]["key"] for item in spec["data"]} == {
        "slack-bot-token": "peerbot-slack-bot-token",
        "slack-app-token": "peerbot-slack-app-token",
        "github-token": "peerbot-github-token",
        "anthropic-api-key": "peerbot-anthropic-api-key",
    }


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """Return the objects of all examples, each once."""
    made = [item for example in EXAMPLES for item in render(example, sets=tokens_for(example)).objects]
    operators = ("ExternalSecret", "PodMonitor", "PrometheusRule")  # kinds of their own
    known = [item for item in made if item["kind"] not in operators]
    return list({json.dumps(item): item for item in known}.values())


@pytest.fixture
def schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the schemas: the validator reads the same megabytes again for each object."""
    monkeypatch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_of_every_example_is_valid(
    version: str, objects: list[Object], schemas_are_read_once: None
) -> None:
    assert len(objects) >= 16
    for item in objects:
        assert kubernetes_validate.validate(item, version, strict=True) == version


def test_a_manifest_with_a_misspelled_field_is_not_taken_for_valid() -> None:
    service = render().one("Service", "peerbot-dispatcher")
    service["spec"]["portz"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_complain_about(example: Path) -> None:
    flags = [word for key, value in tokens_for(example).items() for word in ("--set", f"{key}={value}")]
    done = helm("lint", "--strict", str(CHART), "--values", str(example), *flags)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout + done.stderr
