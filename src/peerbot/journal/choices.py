"""People's choices, and the owners of repositories' names: the journal's documents besides conversations."""

from typing import Literal

from peerbot.conversation.documents import Choice, RepositoryName
from peerbot.journal import paths
from peerbot.journal.journal import Journal


async def choice(journal: Journal, kind: Literal["user", "channel"], identity: str) -> Choice | None:
    """Read the choice that holds for a user or a channel (`team-id`): the newest."""
    numbers = await journal.numbered(paths.choices(kind, identity))
    return await journal.read(paths.choice(kind, identity, max(numbers)), Choice) if numbers else None


async def choose(journal: Journal, kind: Literal["user", "channel"], identity: str, chosen: Choice) -> None:
    """Make a choice. If two people choose at once, the journal keeps both choices, and the later one holds."""
    seq = max(await journal.numbered(paths.choices(kind, identity)), default=0) + 1
    while not await journal.create(paths.choice(kind, identity, seq), chosen):
        seq += 1


async def claim_repository(journal: Journal, owner: str, name: str, user: str) -> str:
    """Claim a repository's name for `user` (`team/user`); returns its owner: `user`, or the user that came first."""
    key = paths.repository(owner, name)
    if await journal.create(key, RepositoryName(user=user)):
        return user
    return (await journal.read_existing(key, RepositoryName)).user
