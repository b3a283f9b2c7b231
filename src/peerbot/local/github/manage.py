"""Things that people do with repositories by hand: merge, comment, rename, archive. PeerBot never asks for them.

With these, a person or a test changes a conversation's repository and sees how PeerBot reacts.
"""

import os
import shutil
from typing import NamedTuple

from peerbot.errors import Refused
from peerbot.local.github import pulls
from peerbot.local.github.git import GitFailed
from peerbot.local.github.names import shown
from peerbot.local.github.state import Comment, Pull, RepositoryRecord, State, moment

LONGEST_COMMENT = 65_536

_AUTHOR = ("-c", "user.name=GitHub", "-c", "user.email=noreply@localhost")
_MOST_NAMED = 5


class Merging(NamedTuple):
    """What a merge would give: a tree, or the files that stand in its way."""

    tree: str | None
    conflicts: list[str]


async def tried(state: State, record: RepositoryRecord, pull: Pull) -> Merging:
    """Merge a pull request's two commits without a trace."""
    try:
        printed = await state.git.output(
            *("-C", state.path(record.full_name), "merge-tree", "--write-tree", "--name-only", "-z"),
            *(pull.base_sha, pull.head_sha),
        )
    except GitFailed as error:
        _, *conflicts = os.fsdecode(error.printed.partition(b"\0\0")[0]).split("\0")
        return Merging(None, conflicts)
    return Merging(printed.decode().strip("\0\n"), [])


async def merge(
    state: State,
    full_name: str,
    number: int,
    *,
    by: str,
    squash: bool = False,
    delete_branch: bool = False,
    seen: str | None = None,
) -> str:
    """Merge a pull request, by a merge commit or squashed into one; returns the commit on the base.

    `seen` is the branch's commit that the person looked at. Raises `Refused` with the reason if it can't be merged.
    """
    async with state.lock(full_name):
        record, pull = await _changeable(state, full_name, number)
        if pull.state != "open":
            raise Refused(_not_open(pull, "merge"))
        if pull.draft:
            raise Refused(f"Pull request #{number} is a draft. Say that it is ready, then merge it.")
        if seen not in (None, pull.head_sha):
            raise Refused(f"{pull.head} has new commits since you looked. Look at them, then merge.")
        path, merging = state.path(full_name), await tried(state, record, pull)
        if merging.tree is None:
            raise Refused(_in_the_way(pull, merging.conflicts))
        parents = ["-p", pull.base_sha] if squash else ["-p", pull.base_sha, "-p", pull.head_sha]
        message = f"{pull.title} (#{pull.number})" if squash else f"Merge pull request #{pull.number}"
        made = await state.git.run("-C", path, *_AUTHOR, "commit-tree", merging.tree, *parents, "-m", message)
        sha = made.strip()
        try:
            await state.git.run("-C", path, "update-ref", f"refs/heads/{pull.base}", sha, pull.base_sha)
        except GitFailed as error:
            raise Refused(f"Somebody has just pushed to {pull.base}. Try again.") from error
        pulls.set_state(pull, "closed", by=by)
        pull.merged_at, pull.merge_sha = pull.closed_at, sha
        state.save(record.model_copy(update={"pushed_at": moment()}))
        if delete_branch:
            await state.delete_ref(full_name, f"refs/heads/{pull.head}")
        return sha


async def close(state: State, full_name: str, number: int, *, by: str) -> None:
    """Close a pull request. Raises `Refused` if there is none that is open."""
    async with state.lock(full_name):
        record, pull = await _changeable(state, full_name, number)
        if pull.state != "open":
            raise Refused(_not_open(pull, "close"))
        pulls.set_state(pull, "closed", by=by)
        state.save(record)


async def reopen(state: State, full_name: str, number: int) -> None:
    """Open a closed pull request again. Raises `Refused` if it can't be."""
    async with state.lock(full_name):
        record, pull = await _changeable(state, full_name, number)
        heads = await state.heads(full_name)
        if pull.merged_at:
            raise Refused(f"Pull request #{number} is merged: there is nothing to open again.")
        if gone := [branch for branch in (pull.head, pull.base) if branch not in heads]:
            raise Refused(f"The branch {gone[0]} is gone, so this can't be opened again.")
        pulls.set_state(pull, "open")
        state.save(record)


