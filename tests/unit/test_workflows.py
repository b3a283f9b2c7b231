"""Which GitHub workflows run an agent's branch when it is pushed: GitHub's own rules for filters."""

import pytest

from peerbot.doctor.workflows import runs_branch

BRANCH = "peerbot/2026-01-01-abcdefghijklmnop"


@pytest.mark.parametrize(
    ("on", "runs"),
    [
        ("on: push", True),
        ("'on': push", True),
        ("on: [pull_request, push]", True),
        ("on:\n  push:", True),
        ("on:\n  push: {}", True),
        ("on: create", True),
        ("on: [workflow_dispatch]", False),
        ("on: pull_request", False),
        ("on:\n  schedule: [{cron: '0 0 * * *'}]", False),
        ("on:\n  push: {branches: [main]}", False),
        ("on:\n  push: {branches: main}", False),
        ("on:\n  push: {branches: ['**']}", True),
        ("on:\n  push: {branches: ['*']}", False),
        ("on:\n  push: {branches: ['*/*']}", True),
        ("on:\n  push: {branches: ['**', '!peerbot/**']}", False),
        ("on:\n  push: {branches: ['!peerbot/**', '**']}", True),
        ("on:\n  push: {branches: ['peerbot/20[0-9][0-9]-**']}", True),
        ("on:\n  push: {branches: ['pee?rbot/**']}", True),
        ("on:\n  push: {branches: ['pe+rbot/**']}", True),
        ("on:\n  push: {branches: ['po+rbot/**']}", False),
        ("on:\n  push: {branches-ignore: ['peerbot/**']}", False),
        ("on:\n  push: {branches-ignore: ['peerbot/*']}", False),
        ("on:\n  push: {branches-ignore: ['dependabot/**']}", True),
        ("on:\n  push: {paths: ['src/**']}", True),
        ("on:\n  push: {tags: ['v*']}", False),
        ("on:\n  push: {tags: ['v*'], branches: ['**']}", True),
        ("on:\n  push: {branches: [[]]}", False),
        ("jobs: {}", False),
        ("- push", False),
        ("on: {push: {branches: [", False),
        ("on: &a [*a]", False),
        ("[" * 50_000, False),
        ("!!python/object/apply:os.system ['touch /tmp/planted']", False),
    ],
)
def test_a_push_of_our_branch_starts_what_github_would_start(on: str, runs: bool) -> None:
    assert runs_branch(f"name: CI\n{on}\n" if not on.startswith(("-", "[", "!")) else on, BRANCH) is runs


@pytest.mark.timeout(10)
def test_a_pattern_that_would_make_a_regular_expression_run_for_ever_is_read_quickly() -> None:
    evil = "**[a-z0-9]" * 29 + "Z"
    assert not runs_branch(f"on:\n  push: {{branches: ['{evil}']}}\n", BRANCH)
    lines = [f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)]
    bomb = "a: &a [x, x]\n" + "".join(lines)
    assert runs_branch(bomb + "on: push\n", BRANCH)
