"""Things that people do with repositories by hand: merge, rename, archive, delete. PeerBot never asks for them.

With these, a person or a test changes a conversation's repository and sees how PeerBot reacts.
"""

import shutil

from peerbot.errors import Refused
from peerbot.local.github import pulls
from peerbot.local.github.state import RepositoryRecord, State

_AUTHOR = ("-c", "user.name=GitHub", "-c", "user.email=noreply@localhost")


async def merge(state: State, full_name: str, number: int, *, squash: bool, delete_branch: bool) -> str:
    """Merge a pull request, by a merge commit or squashed into one; returns the commit on the base.

    Raises `Refused` if it can't be merged.
    """
    async with state.lock(full_name):
        record = await pulls.refreshed(state, full_name)
        pull = pulls.numbered(record, number)
        path = state.path(full_name)
        if pull is None or pull.state != "open":
            raise Refused("Pull Request is not mergeable")
        tree = await state.git.ask("-C", path, "merge-tree", "--write-tree", pull.base_sha, pull.head_sha)
        if tree is None:
            raise Refused("Pull Request is not mergeable")
        parents = ["-p", pull.base_sha] if squash else ["-p", pull.base_sha, "-p", pull.head_sha]
        message = f"{pull.title} (#{pull.number})" if squash else f"Merge pull request #{pull.number}"
        sha = (await state.git.run("-C", path, *_AUTHOR, "commit-tree", tree, *parents, "-m", message)).strip()
        await state.git.run("-C", path, "update-ref", f"refs/heads/{pull.base}", sha, pull.base_sha)
        pulls.set_state(pull, "closed")
        pull.merged_at = pull.closed_at
        state.save(record)
        if delete_branch:
            await state.delete_ref(full_name, f"refs/heads/{pull.head}")
        return sha


async def close(state: State, full_name: str, number: int) -> None:
    """Close a pull request. Raises `Refused` if there is none."""
    async with state.lock(full_name):
        record = await pulls.refreshed(state, full_name)
        pull = pulls.numbered(record, number)
        if pull is None:
            raise Refused(f"There is no pull request #{number}.")
        pulls.set_state(pull, "closed")
        state.save(record)


async def draft(state: State, full_name: str, number: int, *, draft: bool) -> None:
    """Make a pull request a draft, or say that it is ready for review. Raises `Refused` if there is none."""
    async with state.lock(full_name):
        record = await pulls.refreshed(state, full_name)
        pull = pulls.numbered(record, number)
        if pull is None:
            raise Refused(f"There is no pull request #{number}.")
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
