"""The journal's documents about what people set: settings, and the repository that they picked for a conversation."""

from pydantic import AwareDatetime, Field

from peerbot.conversation.documents import Document, now
from peerbot.conversation.limits import MONTH


class Asked(Document):
    """`asked/{ts}-{kind}/{menu's ts}.json`: where we asked in which repository to work, since this message waits."""

    channel: str
    ts: str


class Picked(Document):
    """`repository.json`: the repository that somebody picked for a conversation, before its work began."""

    repository: str
    picked_by: str
    picked_at: AwareDatetime = Field(default_factory=now)


class Choice(Document):
    """`settings/{user|channel}/{id}/{seq}.json`: what somebody chose; the one with the highest `seq` holds, whole.

    What is empty is not chosen.
    """

    repository: str = ""  # owner/name: where the work goes
    others: list[str] = Field(default_factory=list)  # further repositories, of which people pick one for a thread
    base: str = ""  # the branch from which work begins, and into which it goes
    model: str = ""
    instructions: str = ""  # for the agent
    plan_first: bool = False  # people approve a plan before the agent changes anything
    askers: list[str] = Field(default_factory=list)  # of a channel: the people who may ask, by id; none: everybody
    budget_usd: float | None = None  # a month's
    more_usd: float = 0.0  # what people allowed beyond it, in the month `more_in` alone
    more_in: str = Field(default="", pattern=MONTH)
    chosen_by: str
    chosen_at: AwareDatetime = Field(default_factory=now)

    @property
    def repositories(self) -> tuple[str, ...]:
        """All repositories, the first one first."""
        return tuple(name for name in (self.repository, *self.others) if name)

    def budget_in(self, month: str) -> float | None:
        """The budget of a month (`2026-11`), with what was allowed beyond it; None if there is none."""
        if self.budget_usd is None:
            return None
        return round(self.budget_usd + (self.more_usd if self.more_in == month else 0.0), 2)
