"""Commits of the local GitHub, for a page: one, the newest of a branch, or those between two."""

from pathlib import Path

from peerbot.local.github.git import Git
from peerbot.local.github.names import shown
from peerbot.local.github.shapes import Json

_FIELDS = ("%H", "%P", "%an", "%ae", "%aI", "%cn", "%cI", "%B")
_FORMAT = "--format=" + "%x00".join(_FIELDS)
_LONGEST_MESSAGE = 20_000


async def commits(git: Git, place: Path, *revisions: str, most: int, skip: int = 0, path: str = "") -> list[Json]:
    """List the commits that `revisions` name, the newest first. Raises `GitFailed`."""
    printed = await git.run(
        *("-C", place, "-c", "log.showSignature=false", "log", "-z", _FORMAT, f"--max-count={most}", f"--skip={skip}"),
        *("--end-of-options", *revisions, "--", *([f":(literal){path}"] if path else [])),
    )
    fields = printed.split("\0")
    count = len(_FIELDS)
    return [_document(fields[at : at + count]) for at in range(0, len(fields) - count + 1, count)]


async def commit_of(git: Git, place: Path, name: str) -> str | None:
    """Find the commit that a ref's full name or a hash names; None if there is none."""
    return await git.ask("-C", place, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")


def _document(fields: list[str]) -> Json:
    sha, parents, author, mail, written, committer, committed, message = fields
    subject, _, body = message.strip("\n").partition("\n")
    return {
        "sha": sha,
        "parents": parents.split(),
        "author": shown(author),
        "email": shown(mail),
        "date": written,
        "committer": shown(committer),
        "committed": committed,
        "subject": shown(subject[:_LONGEST_MESSAGE]) or "(no message)",
        "body": body.strip("\n")[:_LONGEST_MESSAGE],
    }
