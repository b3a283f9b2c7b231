"""The chart as people render it: the real helm, called as they call it."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "peerbot"
EXAMPLES = sorted(CHART.glob("examples/*.yaml"))
HELM = ROOT / ".tools" / "helm"

NEEDS_HELM = pytest.mark.skipif(
    not HELM.exists() and not os.environ.get("CI"), reason="helm is missing: `make tools` gets it"
)
"""The mark of a module whose tests render the chart. In CI they fail where helm is missing."""

TOKENS = {
    "secrets.slackBotToken": "xoxb-planted-1",
    "secrets.slackAppToken": "xapp-planted-2",
    "secrets.githubToken": "ghp-planted-3",
    "secrets.anthropicApiKey": "sk-ant-planted-4",
}

Object = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """Return the objects that the chart makes, by kind and name."""

    objects: list[Object]

    def one(self, kind: str, name: str) -> Object:
        found = [item for item in self.objects if item["kind"] == kind and item["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind} {name}: {len(found)} of them"
        return found[0]

    def kinds(self) -> set[str]:
        return {item["kind"] for item in self.objects}

    def pod(self) -> Object:
        """The dispatcher's pod."""
        return self.one("Deployment", "peerbot-dispatcher")["spec"]["template"]["spec"]  # type: ignore[no-any-return]

    def container(self) -> Object:
        (container,) = self.pod()["containers"]
        return container  # type: ignore[no-any-return]

    def environment(self) -> dict[str, str]:
        """The dispatcher's settings, without those that come from a secret."""
        return {item["name"]: item["value"] for item in self.container()["env"] if "value" in item}

    def worker_pod(self) -> Object:
        """Return the dispatcher's settings for workers' pods."""
        return json.loads(self.one("ConfigMap", "peerbot-config")["data"]["worker-pod.json"])  # type: ignore[no-any-return]

    def secret(self) -> dict[str, str]:
        data = self.one("Secret", "peerbot-secrets")["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}


def helm(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Call helm; the caller looks at the exit code."""
    return subprocess.run([HELM, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


def template(
    values: str | Path | Mapping[str, Any] = "", *, sets: Mapping[str, str] = TOKENS, release: str = "peerbot"
) -> subprocess.CompletedProcess[str]:
    """Render with a values file, a block of values as text, or values."""
    if isinstance(values, Path):
        text = values.read_text()
    else:
        text = values if isinstance(values, str) else yaml.safe_dump(dict(values))
    flags = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return helm("template", release, str(CHART), "--namespace", "peerbot", "--values", "-", *flags, stdin=text)


def render(
    values: str | Path | Mapping[str, Any] = "", *, sets: Mapping[str, str] = TOKENS, release: str = "peerbot"
) -> Manifests:
    """Render what has to render."""
    done = template(values, sets=sets, release=release)
    assert done.returncode == 0, done.stderr
    return Manifests([item for item in yaml.safe_load_all(done.stdout) if item])


def refusal(values: str | Path | Mapping[str, Any] = "", *, sets: Mapping[str, str] = TOKENS) -> str:
    """Render what must not render; returns what helm says."""
    done = template(values, sets=sets)
    assert done.returncode != 0, "it rendered"
    return done.stderr


def tokens_for(example: Path) -> Mapping[str, str]:
    """Return the values beside an example: none if the example says that the tokens come from elsewhere."""
    return {} if example.stem == "secret-manager" else TOKENS
