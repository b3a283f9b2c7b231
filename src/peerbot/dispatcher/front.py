"""Builds the desk: settings, costs and the Home tab, as `wire.py` builds the path of a message."""

from collections.abc import Callable

from peerbot.conversation.keys import Conversation
from peerbot.dispatcher.desk import Desk
from peerbot.dispatcher.home import Home, Text
from peerbot.dispatcher.month import Month
from peerbot.dispatcher.picking import Picking
from peerbot.dispatcher.preferences import Preferences
from peerbot.dispatcher.raising import Raising
from peerbot.dispatcher.services import Services
from peerbot.journal.budgets import Chains
from peerbot.runs.port import Phase, Runs
from peerbot.settings import Settings
from peerbot.slack.screens import Screens
from peerbot.tasks import Spawn


def make_desk(
    services: Services,
    settings: Settings,
    chains: Chains,
    runs: Runs,
    *,
    text: Text,
    reconcile: Callable[[Conversation], None],
    model_kind: str,
    spawn: Spawn,
) -> Desk:
    """Join its parts. `text` makes an input readable; `reconcile` places a conversation that waited for a choice."""
    screens = Screens(services.outbound)
    preferences = Preferences(
        journal=services.journal,
        chosen=services.chosen,
        places=services.choosable,
        admission=services.admission,
        people=services.people,
        poster=services.poster,
        screens=screens,
        operators=settings.limits,
        team=services.us.team,
        spawn=spawn,
    )
    month = Month(services.journal, services.chosen, services.admission, services.people, services.us.team)
    home = _home(services, settings, chains, runs, screens, text, model_kind)
    raising, picking = _raising(services, settings, spawn), _picking(services, reconcile, spawn)
    return Desk(preferences, raising, picking, month, home, spawn)


def _raising(services: Services, settings: Settings, spawn: Spawn) -> Raising:
    return Raising(
        journal=services.journal,
        chosen=services.chosen,
        admission=services.admission,
        people=services.people,
        poster=services.poster,
        operators=settings.limits,
        team=services.us.team,
        spawn=spawn,
    )


def _picking(services: Services, reconcile: Callable[[Conversation], None], spawn: Spawn) -> Picking:
    return Picking(
        journal=services.journal,
        where=services.where,
        admission=services.admission,
        people=services.people,
        poster=services.poster,
        team=services.us.team,
        reconcile=reconcile,
        spawn=spawn,
    )


def _home(
    services: Services, settings: Settings, chains: Chains, runs: Runs, screens: Screens, text: Text, model_kind: str
) -> Home:
    async def busy() -> int:
        return sum(state.phase is not Phase.ENDED for state in await runs.list())

    return Home(
        journal=services.journal,
        chosen=services.chosen,
        places=services.choosable,
        admission=services.admission,
        chains=chains,
        poster=services.poster,
        screens=screens,
        text=text,
        busy=busy,
        most=settings.worker_max_concurrent,
        model_kind=model_kind,
        team=services.us.team,
    )
