"""Copies the commits of a person's own repository into the local GitHub; the source is never changed."""

from pathlib import Path

from peerbot.errors import SettingsError
from peerbot.local.github.git import Git
from peerbot.local.github.state import RepositoryRecord, State

# PeerBot's pushes here stay, whatever the source holds.
_REFS = ("+refs/heads/*:refs/heads/*", "^refs/heads/peerbot/*", "+refs/tags/*:refs/tags/*")


async def import_repository(state: State, full_name: str, source: Path) -> None:
    """Copy the repository that `source` lies in, or bring an earlier copy up to date.

    Dirty, shallow, bare and linked (worktree) checkouts will do; the branch that is checked out becomes the default
    branch. Raises `SettingsError` where `source` is no git repository, or not a whole one.
    """
    origin = await _origin(state.git, source)
    async with state.lock(full_name):
        if state.find(full_name) is not None:
            await state.git.run("-C", state.path(full_name), "fetch", "--quiet", "--update-shallow", origin, *_REFS)
            return
        record = RepositoryRecord(full_name=full_name, description=f"A copy of {origin.name}")
        with state.new(record) as made:
            # Objects are copied, neither linked nor borrowed: the source can be changed and deleted freely.
            await state.git.run("clone", "--quiet", "--bare", "--no-hardlinks", "--dissociate", origin, made)
            await state.git.run("-C", made, "remote", "remove", "origin")
            record.default_branch = await _default_branch(state.git, made)


async def _origin(git: Git, source: Path) -> Path:
    """Return the top directory of the repository that `source` lies in."""
    inside = await git.ask("-C", source, "rev-parse", "--is-bare-repository")
    if inside is None:
        raise SettingsError(f"{source} is not a git repository. Name a directory with a git checkout in it.")
    top = await git.ask("-C", source, "rev-parse", "--absolute-git-dir" if inside == "true" else "--show-toplevel")
    if top is None:
        raise SettingsError(f"{source} is inside a repository's .git directory. Name the checkout itself.")
    if await git.ask("-C", source, "config", "--get-regexp", r"^remote\..*\.promisor$"):
        raise SettingsError(f"{top} is a partial clone: parts of it are elsewhere. Make a full clone and name that.")
    return Path(top)


async def _default_branch(git: Git, repository: Path) -> str:
    """Return the branch that HEAD names; give a detached HEAD one, since a pull request needs a base."""
    named = await git.ask("-C", repository, "symbolic-ref", "--short", "HEAD")
    if named is None:
        here = await git.run(
            "-C", repository, "for-each-ref", "--points-at=HEAD", "--format=%(refname:lstrip=2)", "refs/heads"
        )
        named = (here.split() or ["detached"])[0]
        await git.run("-C", repository, "update-ref", f"refs/heads/{named}", "HEAD")
        await git.run("-C", repository, "symbolic-ref", "HEAD", f"refs/heads/{named}")
    return named
