"""The local GitHub's comparison of two commits: `GET /repos/{owner}/{name}/compare/{base}...{head}`.

GitHub's own description: https://docs.github.com/en/rest/commits/commits#compare-two-commits
"""

from peerbot.local.github.shapes import Json, Shapes
from peerbot.local.github.state import RepositoryRecord, State

_MOST = 250
_FIELDS = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"


async def compared(
    state: State, shapes: Shapes, record: RepositoryRecord, heads: dict[str, str], span: str, most: int
) -> Json | None:
    """Compare what `base...head` names (branches or commits), with at most `most` commits; None if one is not there."""
    base, dots, head = span.partition("...")
    place, git = state.path(record.full_name), state.git
    names = [heads.get(name, name) for name in (base, head)]
    if not dots or any(not name or name.startswith("-") for name in names):
        return None
    commits = [await git.ask("-C", place, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") for name in names]
    old, new = commits
    if old is None or new is None:
        return None
    merge_base = await git.ask("-C", place, "merge-base", old, new)
    if merge_base is None:
        return None
    ahead = (await git.run("-C", place, "rev-list", "--reverse", "--topo-order", f"{old}..{new}")).split()
    behind = int(await git.run("-C", place, "rev-list", "--count", f"{new}..{old}"))
    status = ("diverged" if behind else "ahead") if ahead else ("behind" if behind else "identical")
    address = f"{shapes.url}/{record.full_name}/compare/{base}...{head}"

    async def described(sha: str) -> Json:
        return _commit(shapes, record, await git.run("-C", place, "show", "--no-patch", f"--format={_FIELDS}", sha))

    return {
        "url": f"{shapes.api}/repos/{record.full_name}/compare/{base}...{head}",
        "html_url": address,
        "permalink_url": f"{shapes.url}/{record.full_name}/compare/{old[:7]}...{new[:7]}",
        "diff_url": f"{address}.diff",
        "patch_url": f"{address}.patch",
        "base_commit": await described(old),
        "merge_base_commit": await described(merge_base),
        "status": status,
        "ahead_by": len(ahead),
        "behind_by": behind,
        "total_commits": len(ahead),
        "commits": [await described(sha) for sha in ahead[: min(most, _MOST)]],
        "files": [],
    }


def _commit(shapes: Shapes, record: RepositoryRecord, shown: str) -> Json:
    sha, tree, parents, author, author_mail, written, committer, mail, committed, message = shown.split("\0", 9)
    page, base = f"{shapes.url}/{record.full_name}", f"{shapes.api}/repos/{record.full_name}"
    return {
        "sha": sha,
        "node_id": f"C_{sha[:12]}",
        "url": f"{base}/commits/{sha}",
        "html_url": f"{page}/commit/{sha}",
        "comments_url": f"{base}/commits/{sha}/comments",
        "commit": {
            "url": f"{base}/git/commits/{sha}",
            "author": {"name": author, "email": author_mail, "date": written},
            "committer": {"name": committer, "email": mail, "date": committed},
            "message": message.rstrip("\n"),
            "comment_count": 0,
            "tree": {"sha": tree, "url": f"{base}/git/trees/{tree}"},
        },
        "author": None,
        "committer": None,
        "parents": [
            {"sha": parent, "url": f"{base}/commits/{parent}", "html_url": f"{page}/commit/{parent}"}
            for parent in parents.split()
        ],
    }
