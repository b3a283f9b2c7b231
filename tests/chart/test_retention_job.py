"""The CronJob that prunes the journal: off until it is asked for, with an account of its own and no token."""

from typing import Any

import pytest
from rendering import CHART, NEEDS_HELM, refusal, render

from peerbot import cli

pytestmark = NEEDS_HELM

VALUES: dict[str, Any] = {
    "retention": {
        "olderThan": "180d",
        "schedule": "5 4 * * 0",
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "r@p.iam.gserviceaccount.com"}},
    },
    "dispatcher": {"extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}, {"name": "OTHER", "value": "x"}]},
}


def job(values: dict[str, Any] = VALUES) -> dict[str, Any]:
    return render(values).one("CronJob", "peerbot-retention")["spec"]  # type: ignore[no-any-return]


def test_it_is_off_until_it_is_asked_for() -> None:
    made = render()

    assert "CronJob" not in made.kinds()
    assert "peerbot-retention" not in [item["metadata"]["name"] for item in made.objects]


def test_it_runs_the_command_that_there_is() -> None:
    (container,) = job()["jobTemplate"]["spec"]["template"]["spec"]["containers"]

    options = cli.parser().parse_args(container["args"])
    assert (options.older_than.days, options.yes) == (180, True)


def test_it_has_the_store_and_no_token() -> None:
    (container,) = job()["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    names = {item["name"] for item in container["env"]}

    assert names == {"GCS_BUCKET_NAME", "AWS_REGION"}
    assert not any("valueFrom" in item for item in container["env"])
    (s3,) = job({"retention": {"olderThan": "30d"}, "config": {"store": "s3://b"}})["jobTemplate"]["spec"]["template"][
        "spec"
    ]["containers"]
    assert {item["name"]: item["value"] for item in s3["env"]} == {"PEERBOT_STORE": "s3://b"}


def test_it_finds_the_way_out_that_the_dispatcher_has() -> None:
    values = VALUES | {"proxy": {"url": "http://proxy.example.com:3128"}, "trust": {"configMap": "ours"}}
    pod = job(values)["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {item["name"]: item["value"] for item in container["env"]}

    assert variables["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert variables["PEERBOT_CA_FILE"].startswith(container["volumeMounts"][-1]["mountPath"])
    assert pod["volumes"][-1] == {"name": "ca", "configMap": {"name": "ours"}}


def test_its_account_is_its_own_and_may_do_nothing_in_the_cluster() -> None:
    made = render(VALUES)
    account = made.one("ServiceAccount", "peerbot-retention")
    pod = job()["jobTemplate"]["spec"]["template"]["spec"]

    assert account["metadata"]["annotations"] == VALUES["retention"]["serviceAccount"]["annotations"]
    assert account["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "peerbot-retention"
    bound = [subject["name"] for item in made.objects for subject in item.get("subjects", [])]
    assert "peerbot-retention" not in bound


def test_it_keeps_to_the_restricted_standard_and_its_pods_are_no_dispatchers() -> None:
    spec = job()
    template = spec["jobTemplate"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
    selector = render(VALUES).one("Deployment", "peerbot-dispatcher")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("age", ["180", "0d", "6 months", "-1d"])
def test_an_age_that_is_none_is_refused(age: str) -> None:
    assert "olderThan" in refusal({"retention": {"olderThan": age}})


def test_the_other_examples_keep_everything() -> None:
    with_it = [example.stem for example in CHART.glob("examples/*.yaml") if "olderThan" in example.read_text()]

    assert with_it == ["retention"]
