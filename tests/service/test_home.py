"""The Home tab: a person's own work with Stop, their settings with Edit, what the bot may do, and the connection."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually

from peerbot.local.slack import Fault
from peerbot.slack.home_view import HOME_EDIT, HOME_HELP

LONG = "run `touch begun.txt; sleep 120`"
SETTINGS = {"PEERBOT_REPOSITORIES": "team/*", "PEERBOT_PERSON_MONTH_BUDGET_USD": "20"}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path, SETTINGS) as system:
        await system.start()
        yield system


def shown(system: System, user: str | None = None) -> str:
    return str(system.slack.views.home(user or system.slack.person) or "")


async def opened(system: System, words: str, user: str | None = None) -> dict[str, Any]:
    """Open the Home tab, and wait until it shows these words."""
    user = user or system.slack.person
    await system.slack.client.open_home(user)
    await eventually(lambda: words in shown(system, user))
    view = system.slack.views.home(user)
    assert view
    return view


async def test_it_shows_what_may_be_done_and_a_guest_sees_why_not(system: System) -> None:
    await opened(system, "Nothing that you asked for is at work")
    for words in ("team/*", "$20.00, $20.00 left", "0 of 10 workers are busy", "each person's own", "Connection"):
        assert words in shown(system)
    guest = system.add_person("U0GUEST0001", "Gus", kind="guest")
    await opened(system, "Guests can't use this bot", guest)
    assert "My settings" not in shown(system, guest)


async def test_work_is_listed_for_the_person_who_asked_and_stopped_from_there(system: System) -> None:
    bob = system.add_person("U0BOB", "Bob")
    conversation, identity = await system.say(LONG)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    await opened(system, "Nothing that you asked for is at work", bob)
    view = await opened(system, "sleep 120")
    assert "1 of 10 workers are busy" in str(view)
    thread = f"{conversation.channel}/{conversation.thread_ts}"
    await system.slack.client.press(system.slack.person, view, thread)
    await eventually(lambda: "stopping" in shown(system) or "Nothing that you asked" in shown(system))
    turn = await system.answer(conversation, identity)
    assert turn.stopped
    await system.settled(conversation)
    await opened(system, "Nothing that you asked for is at work")
    await system.slack.client.press(system.slack.person, view, thread)  # the view of before
    await eventually(lambda: any("already" in w["text"] for w in system.slack.whispers(system.slack.person)))


async def test_edit_and_help_open_a_modal_and_what_is_saved_is_shown_at_once(system: System) -> None:
    view = await opened(system, "My settings")
    await system.slack.client.press(system.slack.person, view, HOME_EDIT)
    await eventually(lambda: system.slack.views.opened(system.slack.person))
    assert not await system.slack.client.fill_in(system.slack.person, {"instructions": "Be brief.", "budget_usd": "7"})
    await eventually(lambda: "Be brief." in shown(system) and "$7.00" in shown(system))
    await system.slack.client.press(system.slack.person, view, HOME_HELP)
    await eventually(lambda: "Mention me with a task" in str(system.slack.views.opened(system.slack.person)))


@pytest.mark.parametrize("error", ["hash_conflict", "not_enabled", "view_too_large", "internal_error"])
async def test_a_home_tab_that_slack_does_not_take_does_no_harm(system: System, error: str) -> None:
    before = len(system.logged("home_not_shown"))
    system.slack.faults.add("views.publish", Fault(error=error))
    await system.slack.client.open_home(system.slack.person)
    await eventually(lambda: len(system.logged("home_not_shown")) == before + 1)
    await opened(system, "My settings")


@pytest.mark.parametrize(
    "error", ["expired_trigger_id", "exchanged_trigger_id", "invalid_trigger_id", "view_too_large"]
)
async def test_a_form_that_slack_does_not_open_is_said(system: System, error: str) -> None:
    before = len(system.slack.whispers(system.slack.person))
    system.slack.faults.add("views.open", Fault(error=error))
    await system.slack.command(system.slack.person, system.slack.general, "/peerbot", "settings")
    await eventually(lambda: "could not open" in str(system.slack.whispers(system.slack.person)[before:]))
