"""The documents that GitHub answers with, in full: GitHub's published description says what they must contain."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from peerbot.local.github.state import Comment, Pull, RepositoryRecord

Json = dict[str, Any]

_LONG_AGO = "2024-01-01T00:00:00Z"
_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_ORGANIZATION_URLS = {
    "repos_url": "/repos",
    "events_url": "/events",
    "hooks_url": "/hooks",
    "issues_url": "/issues",
    "members_url": "/members{/member}",
    "public_members_url": "/public_members{/member}",
}
_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_COUNTS = (
    *("forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count"),
    *("watchers", "watchers_count", "network_count", "subscribers_count"),
)


@dataclass(frozen=True, slots=True)
class Stat:
    """The size of a pull request's changes."""

    commits: int = 0
    additions: int = 0
    deletions: int = 0
    changed_files: int = 0


@dataclass(frozen=True, slots=True)
class Shapes:
    """Writes documents for a server at `url`, with one account and one organization."""

    url: str
    login: str
    organization: str

    @property
    def api(self) -> str:
        """The base URL of the REST API, at the path that GitHub Enterprise uses."""
        return f"{self.url}/api/v3"

    def account(self, login: str) -> Json:
        """An account as it appears within other documents."""
        base = f"{self.api}/users/{login}"
        return {
            "login": login,
            **_identity("User", login),
            "avatar_url": f"{self.url}/{login}.png",
            "gravatar_id": "",
            "url": base,
            "html_url": f"{self.url}/{login}",
            **{key: base + path for key, path in _USER_URLS.items()},
            "type": "Organization" if login == self.organization else "User",
            "site_admin": False,
        }

    def user(self) -> Json:
        """The token's own account: GET /user."""
        nothing = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        dates = {"created_at": _LONG_AGO, "updated_at": _LONG_AGO}
        return {**self.account(self.login), **nothing, **counts, **dates, "user_view_type": "public"}

    def organization_document(self) -> Json:
        """The organization: GET /orgs/{org}."""
        base = f"{self.api}/orgs/{self.organization}"
        return {
            "login": self.organization,
            **_identity("Organization", self.organization),
            "url": base,
            **{key: base + path for key, path in _ORGANIZATION_URLS.items()},
            "avatar_url": f"{self.url}/{self.organization}.png",
            "html_url": f"{self.url}/{self.organization}",
            "description": None,
            "has_organization_projects": False,
            "has_repository_projects": False,
            **dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0),
            "type": "Organization",
            "created_at": _LONG_AGO,
            "updated_at": _LONG_AGO,
            "archived_at": None,
        }

    def membership(self, *, may_create: bool) -> Json:
        """The token's account as a member of the organization: GET /user/memberships/orgs/{org}."""
        organization = self.organization_document()
        simple = ("login", "id", "node_id", "url", "avatar_url", "description", *_ORGANIZATION_URLS)
        return {
            "url": f"{organization['url']}/memberships/{self.login}",
            "state": "active",
            "role": "member",
            "organization_url": organization["url"],
            "organization": {key: organization[key] for key in simple},
            "user": self.account(self.login),
            "permissions": {"can_create_repository": may_create},
        }

    def repository(self, record: RepositoryRecord) -> Json:
        """A repository."""
        base, page = f"{self.api}/repos/{record.full_name}", f"{self.url}/{record.full_name}"
        host = self.url.partition("://")[2]
        return {
            **_identity("Repository", record.full_name.lower()),
            "id": record.id,
            "name": record.name,
            "full_name": record.full_name,
            "owner": self.account(record.owner),
            "private": record.private,
            "visibility": "private" if record.private else "public",
            "description": record.description,
            "default_branch": record.default_branch,
            "url": base,
            "html_url": page,
            **{key: base + path for key, path in _REPOSITORY_URLS.items()},
            "clone_url": f"{page}.git",
            "git_url": f"git://{host}/{record.full_name}.git",
            "ssh_url": f"git@{host}:{record.full_name}.git",
            "svn_url": page,
            **dict.fromkeys(("mirror_url", "homepage", "language", "license")),
            **dict.fromkeys(("fork", "disabled", "has_pages", "has_wiki", "has_discussions"), False),
            **dict.fromkeys(("has_issues", "has_projects", "has_downloads"), False),
            "archived": record.archived,
            "web_commit_signoff_required": record.sign_off,
            **dict.fromkeys(_COUNTS, 0),
            "created_at": record.created_at,
            "updated_at": record.pushed_at,
            "pushed_at": record.pushed_at,
        }

    def reference(self, record: RepositoryRecord, ref: str, sha: str) -> Json:
        """Describe a ref (`refs/heads/…`) of the git repository: GET /repos/…/git/ref/heads/{branch}."""
        base = f"{self.api}/repos/{record.full_name}/git"
        return {
            "ref": ref,
            "node_id": _node("Ref", f"{record.full_name}:{ref.removeprefix('refs/heads/')}"),
            "url": f"{base}/{ref}",
            "object": {"type": "commit", "sha": sha, "url": f"{base}/commits/{sha}"},
        }

    def pull(self, record: RepositoryRecord, pull: Pull, stat: Stat | None = None) -> Json:
        """Describe a pull request: in the short form of lists, or with `stat` in the longer form."""
        urls = self._pull_urls(record, pull)
        document = {
            **_identity("PullRequest", f"{record.full_name}#{pull.number}"),
            "number": pull.number,
            "state": pull.state,
            "title": pull.title,
            "body": pull.body,
            **{key: url for key, url in urls.items() if key != "self"},
            "_links": {
                name: {"href": urls[key]}
                for name, key in (
                    *(("self", "self"), ("html", "html_url"), ("issue", "issue_url"), ("commits", "commits_url")),
                    *(("comments", "comments_url"), ("statuses", "statuses_url")),
                    *(("review_comments", "review_comments_url"), ("review_comment", "review_comment_url")),
                )
            },
            "url": urls["self"],
            "user": self.account(self.login),
            "author_association": "MEMBER",
            "head": self._side(record, pull.head, pull.head_sha),
            "base": self._side(record, pull.base, pull.base_sha),
            **dict.fromkeys(("assignee", "milestone", "auto_merge")),
            **{key: [] for key in ("labels", "assignees", "requested_reviewers", "requested_teams")},
            "locked": False,
            "draft": pull.draft,
            "merge_commit_sha": pull.merge_sha,
            "created_at": pull.created_at,
            "updated_at": pull.updated_at,
            "closed_at": pull.closed_at,
            "merged_at": pull.merged_at,
        }
        return document if stat is None else {**document, **self._rest_of_pull(pull, stat)}

    def comment(self, record: RepositoryRecord, pull: Pull, comment: Comment) -> Json:
        """Describe a comment: GET /repos/…/issues/{number}/comments."""
        repository, page = f"{self.api}/repos/{record.full_name}", f"{self.url}/{record.full_name}/pull/{pull.number}"
        return {
            "id": comment.id,
            "node_id": _node("IssueComment", f"{record.full_name}#{comment.id}"),
            "url": f"{repository}/issues/comments/{comment.id}",
            "html_url": f"{page}#issuecomment-{comment.id}",
            "issue_url": f"{repository}/issues/{pull.number}",
            "user": self.account(comment.author),
            "author_association": "MEMBER",
            "body": comment.body,
            "created_at": comment.created_at,
            "updated_at": comment.created_at,
        }

    def _rest_of_pull(self, pull: Pull, stat: Stat) -> Json:
        return {
            "merged": pull.merged_at is not None,
            "merged_by": self.account(pull.ended_by or self.login) if pull.merged_at else None,
            "mergeable": None,
            "mergeable_state": "unknown",
            "maintainer_can_modify": False,
            "comments": len(pull.comments),
            "review_comments": 0,
            "commits": stat.commits,
            "additions": stat.additions,
            "deletions": stat.deletions,
            "changed_files": stat.changed_files,
        }

    def _pull_urls(self, record: RepositoryRecord, pull: Pull) -> dict[str, str]:
        repository, page = f"{self.api}/repos/{record.full_name}", f"{self.url}/{record.full_name}/pull/{pull.number}"
        own, issue = f"{repository}/pulls/{pull.number}", f"{repository}/issues/{pull.number}"
        return {
            "self": own,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue,
            "comments_url": f"{issue}/comments",
            "commits_url": f"{own}/commits",
            "review_comments_url": f"{own}/comments",
            "review_comment_url": f"{repository}/pulls/comments{{/number}}",
            "statuses_url": f"{repository}/statuses/{pull.head_sha}",
        }

    def _side(self, record: RepositoryRecord, branch: str, sha: str) -> Json:
        return {
            "label": f"{record.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.account(record.owner),
            "repo": self.repository(record),
        }


def problem(status: int, message: str, errors: list[Json] | None = None) -> Json:
    """Make GitHub's document for a refusal."""
    document: Json = {
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        "status": str(status),
    }
    return document if errors is None else {**document, "errors": errors}


def _identity(kind: str, name: str) -> Json:
    return {"id": int.from_bytes(hashlib.sha256(f"{kind}:{name}".encode()).digest()[:5]), "node_id": _node(kind, name)}


def _node(kind: str, name: str) -> str:
    return base64.b64encode(f"{kind}:{name}".encode()).decode()