async def comment(state: State, full_name: str, number: int, *, by: str, body: str) -> Comment:
    """Write a comment below a pull request. Raises `Refused` if there is none, or the text is empty or too long."""
    if not body.strip():
        raise Refused("There is no text in this comment.")
    if len(body) > LONGEST_COMMENT:
        raise Refused(f"This comment is too long: {len(body):,} characters, and {LONGEST_COMMENT:,} at most.")
    async with state.lock(full_name):
        record, pull = await _changeable(state, full_name, number)
        identity = 1 + max((each.id for one in record.pulls for each in one.comments), default=0)
        made = Comment(id=identity, author=by, body=body)
        pull.comments.append(made)
        pull.updated_at = made.created_at
        state.save(record)
        return made


async def draft(state: State, full_name: str, number: int, *, draft: bool) -> None:
    """Make a pull request a draft, or say that it is ready for review. Raises `Refused` if there is none."""
    async with state.lock(full_name):
        record, pull = await _changeable(state, full_name, number)
        pull.draft = draft
        state.save(record)


async def rename_branch(state: State, full_name: str, old: str, new: str) -> None:
    """Rename a branch, and change all that names it: the default branch and open pull requests."""
    async with state.lock(full_name):
        record, path = _record(state, full_name), state.path(full_name)
        await state.git.run("-C", path, "branch", "--move", old, new)
        if record.default_branch == old:
            await state.git.run("-C", path, "symbolic-ref", "HEAD", f"refs/heads/{new}")
            record.default_branch = new
        for pull in record.pulls:
            if pull.state == "open":
                pull.base = new if pull.base == old else pull.base
                pull.head = new if pull.head == old else pull.head
        state.save(record)


async def archive(state: State, full_name: str, *, archived: bool = True) -> None:
    """Make a repository read-only, or writable again."""
    async with state.lock(full_name):
        state.save(_record(state, full_name).model_copy(update={"archived": archived}))


async def require_sign_off(state: State, full_name: str) -> None:
    """Have a repository want each commit signed off."""
    async with state.lock(full_name):
        state.save(_record(state, full_name).model_copy(update={"sign_off": True}))


async def rename(state: State, full_name: str, new: str) -> None:
    """Rename a repository to `owner/name`. Its old name leads to it from then on."""
    async with state.lock(full_name):
        state.rename(_record(state, full_name), new)


async def delete(state: State, full_name: str) -> None:
    """Delete a repository with all its content."""
    async with state.lock(full_name):
        shutil.rmtree(state.path(_record(state, full_name).full_name))


def _record(state: State, full_name: str) -> RepositoryRecord:
    record = state.find(full_name)
    if record is None:
        raise Refused(f"There is no repository {full_name}.")
    return record


async def _changeable(state: State, full_name: str, number: int) -> tuple[RepositoryRecord, Pull]:
    """Find a pull request that people may change."""
    if _record(state, full_name).archived:
        raise Refused(f"{full_name} is archived, so nothing in it can be changed.")
    record = await pulls.refreshed(state, full_name)
    pull = pulls.numbered(record, number)
    if pull is None:
        raise Refused(f"There is no pull request #{number}.")
    return record, pull


def _not_open(pull: Pull, wish: str) -> str:
    if pull.merged_at:
        return f"Pull request #{pull.number} is merged already."
    again = f" Open it again to {wish} it." if wish == "merge" else ""
    return f"Pull request #{pull.number} is closed already.{again}"


def _in_the_way(pull: Pull, conflicts: list[str]) -> str:
    if not conflicts:
        return f"git can't merge {pull.head} into {pull.base}: they have no commit in common."
    more = f" and {len(conflicts) - _MOST_NAMED} more" if len(conflicts) > _MOST_NAMED else ""
    files = ", ".join(shown(name) for name in conflicts[:_MOST_NAMED])
    return (
        f"{pull.base} and {pull.head} change the same lines in {files}{more}. Ask PeerBot in the thread to bring in "
        f"{pull.base}, or merge by hand."
    )
