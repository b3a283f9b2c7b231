"""People's choices, and the owners of repositories' names: the journal's documents besides conversations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal

from peerbot.conversation.documents import Choice, RepositoryName, RepositorySettled, Started
from peerbot.conversation.keys import Conversation
from peerbot.errors import Unreadable
from peerbot.journal import paths
from peerbot.journal.journal import Journal

_AT_ONCE = 64  # conversations that are read together


async def choice(journal: Journal, kind: Literal["user", "channel"], identity: str) -> Choice | None:
    """Read the choice that holds for a user or a channel (`team-id`): the newest."""
    numbers = await journal.numbered(paths.choices(kind, identity))
    return await journal.read(paths.choice(kind, identity, max(numbers)), Choice) if numbers else None


async def choose(journal: Journal, kind: Literal["user", "channel"], identity: str, chosen: Choice) -> None:
    """Make a choice. If two people choose at once, the journal keeps both choices, and the later one holds."""
    seq = max(await journal.numbered(paths.choices(kind, identity)), default=0) + 1
    while not await journal.create(paths.choice(kind, identity, seq), chosen):
        seq += 1


async def claim_repository(journal: Journal, owner: str, name: str, user: str) -> RepositoryName:
    """Claim a repository's name for `user` (`team/user`); returns the claim that holds: this one, or an earlier one."""
    key, claim = paths.repository(owner, name), RepositoryName(user=user, marks=True)
    if await journal.create(key, claim):
        return claim
    return await journal.read_existing(key, RepositoryName)


async def settled(journal: Journal, owner: str, name: str) -> RepositorySettled | None:
    """Read which repository has a claimed name, as it was settled last."""
    folder = paths.settled(owner, name)
    numbers = await journal.numbered(folder)
    return await journal.read(f"{folder}{max(numbers)}.json", RepositorySettled) if numbers else None


async def settle(journal: Journal, owner: str, name: str, wanted: RepositorySettled) -> RepositorySettled:
    """Settle which repository has a claimed name; returns what holds: `wanted`, or what another replica settled."""
    key = f"{paths.settled(owner, name)}{wanted.i}.json"
    return wanted if await journal.create(key, wanted) else await journal.read_existing(key, RepositorySettled)


async def has_begun_in(journal: Journal, conversation: Conversation, user: str, repositories: set[str]) -> bool:
    """Whether a conversation that `user` began works in one of `repositories` (`owner/name`, in lower case).

    Looks in the channel of `conversation` first, then in the whole workspace: that may be every conversation there is.
    """
    team = f"{paths.CONVERSATIONS}{conversation.team}/"
    for folder in (f"{team}{conversation.channel}/", team):
        async for some in _batches(journal.keys(folder)):
            for begun in await asyncio.gather(*(_begun(journal, one) for one in some)):
                if begun and begun.began_by == user and begun.repository.lower() in repositories:
                    return True
    return False


async def _batches(keys: AsyncIterator[str]) -> AsyncIterator[list[Conversation]]:
    some: list[Conversation] = []
    async for key in keys:
        with suppress(ValueError):  # a file that is not ours
            conversation, rest = paths.parse_conversation(key)
            if rest == paths.CONVERSATION_DOCUMENT:
                some.append(conversation)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    yield some


async def _begun(journal: Journal, conversation: Conversation) -> Started | None:
    with suppress(Unreadable):  # it proves nothing
        return await journal.conversation(conversation)
    return None
