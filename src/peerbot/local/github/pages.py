"""The pages that the local GitHub's links lead to: a repository, a branch and a pull request, as plain text."""

from peerbot.local.github import pulls
from peerbot.local.github.state import Pull, RepositoryRecord, State

_DIFF_CHARACTERS = 200_000


async def page(
    state: State, *, owner: str, name: str, branch: str | None = None, number: str | None = None
) -> str | None:
    """Write the page of a repository, a branch or a pull request; None if there is no such thing."""
    full_name = f"{owner}/{name}"
    if state.find(full_name) is None:
        return None
    async with state.lock(full_name):
        record = await pulls.refreshed(state, full_name)
    if number is not None:
        return await _pull(state, record, int(number))
    heads = await state.heads(full_name)
    if branch is None:
        return _repository(record, heads)
    return await _branch(state, record, branch) if branch in heads else None


def _repository(record: RepositoryRecord, heads: dict[str, str]) -> str:
    return "\n".join(
        [
            f"{record.full_name}: {record.description or 'no description'}",
            "",
            "Branches",
            *(f"  {sha[:12]}  {branch}" for branch, sha in heads.items()),
            "",
            "Pull requests",
            *(f"  #{pull.number}  {_status(pull)}  {pull.title}" for pull in reversed(record.pulls)),
            "",
        ]
    )


async def _branch(state: State, record: RepositoryRecord, branch: str) -> str:
    repository, ref = state.path(record.full_name), f"refs/heads/{branch}"
    commits = await state.git.run("-C", repository, "log", "-20", "--format=  %h  %an  %s", ref, "--")
    files = await state.git.run("-C", repository, "ls-tree", "-r", "--format=  %(path)", ref)
    return f"{record.full_name}, branch {branch}\n\nCommits\n{commits}\nFiles\n{files}"


async def _pull(state: State, record: RepositoryRecord, number: int) -> str | None:
    pull = pulls.numbered(record, number)
    if pull is None:
        return None
    diff = await state.git.run(
        *("-C", state.path(record.full_name), "diff", "--stat", "--patch", f"{pull.base_sha}...{pull.head_sha}")
    )
    head = f"{record.full_name} #{pull.number}, {_status(pull)}: {pull.title}\n{pull.head} into {pull.base}\n"
    return f"{head}\n{pull.body or ''}\n\n{diff[:_DIFF_CHARACTERS]}"


def _status(pull: Pull) -> str:
    return "merged" if pull.merged_at else pull.state
