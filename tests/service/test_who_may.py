"""The operator's lists: only these people, user groups and channels, and everybody else is told."""

from pathlib import Path

import pytest
from system import System, full_text

from peerbot.errors import SettingsError
from peerbot.local.slack import Fault
from peerbot.settings import load

GROUP = "S0TEAM"


async def test_people_and_groups_on_the_list_are_answered_and_others_are_told(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_ALLOWED_USERS": f"U0BOB, {GROUP}"}) as system:
        bob, cara = system.add_person("U0BOB", "Bob"), system.add_person("U0CARA", "Cara")
        system.slack.add_group(GROUP, [cara])
        await system.start()
        for user in (bob, cara):
            assert (await system.ask("run `true`", user=user)).status == "done"
        refused = await system.ask("run `true`")
        assert refused.status == "refused"
        assert "Only some people" in full_text(refused)
        assert refused.run is None


async def test_if_slack_does_not_say_who_is_in_a_group_nobody_begins(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_ALLOWED_USERS": GROUP}) as system:
        system.slack.add_group(GROUP, [system.slack.person])
        system.slack.faults.add("usergroups.users.list", Fault(error="internal_error"), times=100)
        await system.start()
        turn = await system.ask("run `true`")
        assert (turn.status, turn.run) == ("refused", None)
        assert "could not find out" in full_text(turn)


async def test_only_the_channels_on_the_list_are_worked_in(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_ALLOWED_CHANNELS": "C0OTHER"}) as system:
        system.slack.add_channel("C0OTHER", "other")
        await system.start()
        assert (await system.ask("run `true`", channel="C0OTHER")).status == "done"
        refused = await system.ask("run `true`")
        assert "does not work in this channel" in full_text(refused)
        assert (await system.ask("run `true`", channel=system.slack.direct)).status == "done"


@pytest.mark.parametrize(
    ("name", "value"),
    [("peerbot_allowed_users", "@ada"), ("peerbot_allowed_users", "U1 U2"), ("peerbot_allowed_channels", "#general")],
)
def test_a_list_that_holds_no_ids_is_refused_at_start(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert any(name.upper() in problem and "ids" in problem for problem in refused.value.problems)
