"""Every prefix that the settings take makes a branch that git takes."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerbot.conversation.keys import Conversation, branch_prefixes, later_branch
from peerbot.errors import SettingsError
from peerbot.settings import load

REQUIRED = {
    "slack_bot_token": "xoxb-1",
    "slack_app_token": "xapp-1",
    "github_token": "t",
    "anthropic_api_key": "k",
}
THREAD = Conversation("T1", "C1", "1795979997.436001")


def takes(branch: str) -> bool:
    command = ["git", "check-ref-format", f"refs/heads/{branch}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@settings(max_examples=100, deadline=None)
@given(st.text("ab.-_@{~^:\\ ?*[/", max_size=8))
def test_what_the_settings_take_git_takes_too(prefix: str) -> None:
    try:
        wanted = load(**REQUIRED, peerbot_branch_prefix=prefix).peerbot_branch_prefix
    except SettingsError:
        return
    for each in branch_prefixes(wanted):
        assert takes(later_branch(THREAD.branch_below(each), 2))


@pytest.mark.parametrize("prefix", ["peerbot", "a", "_", "PeerBot-1.0", "a.lock.b"])
def test_usual_names_are_taken(prefix: str) -> None:
    assert load(**REQUIRED, peerbot_branch_prefix=prefix).peerbot_branch_prefix == prefix


@pytest.mark.parametrize("prefix", ["a/b", ".a", "a.", "a..b", "a.lock", "-a", "a b", "ä", "a~1", "a" * 41, "a\n"])
def test_others_are_told(prefix: str) -> None:
    with pytest.raises(SettingsError, match="PEERBOT_BRANCH_PREFIX: git takes letters, digits"):
        load(**REQUIRED, peerbot_branch_prefix=prefix)
