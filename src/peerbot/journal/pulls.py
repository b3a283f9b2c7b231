"""Which pull requests are watched, who looks at them, and what their answers show of them (decision 0031).

The folder is outside of the conversations, as the markers are: a round lists it, and its cost grows with what is
watched, not with history. What the keys say need not be read. All of it is deleted when there is nothing to watch.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from peerbot.conversation.keys import Conversation
from peerbot.conversation.pulls import Look, PullShown, Watched
from peerbot.journal import paths
from peerbot.journal.journal import Journal


@dataclass(frozen=True, slots=True, order=True)
class Watch:
    """An answer that shows a pull request: that of turn `turn`, whose last message is `ts`."""

    conversation: Conversation
    number: int
    turn: int
    ts: str

    @property
    def key(self) -> str:
        """The key of its document; its looks and what it shows are below it, without the ending."""
        return paths.watched(self.conversation, f"{self.number}-{self.turn}-{self.ts}")


@dataclass(slots=True)
class State:
    """Which objects a watch has."""

    there: bool = False  # otherwise somebody ended it, and what is left is litter
    looks: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)


async def begin(journal: Journal, watch: Watch, document: Watched) -> None:
    """Watch a pull request. Doing it twice does no harm."""
    await journal.create(watch.key, document)


async def all_watched(journal: Journal, conversation: Conversation | None = None) -> dict[Watch, State]:
    """List what is watched, in a conversation or everywhere."""
    found: defaultdict[Watch, State] = defaultdict(State)
    async for key in journal.keys(paths.pulls(conversation)):
        if (parsed := paths.parse_watched(key)) is None:
            continue
        state = found[Watch(*parsed[:4])]
        match parsed[4:]:
            case ("look", slot):
                state.looks.append(slot)
            case ("shown", i):
                state.shown.append(i)
            case _:
                state.there = True
    return dict(found)


async def document(journal: Journal, watch: Watch) -> Watched | None:
    """Read what an answer needs to be drawn again."""
    return await journal.read(watch.key, Watched)


async def claim(journal: Journal, watch: Watch, state: State, slot: int) -> bool:
    """Claim the `slot`th look; False if another replica has it. The claims before go."""
    if not await journal.create(paths.look(watch.key, slot), Look()):
        return False
    for before in state.looks:
        if before < slot:
            await journal.delete(paths.look(watch.key, before))
    return True


async def give_back(journal: Journal, watch: Watch, slot: int) -> None:
    """Give a claim back: nothing came of the look."""
    await journal.delete(paths.look(watch.key, slot))


async def shown(journal: Journal, watch: Watch, state: State) -> PullShown | None:
    """Read what the answer shows; None if nobody has drawn it since it was posted."""
    return await journal.read(paths.shown(watch.key, max(state.shown)), PullShown) if state.shown else None


async def write_shown(journal: Journal, watch: Watch, state: State, now: PullShown) -> bool:
    """Note what the answer shows now; False if another replica has drawn it meanwhile, too."""
    i = max(state.shown, default=0) + 1
    if not await journal.create(paths.shown(watch.key, i), now):
        return False
    for before in state.shown:
        await journal.delete(paths.shown(watch.key, before))
    return True


async def end(journal: Journal, watch: Watch, state: State) -> None:
    """Watch no more. The document goes last: if we die before, another replica ends it."""
    for slot in state.looks:
        await journal.delete(paths.look(watch.key, slot))
    for i in state.shown:
        await journal.delete(paths.shown(watch.key, i))
    if state.there:
        await journal.delete(watch.key)
