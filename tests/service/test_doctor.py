"""`peerbot doctor` as an operator runs it: all well on a good set-up, and each fault named with its fix."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from gcs_server import gcs_server, make_bucket
from system import System, sandbox_setting

from peerbot.doctor import inside
from peerbot.local.slack.faults import Fault
from peerbot.slack.manifest import SCOPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "s3cr3t-Value-of-a-credential"
ALL_SCOPES = [scope.name for scope in SCOPES]
CHECKS = [
    "settings",
    "sandbox",
    "slack_bot_token",
    "slack_scopes",
    "slack_app_token",
    "github_token",
    "github_token_scopes",
    "github_organization",
    "github_organization_rights",
    "github_workflows",
    "store",
    "claude_key",
]


@dataclass(frozen=True)
class Found:
    """One finding, as the JSON document has it."""

    check: str
    outcome: str
    said: str
    fix: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The servers alone, with tokens that may do everything that they should."""
    async with System(tmp_path_factory.mktemp("system")) as system:
        system.github.grant("repo, read:org")
        yield system


async def said_by(environment: dict[str, str], *options: str) -> tuple[int, str]:
    """Exit code and standard output of `peerbot doctor`; no secret is in it, and nothing is on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "doctor", *options),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(55):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    named = [value for name, value in environment.items() if name.endswith(("_TOKEN", "_KEY")) and len(value) > 10]
    assert [secret for secret in (SECRET, *named) if secret in out.decode()] == []
    assert err.decode() == ""
    return process.returncode or 0, out.decode()


async def findings(environment: dict[str, str], *options: str) -> tuple[int, list[Found]]:
    """Exit code and findings."""
    code, out = await said_by(environment, "--json", *options)
    return code, [Found(**finding) for finding in json.loads(out)["findings"]]


async def wrong(environment: dict[str, str], *options: str) -> list[Found]:
    """Return the faults; nothing is left out because of them, and each has its fix."""
    code, found = await findings(environment, *options)
    faults = [finding for finding in found if finding.outcome == "wrong"]
    assert code == (1 if faults else 0)
    behind_others = {"slack_scopes", "github_token_scopes", "github_organization_rights"}
    assert {finding.check for finding in found} >= set(CHECKS) - behind_others
    assert all(fault.said and fault.fix for fault in faults), faults
    return faults


async def test_a_good_set_up_is_all_well(system: System) -> None:
    code, out = await said_by(system.environment, "--model")

    lines = out.splitlines()
    assert code == 0
    assert [line.split(":")[0][2:].replace(" ", "_") for line in lines] == CHECKS
    marks = {line.split(":")[0][2:]: line[0] for line in lines}
    assert marks.pop("sandbox") == ("✓" if sandbox_setting() == "on" else "–")
    assert set(marks.values()) == {"✓"}
    assert f"T{system.slack.team[1:]}" in out
    assert list((system.directory / "journal").rglob("*doctor*")) == []  # it leaves nothing


async def test_without_model_claude_is_not_asked(system: System) -> None:
    before = system.model.requests
    code, found = await findings(system.environment)

    (key,) = [finding for finding in found if finding.check == "claude_key"]
    assert (code, key.outcome) == (0, "skipped")
    assert "--model" in key.said
    assert system.model.requests == before


async def test_a_session_page_is_looked_at_as_people_reach_it(system: System) -> None:
    page = {
        "SLACK_CLIENT_ID": system.slack.page.openid.client_id,
        "SLACK_CLIENT_SECRET": system.slack.page.openid.client_secret,
    }
    dispatcher = await system.start(**page, PEERBOT_PUBLIC_URL="http://127.0.0.1:0")
    try:
        address = f"http://127.0.0.1:{await system.port()}"
        _, found = await findings(system.environment | page | {"PEERBOT_PUBLIC_URL": address})
        marks = {finding.check: finding.outcome for finding in found}
        assert (marks["session_page"], marks["slack_sign_in"]) == ("good", "good")
    finally:
        await system.end(dispatcher)
    wrong_page = page | {"PEERBOT_PUBLIC_URL": system.slack.url.rstrip("/"), "SLACK_CLIENT_SECRET": SECRET}
    faults = {fault.check: fault for fault in await wrong(system.environment | wrong_page)}
    assert faults.keys() == {"session_page", "slack_sign_in"}
    assert "something else answers" in faults["session_page"].said
    assert "not the app's client secret" in faults["slack_sign_in"].said
    (fault,) = await wrong(system.environment | {"PEERBOT_PUBLIC_URL": "https://peerbot.example.com"})
    assert fault.said.startswith("PEERBOT_PUBLIC_URL needs SLACK_CLIENT_ID and SLACK_CLIENT_SECRET")
    assert fault.fix == "Set SLACK_CLIENT_ID and SLACK_CLIENT_SECRET."


@pytest.mark.parametrize(
    ("setting", "value", "check", "said", "fix"),
    [
        (
            "SLACK_BOT_TOKEN",
            f"xoxb-{SECRET}",
            "slack_bot_token",
            "does not accept it (invalid_auth)",
            "SLACK_BOT_TOKEN",
        ),
        (
            "SLACK_APP_TOKEN",
            f"xapp-{SECRET}",
            "slack_app_token",
            "does not accept it (invalid_auth)",
            "connections:write",
        ),
        ("GITHUB_TOKEN", SECRET, "github_token", "wrong, expired or revoked", "set GITHUB_TOKEN"),
        ("GITHUB_ORGANIZATION", "nowhere", "github_organization", "sees no organization nowhere", "or to peerbot."),
        ("ANTHROPIC_API_KEY", SECRET, "claude_key", "does not accept it (invalid x-api-key)", "set ANTHROPIC_API_KEY"),
        ("ANTHROPIC_API_KEY", f"sk-ant-oat-{SECRET}", "claude_key", "subscription token", "Claude Console"),
        ("PEERBOT_STORE", "file:///gone", "store", "there is no directory /gone", "mkdir -p /gone"),
        # Here the kernel lets nobody make a file, not even root, and the tests of a terminal need it anyway.
        ("PEERBOT_STORE", "file:///dev/pts", "store", "This user may not use the journal", "right to create, read"),
        ("PEERBOT_STORE", "postgres://journal", "store", "know the store 'postgres://journal'", "gs://BUCKET"),
        ("SLACK_API_URL", "http://127.0.0.1:9/api/", "slack_bot_token", "Slack did not answer", "network"),
        ("GITHUB_API_URL", "http://127.0.0.1:9", "github_token", "GitHub did not answer", "GITHUB_API_URL"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9", "claude_key", "did not answer", "ANTHROPIC_BASE_URL"),
    ],
    ids=lambda value: value.replace(SECRET, "…"),
)
async def test_a_wrong_setting_is_named_with_what_mends_it(
    system: System, setting: str, value: str, check: str, said: str, fix: str
) -> None:
    faults = await wrong(system.environment | {setting: value}, "--model")

    assert faults[0].check == check
    assert said in faults[0].said
    assert fix in faults[0].fix
    service = check.partition("_")[0]
    assert all(fault.check.startswith(service) for fault in faults)  # and nothing else fails


async def test_a_missing_sandbox_is_named(system: System) -> None:
    (fault,) = await wrong(system.environment | {"PEERBOT_SANDBOX": "on", "PATH": "/nonexistent"})

    assert (fault.check, fault.said) == ("sandbox", "There is no sandbox for the agent")
    assert "apt-get install bubblewrap" in fault.fix


@contextmanager
def granted(system: System, *scopes: str) -> Iterator[None]:
    """Give the Slack app these scopes alone."""
    system.slack.grant(scopes)
    try:
        yield
    finally:
        system.slack.grant(ALL_SCOPES)


async def test_missing_scopes_are_named(system: System) -> None:
    with granted(system, *(scope for scope in ALL_SCOPES if scope not in ("files:read", "files:write", "im:history"))):
        (fault,) = await wrong(system.environment)

    assert (fault.check, fault.said) == ("slack_scopes", "the app lacks files:read, files:write, im:history")
    assert "peerbot manifest" in fault.fix
    assert "reinstall" in fault.fix


async def test_what_is_switched_off_needs_no_scope(system: System) -> None:
    needless = [
        scope
        for scope in ALL_SCOPES
        if scope.startswith(("im:", "mpim:", "reactions:w", "usergroups:")) or scope == "groups:history"
    ]
    off = {"SLACK_ALLOW_DIRECT_MESSAGES": "false", "SLACK_ENABLE_STATUS_REACTIONS": "false"}
    with granted(system, *(scope for scope in ALL_SCOPES if scope not in needless)):
        assert await wrong(system.environment | off) == []
        (fault,) = await wrong(system.environment | off | {"SLACK_ALLOW_PRIVATE_CHANNELS": "true"})

    assert fault.said == "the app lacks groups:history"


@pytest.mark.parametrize(
    ("scopes", "may_create", "check", "said", "fix"),
    [
        ("repo, read:org, workflow", True, "github_token_scopes", "has the scope workflow", "Take the scope workflow"),
        ("read:org", True, "github_token_scopes", "lacks the scope repo (it has read:org)", "the scope repo"),
        ("", True, "github_token_scopes", "(it has none)", "the scope repo"),
        ("repo, read:org", False, "github_organization_rights", "may not make repositories", "member_privileges"),
        ("repo, read:org", None, "github_organization_rights", "is no member of peerbot-community", "Invite peerbot"),
    ],
)
async def test_a_github_token_that_may_too_little_or_too_much_is_named(
    system: System, scopes: str, may_create: bool | None, check: str, said: str, fix: str
) -> None:
    system.github.grant(scopes, may_create=may_create)
    try:
        (fault,) = await wrong(system.environment)
    finally:
        system.github.grant("repo, read:org")

    assert fault.check == check
    assert said in fault.said
    assert fix in fault.fix


async def test_the_rights_of_a_fine_grained_token_can_not_be_seen_and_that_is_told(system: System) -> None:
    system.github.grant(None)
    try:
        code, found = await findings(system.environment)
    finally:
        system.github.grant("repo, read:org")

    (scopes,) = [finding for finding in found if finding.check == "github_token_scopes"]
    assert (code, scopes.outcome) == (0, "skipped")
    assert "not Workflows" in scopes.said


WORKFLOW = "on: push\njobs: {test: {runs-on: x, steps: [{run: make test, env: {KEY: '${{ secrets.KEY }}'}}]}}\n"
FENCED = WORKFLOW.replace("on: push", "on: {push: {branches-ignore: ['peerbot/**']}}")


async def test_a_workflow_that_runs_the_agents_branch_is_named_with_the_filter_that_keeps_it_out(
    system: System, tmp_path: Path
) -> None:
    def repository(name: str, workflow: str) -> Path:
        place = tmp_path / name
        (place / ".github/workflows").mkdir(parents=True)
        (place / ".github/workflows/ci.yml").write_text(workflow)
        (place / ".github/workflows/README.md").write_text("on: push\n")
        git = ("git", "-C", str(place), "-c", "user.name=A", "-c", "user.email=a@example.com")
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "one")):
            subprocess.run((*git, *command), check=True)
        return place

    planted = {"user-fenced": FENCED, "user-open": WORKFLOW, "broken": "on: {push: ["}
    for name, workflow in planted.items():
        made = await asyncio.to_thread(repository, name, workflow)
        await system.github.import_repository(f"peerbot-community/{name}", made)
    try:
        (fault,) = await wrong(system.environment)
        (other,) = await wrong(system.environment | {"PEERBOT_BRANCH_PREFIX": "bots"})
    finally:
        for name in planted:  # an archived repository runs nothing
            await system.github.archive(f"peerbot-community/{name}")
    assert fault.check == "github_workflows"
    assert "peerbot-community/user-open (ci.yml)" in fault.said
    assert "user-fenced" not in fault.said
    assert "broken" not in fault.said
    assert "branches-ignore: ['peerbot/**']" in fault.fix
    assert "user-fenced (ci.yml)" in other.said


async def test_the_accounts_own_name_is_no_missing_organization(system: System) -> None:
    code, found = await findings(system.environment | {"GITHUB_ORGANIZATION": system.github.login.upper()})

    (organization,) = [finding for finding in found if finding.check == "github_organization"]
    assert (code, organization.outcome) == (0, "good")
    assert "the account peerbot itself" in organization.said


async def test_every_problem_of_the_settings_is_told_and_the_rest_goes_on(system: System) -> None:
    broken = {"SLACK_BOT_TOKEN": SECRET, "PEERBOT_MODLE": "x", "PORT": "many", "ANTHROPIC_API_KEY": ""}
    code, found = await findings(system.environment | broken)

    told = {finding.said: finding for finding in found}
    assert code == 1
    assert [(f.said, f.fix) for f in found if f.check == "settings"] == [
        (
            "PEERBOT_MODLE is not a setting",
            "Remove PEERBOT_MODLE, or correct its name: docs/settings.md lists all settings.",
        ),
        ("SLACK_BOT_TOKEN: a bot token begins with xoxb-", "Correct SLACK_BOT_TOKEN."),
        (
            "ANTHROPIC_API_KEY is missing: The key for Claude's API. It stays in the dispatcher.",
            "Set ANTHROPIC_API_KEY.",
        ),
        ("PORT: it has to be a whole number", "Correct PORT."),
    ]
    assert told["SLACK_BOT_TOKEN can't be used"].check == "slack_bot_token"
    assert told["ANTHROPIC_API_KEY can't be used"].outcome == "skipped"
    good = {finding.check for finding in found if finding.outcome == "good"}
    assert {"slack_app_token", "github_token", "github_organization", "store"} <= good


async def test_settings_that_do_not_go_together_are_told_too(system: System) -> None:
    code, found = await findings(system.environment | {"PEERBOT_RUNTIME": "kubernetes", "PORT": "many"})

    assert code == 1
    assert [f.fix for f in found if f.check == "settings"] == [
        "Correct PORT.",
        "Set PEERBOT_WORKER_POD and PEERBOT_GATEWAY_URL.",
    ]
    assert [f.said for f in found if f.check == "worker_pod"] == ["PEERBOT_RUNTIME can't be used"]
    assert "good" in {f.outcome for f in found if f.check == "store"}


async def test_nothing_at_all_is_a_list_of_what_to_set(tmp_path: Path) -> None:
    code, found = await findings({"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PEERBOT_STORE": "file:///gone"})

    assert code == 1
    missing = {f.fix for f in found if f.check == "settings"}
    assert {"Set SLACK_BOT_TOKEN.", "Set SLACK_APP_TOKEN.", "Set GITHUB_TOKEN.", "Set ANTHROPIC_API_KEY."} == missing


async def test_a_bucket_is_looked_at_as_the_journal_would_use_it(system: System) -> None:
    with gcs_server() as url:
        make_bucket(url, "there")
        on_google = system.environment | {"STORAGE_EMULATOR_HOST": url}
        assert await wrong(on_google | {"PEERBOT_STORE": "gs://there/folder"}) == []
        (fault,) = await wrong(on_google | {"PEERBOT_STORE": "", "GCS_BUCKET_NAME": "missing", "GCS_PROJECT_ID": "p"})

    assert fault.check == "store"
    assert "There is no bucket gs://missing" in fault.said
    assert "gcloud storage buckets create gs://missing --project=p" in fault.fix


async def test_a_bucket_without_credentials_is_named_with_how_to_get_some(system: System, tmp_path: Path) -> None:
    refused = {"type": "authorized_user", "client_id": "id", "client_secret": SECRET, "refresh_token": SECRET}
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps(refused | {"token_uri": "http://127.0.0.1:9/token"}))
    on_google = {"PEERBOT_STORE": "gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
    (fault,) = await wrong(system.environment | on_google)

    assert (fault.check, fault.said) == ("store", "Google gave no credentials for the journal's bucket")
    assert "Workload Identity" in fault.fix
    assert "gcloud auth application-default login" in fault.fix


@pytest.mark.slow
async def test_a_service_that_does_not_answer_has_a_deadline(system: System) -> None:
    system.slack.faults.add("auth.test", Fault(delay_seconds=30))
    try:
        faults = await wrong(system.environment)
    finally:
        system.slack.faults.clear()

    assert [(fault.check, fault.said) for fault in faults] == [
        ("slack_bot_token", "Slack did not answer (the check of SLACK_BOT_TOKEN)")
    ]


async def test_a_probe_inside_a_pod_waits_for_a_policy_to_hold() -> None:
    """A place that can be reached at first and then can't, as while a policy makes its way to a new pod."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert await asyncio.to_thread(inside.settles, "127.0.0.1", port, on=True)
        asked = asyncio.create_task(asyncio.to_thread(inside.settles, "127.0.0.1", port, on=False))
        for _ in range(2):  # the first question's connection, and the second's
            connection, _ = await asyncio.to_thread(server.accept)
            connection.close()

    assert not await asked
    assert not inside.reaches("127.0.0.1", port)
