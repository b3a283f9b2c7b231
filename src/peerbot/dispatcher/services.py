"""The services that a dispatcher's parts share: the journal, Slack, GitHub, and what people chose."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import aiohttp

from peerbot.conversation.policy import Admission
from peerbot.github.client import GitHub
from peerbot.github.pulls import PullStates
from peerbot.github.refs import Refs
from peerbot.github.repositories import Repositories
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.settings import Settings
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.tokens import identify
from peerbot.thread.admission import Admissions
from peerbot.thread.where import Where
from peerbot.turns.choosable import Choosable
from peerbot.way_out import proxy_for


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the parts share."""

    journal: Journal
    outbound: Outbound
    us: Us
    people: People
    poster: Poster
    github: GitHub
    pull_states: PullStates
    repositories: Repositories
    refs: Refs
    chosen: ChosenSettings
    choosable: Choosable
    admission: Admissions
    where: Where


async def open_services(settings: Settings, journal: Journal, stack: AsyncExitStack) -> Services:
    """Open them; `stack` closes them. Raises `PeerBotError` if Slack does not say who we are."""
    slack = open_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value())
    outbound = Outbound(await stack.enter_async_context(slack))
    apps = settings.allowed_apps
    us = replace(await identify(outbound, settings.slack_trigger_phrase), apps=frozenset(apps))
    session = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy_for(settings.github_api_url)))
    github = GitHub(session, token=settings.github_token.get_secret_value(), api_url=settings.github_api_url)
    people, poster, chosen = People(outbound), Poster(outbound, us), ChosenSettings(journal, settings.limits, apps)
    return Services(
        journal=journal,
        outbound=outbound,
        us=us,
        people=people,
        poster=poster,
        github=github,
        pull_states=PullStates(
            session, token=settings.github_token.get_secret_value(), api_url=settings.github_api_url
        ),
        repositories=Repositories(github),
        refs=Refs(session, github.api, github.git_authorization),
        chosen=chosen,
        choosable=Choosable(journal, github, settings.bounds),
        admission=Admissions(people, chosen, _admission(settings), frozenset(apps)),
        where=Where(journal, poster, people),
    )


def _admission(settings: Settings) -> Admission:
    return Admission(
        settings.slack_allow_direct_messages,
        settings.slack_allow_private_channels,
        settings.allowed_users,
        settings.allowed_channels,
    )
