"""People's choices, and the owners of repositories' names: the journal's documents besides conversations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import RepositoryName, RepositorySettled, Started
from peerbot.conversation.held import Kind
from peerbot.conversation.keys import Conversation
from peerbot.errors import Unreadable
from peerbot.journal import paths
from peerbot.journal.journal import Journal

_AT_ONCE = 64  # conversations that are read together


async def choice(journal: Journal, kind: Kind, identity: str) -> Choice | None:
    """Read the choice that holds for a user or a channel (`team-id`): the newest."""
    return (await newest(journal, kind, identity))[1]


async def newest(journal: Journal, kind: Kind, identity: str) -> tuple[int, Choice | None]:
    """Read the newest choice and its number; 0 and None if nobody has chosen."""
    seq = max(await journal.numbered(paths.choices(kind, identity)), default=0)
    return seq, await numbered(journal, kind, identity, seq)


async def numbered(journal: Journal, kind: Kind, identity: str, seq: int) -> Choice | None:
    """Read the choice of a number; None if there is none."""
    return await journal.read(paths.choice(kind, identity, seq), Choice) if seq else None


async def choose_after(journal: Journal, kind: Kind, identity: str, seq: int, chosen: Choice) -> bool:
    """Make a choice as the next after number `seq`; False if somebody else has made that one. Again: the same."""
    return await journal.create(paths.choice(kind, identity, seq + 1), chosen)


async def choose(journal: Journal, kind: Kind, identity: str, chosen: Choice) -> None:
    """Make a choice. If two people choose at once, the journal keeps both choices, and the later one holds."""
    seq = (await newest(journal, kind, identity))[0]
    while not await choose_after(journal, kind, identity, seq, chosen):
        seq += 1


async def claim_repository(journal: Journal, owner: str, name: str, user: str) -> RepositoryName:
    """Claim a repository's name for `user` (`team/user`); returns the claim that holds: this one, or an earlier one."""
    key, claim = paths.repository(owner, name), RepositoryName(user=user, marks=True)
    if await journal.create(key, claim):
        return claim
    return await journal.read_existing(key, RepositoryName)


async def owner_of(journal: Journal, owner: str, name: str) -> str:
    """Read whose own a repository of ours is (`team/user`); empty if it is nobody's."""
    claim = await journal.read(paths.repository(owner, name), RepositoryName)
    if claim is None:
        return ""
    there = await settled(journal, owner, name)
    return "" if there and there.id is None else claim.user


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
            if rest in (paths.CONVERSATION_DOCUMENT, paths.PLACE):
                some.append(conversation)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    yield some


async def _begun(journal: Journal, conversation: Conversation) -> Started | None:
    with suppress(Unreadable):  # it proves nothing
        return await journal.conversation(conversation)
    return None
