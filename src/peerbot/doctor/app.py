"""The doctor's round: runs all checks side by side, each with a deadline, and tells the findings in a fixed order.

If a check breaks, that is a finding like any other, and the others go on.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from peerbot.doctor.claude import look_at_key
from peerbot.doctor.github import look_at_organization, look_at_token
from peerbot.doctor.known import Known, read
from peerbot.doctor.page import look_at_page
from peerbot.doctor.report import Finding, Outcome, Report, skipped, wrong
from peerbot.doctor.sandbox import look_at_sandbox
from peerbot.doctor.slack import look_at_app_token, look_at_bot_token
from peerbot.doctor.store import look_at_store
from peerbot.doctor.workflows import look_at_workflows
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.settings import Runtime, Settings

log = logger(__name__)

Tell = Callable[[str], None]
Look = Callable[[Settings], Awaitable[list[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and the settings that it needs.

    `fix` is the advice for an error that brings none.
    """

    name: str
    look: Look
    needs: tuple[str, ...]
    fix: str
    seconds: float = 15.0  # a call to Slack gives up after ten, and says more


def checks(*, model: bool) -> list[Check]:
    """List the checks besides the settings, in the order in which they are told."""
    slack, github = ("slack_api_url",), ("github_token", "github_api_url")
    network = "Check the network between here and there, and try again."
    return [
        Check("slack_bot_token", look_at_bot_token, ("slack_bot_token", *slack), network),
        Check("slack_app_token", look_at_app_token, ("slack_app_token", *slack), network),
        Check("github_token", look_at_token, github, network),
        Check("github_organization", look_at_organization, (*github, "github_organization"), network),
        Check(
            "github_workflows",
            look_at_workflows,
            (*github, "github_organization", "peerbot_branch_prefix"),
            network,
            seconds=60.0,  # up to a few requests for each of twenty repositories
        ),
        Check(
            "store",
            look_at_store,
            ("peerbot_store", "gcs_bucket_name"),
            "Give PeerBot's account the right to create, read, list and delete objects there.",
            seconds=30.0,  # five calls, and a store is asked again for a few seconds before it counts as broken
        ),
        Check(
            "claude_key",
            partial(look_at_key, ask=model),
            ("anthropic_api_key", "anthropic_base_url"),
            network,
            seconds=30.0,  # a model takes its time
        ),
        Check(
            "session_page",
            look_at_page,
            ("peerbot_public_url", "slack_client_id", "slack_client_secret", *slack),
            network,
            seconds=30.0,  # two calls
        ),
    ]


def cluster_checks(settings: Settings) -> tuple[Finding, list[Check]]:
    """Check the workers' description, and list the cluster's checks; with a bad description only that of rights."""
    # Here, so that process runs do not pay for a cluster's client.
    from peerbot.doctor import cluster  # noqa: PLC0415
    from peerbot.doctor.namespace import look_at_namespace  # noqa: PLC0415
    from peerbot.doctor.probe import PROBE_SECONDS, look_at_worker  # noqa: PLC0415

    fix = "Check that `kubectl get pods` works from here, and try again."
    described = cluster.look_at_description(settings)
    found = [
        Check("kubernetes_rights", cluster.look_at_rights, (), fix),
        Check("namespace", look_at_namespace, (), fix),
    ]
    if described.outcome is Outcome.GOOD:
        found += [
            Check("worker_job", cluster.look_at_job, (), fix),
            Check("runtime_class", cluster.look_at_runtime_class, (), fix),
            Check("worker_pod", look_at_worker, (), fix, seconds=PROBE_SECONDS + 30.0),
        ]
    return described, found


async def examine(tell: Tell | None, *, model: bool) -> Report:
    """Run all checks, and tell each finding as a line, in order and as soon as it is known.

    `model`: spend a few of Claude's tokens, too. Raises `SettingsError` if the settings can't be read at all.
    """
    known = read()
    report = Report(findings=[])
    if tell and known.settings.peerbot_runtime is Runtime.KUBERNETES:
        tell("… starting a worker's pod to look from inside it; this takes up to 90 s")
    async for finding in _findings(known, model=model):
        clean = known.redacted(finding)
        report.findings.append(clean)
        if tell:
            tell(clean.line())
    return report


async def _findings(known: Known, *, model: bool) -> AsyncIterator[Finding]:
    for finding in known.findings:
        yield finding
    all_checks = checks(model=model)
    if "peerbot_runtime" in known.unusable:
        yield skipped("worker_pod", "PEERBOT_RUNTIME can't be used")
    elif known.settings.peerbot_runtime is Runtime.KUBERNETES:
        described, more = cluster_checks(known.settings)
        yield described
        all_checks += more
    else:  # before the others: it blocks, and they are timed
        for finding in look_at_sandbox(known.settings):
            yield finding
    looking = [asyncio.create_task(_look(check, known), name=check.name) for check in all_checks]
    try:
        for task in looking:
            for finding in await task:
                yield finding
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


async def _look(check: Check, known: Known) -> list[Finding]:
    if lacking := [name.upper() for name in check.needs if name in known.unusable]:
        return [skipped(check.name, f"{' and '.join(lacking)} can't be used")]
    try:
        async with asyncio.timeout(check.seconds):
            return await check.look(known.settings)
    except TimeoutError:
        return [wrong(check.name, f"there was no answer within {check.seconds:g} s", check.fix)]
    except PeerBotError as error:
        said, _, fix = str(error).partition(". ")
        return [wrong(check.name, said.removesuffix("."), fix or check.fix)]
    except Exception as error:
        trace = known.redacted(skipped(check.name, traceback.format_exc())).said
        log.error("check_broke", check=check.name, trace=trace)
        return [wrong(check.name, f"this check broke ({type(error).__name__}; see the log)", check.fix)]
