"""Pull requests of the local GitHub: opened, kept in step with their branches, counted.

For all functions except `numbered`, the caller holds the repository's lock.
"""

import re
from typing import Literal, cast

from peerbot.local.github.shapes import Stat
from peerbot.local.github.state import Pull, RepositoryRecord, State, moment


def numbered(record: RepositoryRecord, number: int) -> Pull | None:
    """Find the pull request with that number."""
    return next((pull for pull in record.pulls if pull.number == number), None)


async def refreshed(state: State, full_name: str) -> RepositoryRecord:
    """Read the repository's document, and bring its open pull requests up to date with the pushes since.

    A pull request whose branch is gone, or was put back to its base, is closed. If its base has all of its commits, it
    is merged.
    """
    record = cast(RepositoryRecord, state.find(full_name))
    before = record.model_copy(deep=True)
    heads = await state.heads(full_name) if any(pull.state == "open" for pull in record.pulls) else {}
    for pull in record.pulls:
        if pull.state == "closed":
            continue
        if pull.head not in heads or pull.base not in heads:
            set_state(pull, "closed")
            continue
        was, now = pull.base_sha, (heads[pull.head], heads[pull.base])
        if now != (pull.head_sha, was):
            pull.head_sha, pull.base_sha = now
            pull.updated_at = moment()
            if await _commits(state, record, pull) == 0:
                set_state(pull, "closed")
                # If only the branch moved, somebody put it back: that merges nothing.
                pull.merged_at = None if now[1] == was else pull.closed_at
                pull.base_sha = was  # what it changed is counted and shown beside this
    if record != before:
        state.save(record)
    return record


async def opened(
    state: State, record: RepositoryRecord, heads: dict[str, str], *, title: str, body: str | None, head: str, base: str
) -> Pull | None:
    """Open a pull request; returns None if `head` has no commit that `base` lacks."""
    pull = Pull(
        number=len(record.pulls) + 1,
        title=title,
        body=body,
        head=head,
        base=base,
        head_sha=heads[head],
        base_sha=heads[base],
    )
    if await _commits(state, record, pull) == 0:
        return None
    record.pulls.append(pull)
    state.save(record)
    return pull


def set_state(pull: Pull, wanted: Literal["open", "closed"], *, by: str | None = None) -> None:
    """Close or reopen a pull request."""
    if pull.state != wanted:
        pull.state = wanted
        pull.ended_by = by if wanted == "closed" else None
        pull.updated_at = moment()
        pull.closed_at = pull.updated_at if wanted == "closed" else None


async def stat(state: State, record: RepositoryRecord, pull: Pull) -> Stat:
    """Count a pull request's changes since the commit that it branched off at."""
    summary = await state.git.run(
        "-C", state.path(record.full_name), "diff", "--shortstat", f"{pull.base_sha}...{pull.head_sha}"
    )
    counted = {
        word: int(number) for number, word in re.findall(r"(\d+) (file|insertion|deletion)", summary)
    }  # "1 file changed, 2 insertions(+), 3 deletions(-)"
    return Stat(
        commits=await _commits(state, record, pull),
        additions=counted.get("insertion", 0),
        deletions=counted.get("deletion", 0),
        changed_files=counted.get("file", 0),
    )


async def _commits(state: State, record: RepositoryRecord, pull: Pull) -> int:
    """Count the commits that the head has and the base lacks."""
    return int(
        await state.git.run(
            "-C", state.path(record.full_name), "rev-list", "--count", f"{pull.base_sha}..{pull.head_sha}"
        )
    )
