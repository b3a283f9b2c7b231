"""The chart's monitor, alerts and dashboard: off until asked for, closed to workers, and true."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, NEEDS_HELM, ROOT, Manifests, refusal, render

from peerbot.metrics import DEFINITIONS

PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(
    PROMTOOL is None and not os.environ.get("CI"), reason="promtool is missing: apt-get install prometheus"
)
"""In CI the tests fail where it is missing."""

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
ALERTS_TEST = Path(__file__).with_name("alerts_test.yaml")
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
ON = {
    "metrics": {
        "from": [PROMETHEUS],
        "podMonitor": {"enabled": True, "labels": {"release": "stack"}},
        "rules": {"enabled": True, "labels": {"release": "stack"}},
        "dashboard": {"enabled": True},
    }
}


def alerts() -> list[dict[str, Any]]:
    return yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]  # type: ignore[no-any-return]


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL, "promtool is missing: apt-get install prometheus"
    return subprocess.run([PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


def policy(made: Manifests, name: str) -> list[dict[str, Any]]:
    return made.one("NetworkPolicy", name)["spec"]["ingress"]  # type: ignore[no-any-return]


@NEEDS_HELM
def test_nothing_of_it_is_made_until_it_is_asked_for() -> None:
    made = render()

    assert not made.kinds() & {"PodMonitor", "PrometheusRule"}
    assert not [item for item in made.objects if item["metadata"]["name"].endswith(("-metrics", "-dashboard"))]


@NEEDS_HELM
def test_a_monitor_finds_the_replicas_by_the_name_of_their_port() -> None:
    made = render(ON)
    spec = made.one("PodMonitor", "peerbot-dispatcher")["spec"]
    labels = made.one("Deployment", "peerbot-dispatcher")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in made.container()["ports"]}

    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert [ports[each["port"]] for each in spec["podMetricsEndpoints"]] == [3002]
    assert made.one("PodMonitor", "peerbot-dispatcher")["metadata"]["labels"]["release"] == "stack"


@NEEDS_HELM
def test_only_the_pods_that_the_operator_names_reach_the_metrics() -> None:
    made = render(ON)
    to_workers = [rule for rule in made.one("NetworkPolicy", "peerbot-worker")["spec"]["egress"] if "ports" in rule]

    assert policy(made, "peerbot-metrics") == [{"from": [PROMETHEUS], "ports": [{"port": 3002, "protocol": "TCP"}]}]
    ports = [port["port"] for rule in policy(made, "peerbot-dispatcher") for port in rule["ports"]]
    assert ports == [3000, 3001]
    assert 3002 not in [port["port"] for rule in to_workers for port in rule["ports"]]


@NEEDS_HELM
def test_a_monitor_that_could_reach_nothing_is_refused_in_a_sentence() -> None:
    assert "metrics.podMonitor is enabled, and metrics.from is empty" in refusal(
        {"metrics": {"podMonitor": {"enabled": True}}}
    )
    assert "/metrics/from/0" in refusal({"metrics": {"from": [{}]}}), "that would be every pod"
    assert "/metrics/from/0" in refusal({"metrics": {"from": [{"namespaceSelector": {}}]}}), "so would that"


@NEEDS_HELM
def test_the_alerts_are_about_the_release_alone() -> None:
    made = render(ON, release="other")
    (rule,) = [item for item in made.objects if item["kind"] == "PrometheusRule"]
    found = re.findall(r"peerbot_\w+\{([^}]*)\}", json.dumps([r["expr"] for r in rule["spec"]["groups"][0]["rules"]]))

    assert len(found) >= len(alerts())
    ours = r"namespace=\"peerbot\", app_kubernetes_io_instance=\"other\"".replace('"', r"\"").replace("\\\\", "\\")
    assert all(each.startswith(ours) for each in found), found[0]


@NEEDS_HELM
def test_the_dashboard_comes_in_a_config_map_that_grafana_finds() -> None:
    made = render(ON).one("ConfigMap", "peerbot-dashboard")

    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["peerbot.json"]) == json.loads(DASHBOARD.read_text())


@NEEDS_HELM
@NEEDS_PROMTOOL
def test_prometheus_takes_the_alerts_as_the_chart_renders_them(tmp_path: Path) -> None:
    (rule,) = [item for item in render(ON).objects if item["kind"] == "PrometheusRule"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))

    for file in (ALERTS, tmp_path / "rules.yaml"):
        checked = promtool("check", "rules", file)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@NEEDS_PROMTOOL
def test_each_alert_fires_when_it_should_and_is_silent_when_all_is_well() -> None:
    tested = promtool("test", "rules", ALERTS_TEST)
    cases = [case for group in yaml.safe_load(ALERTS_TEST.read_text())["tests"] for case in group["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_each_alert_leads_to_its_own_section_in_the_docs() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    home = yaml.safe_load((CHART / "Chart.yaml").read_text())["home"]

    for alert in alerts():
        address, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert address == f"{home}/blob/main/docs/operate.md"
        assert anchor == alert["alert"].lower()
        assert re.search(rf"^#+ {alert['alert']}$", page, re.M), alert["alert"]


def test_alerts_and_dashboard_name_only_metrics_that_are_there() -> None:
    there = {each.name for each in DEFINITIONS}
    there |= {f"{each.name}_bucket" for each in DEFINITIONS if each.kind == "histogram"}
    labels = {each.name: set(each.labels) for each in DEFINITIONS}
    for query in [*queries(), *(alert["expr"] for alert in alerts())]:
        found = re.findall(r"\b(peerbot_\w+)\{([^}]*)\}", query)
        assert found, query
        for name, selector in found:
            assert name in there, query
            used = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", selector)) - {"namespace"}
            assert used <= labels.get(name.removesuffix("_bucket"), set()), query


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = " ".join([*queries(), *(alert["expr"] for alert in alerts())])

    assert [each.name for each in DEFINITIONS if each.name not in shown] == []
