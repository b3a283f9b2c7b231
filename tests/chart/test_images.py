"""Images and workflows are clean before anybody builds or runs them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import ROOT

DOCKERFILES = sorted(ROOT.glob("images/*/Dockerfile"))
OWN = ROOT / "images/own-worker.Dockerfile"
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
BIN = Path(sys.executable).parent


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(*command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_there_are_two_images_and_three_workflows() -> None:
    assert [named(path) for path in DOCKERFILES] == ["images/dispatcher/Dockerfile", "images/worker/Dockerfile"]
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "deploy.yml", "images.yml"]


@pytest.mark.parametrize("dockerfile", [*DOCKERFILES, OWN, ROOT / ".devcontainer/Dockerfile"], ids=named)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    done = run(BIN / "hadolint", dockerfile)

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_image_of_ones_own_is_checked_when_it_is_built_and_is_the_one_in_the_docs() -> None:
    words = [line for line in OWN.read_text().splitlines() if not line.startswith("#")]
    page = (ROOT / "docs/worker-image.md").read_text()

    assert words[-2:] == ["USER 10001:10001", 'RUN ["/opt/peerbot/bin/peerbot", "worker", "--check"]']
    assert "\n".join(words) in page


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=named)
def test_an_image_is_small_and_runs_without_rights(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    final = text[text.rindex("FROM ") :]

    assert re.findall(r"^FROM (\S+)", text, re.M) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    assert re.findall(r"^USER (\S+)", final, re.M) == ["10001:10001"]
    first = r'"catatonit", "--", |"/opt/peerbot/bin/python", "-I", "-S", "/opt/peerbot/guard.py", "pod", '
    assert re.search(rf"^ENTRYPOINT \[(?:{first})", final, re.M)  # tini collects ended processes and hands SIGTERM on
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev|python3-pip)\b", text)
    assert (
        text.count("pip install") + text.count("python install") == text.count("--require-hashes") + 1
    )  # our own wheel


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=named)
def test_a_workflow_takes_actions_by_their_hash_alone(workflow: Path) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]

    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=named)
def test_a_workflows_commands_are_a_shells_and_take_nothing_from_outside_but_through_variables(workflow: Path) -> None:
    for script in (step["run"] for step in steps(workflow) if "run" in step):
        done = run("bash", "-n", stdin=script)
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        assert "${{" not in script


def test_the_jobs_of_ci_are_the_parts_of_its_command() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    jobs = job["strategy"]["matrix"]["include"]
    refused = run(ROOT / ".ci" / "run", "no such part")

    assert refused.returncode == 2
    assert {one["part"] for one in jobs} == set(refused.stderr.rpartition(": ")[2].split())
    assert [one["python"] for one in jobs if one["part"] == "tests"] == ["3.11", "3.12", "3.13", "3.14"]


def test_nothing_is_published_or_deployed_that_ci_has_not_passed() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())["jobs"]

    assert "gh run watch" in jobs["ci"]["steps"][0]["run"]
    assert set(jobs["publish"]["needs"]) == {"ci", "build"}
    assert jobs["deploy"]["needs"] == "publish"


def test_deploying_is_off_until_it_is_configured() -> None:
    images = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())["jobs"]
    deploy = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]

    assert "vars.GKE_CLUSTER != ''" in images["deploy"]["if"]
    assert deploy["deploy"]["if"] == "vars.GKE_CLUSTER != ''"
