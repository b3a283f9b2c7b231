"""What CI says of commits on the local GitHub: check runs and statuses, set by hand, and the documents about them."""

from typing import Literal

from peerbot.errors import Refused
from peerbot.local.github import pulls
from peerbot.local.github.shapes import Json, Shapes
from peerbot.local.github.state import Check, RepositoryRecord, State, moment

CheckState = Literal[
    "queued", "in_progress",
    "success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required",
]  # fmt: skip
StatusState = Literal["pending", "success", "failure", "error"]

_GOING_ON = ("queued", "in_progress", "pending")


async def report(state: State, full_name: str, number: int, name: str, said: str, *, is_status: bool) -> None:
    """Say how a check goes on the newest commit of a pull request, as CI does. Raises `Refused` if there is none."""
    async with state.lock(full_name):
        record = await pulls.refreshed(state, full_name)
        pull = pulls.numbered(record, number)
        if pull is None:
            raise Refused(f"There is no pull request #{number}.")
        same = (pull.head_sha, name, is_status)
        check = next((each for each in record.checks if (each.sha, each.name, each.is_status) == same), None)
        if check is None:
            count = len(record.checks) + 1
            check = Check(number=count, sha=pull.head_sha, name=name, state=said, ended=False, is_status=is_status)
            record.checks.append(check)
        check.state, check.ended, check.updated_at = said, said not in _GOING_ON, moment()
        state.save(record)


def check_runs(shapes: Shapes, record: RepositoryRecord, sha: str, page: slice) -> Json:
    """List the check runs of a commit: GET /repos/…/commits/{ref}/check-runs."""
    found = [check for check in record.checks if check.sha == sha and not check.is_status]
    return {"total_count": len(found), "check_runs": [_check_run(shapes, record, check) for check in found[page]]}


def combined_status(shapes: Shapes, record: RepositoryRecord, sha: str, page: slice) -> Json:
    """Describe the statuses of a commit, and what they come to: GET /repos/…/commits/{ref}/status."""
    found = [check for check in record.checks if check.sha == sha and check.is_status]
    states = {check.state for check in found}
    failed, done = states & {"failure", "error"}, bool(found) and states == {"success"}
    base = f"{shapes.api}/repos/{record.full_name}/commits/{sha}"
    return {
        "state": "failure" if failed else "success" if done else "pending",
        "statuses": [_status(shapes, record, check) for check in found[page]],
        "sha": sha,
        "total_count": len(found),
        "repository": shapes.repository(record),
        "commit_url": base,
        "url": f"{base}/status",
    }


def _check_run(shapes: Shapes, record: RepositoryRecord, check: Check) -> Json:
    url = f"{shapes.api}/repos/{record.full_name}/check-runs/{check.number}"
    page = f"{shapes.url}/{record.full_name}/runs/{check.number}"
    return {
        "id": check.number,
        "node_id": f"CR_{check.number}",
        "head_sha": check.sha,
        "external_id": "",
        "url": url,
        "html_url": page,
        "details_url": page,
        "status": "completed" if check.ended else check.state,
        "conclusion": check.state if check.ended else None,
        "started_at": check.created_at,
        "completed_at": check.updated_at if check.ended else None,
        "output": {
            **dict.fromkeys(("title", "summary", "text")),
            "annotations_count": 0,
            "annotations_url": f"{url}/annotations",
        },
        "name": check.name,
        "check_suite": {"id": 1},
        "app": None,
        "pull_requests": [],
    }


def _status(shapes: Shapes, record: RepositoryRecord, check: Check) -> Json:
    return {
        "id": check.number,
        "node_id": f"SC_{check.number}",
        "state": check.state,
        "description": None,
        "context": check.name,
        "target_url": None,
        "avatar_url": f"{shapes.url}/{shapes.login}.png",
        "url": f"{shapes.api}/repos/{record.full_name}/statuses/{check.sha}",
        "created_at": check.created_at,
        "updated_at": check.updated_at,
    }
