"""What this replica has used for a turn, and its reports to the journal: a running total after each request.

One report is written at a time, and the next has all that came meanwhile. So the journal lacks at most what a replica
used in the last moment, and only if it is killed then.
"""

import asyncio
from datetime import datetime

from peerbot.conversation.documents import Usage
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import BudgetUsedUp
from peerbot.conversation.spent import Spent, summed
from peerbot.errors import PeerBotError
from peerbot.journal import spending
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.tasks import Spawn

log = logger(__name__)


class Report:
    """One replica's part of a turn. `place`: the number of its first slice, which names its reports; 0: none yet."""

    def __init__(self, journal: Journal, conversation: Conversation, turn: int, spawn: Spawn) -> None:
        self.spent: list[Spent] = []
        self.place = 0
        self.first_request_at: datetime | None = None
        self._journal = journal
        self._conversation = conversation
        self._turn = turn
        self._spawn = spawn
        self._used_up: BudgetUsedUp | None = None
        self._written = 0  # the number of the last report
        self._changes = 0
        self._told = 0  # of the changes
        self._telling = asyncio.Lock()
        self._tells = False

    def add(self, spent: Spent, place: int) -> None:
        """Add what a request used, and report it soon."""
        self.spent = summed([*self.spent, spent])
        self._changed(place)

    def began(self, place: int) -> None:
        """Report when the first request was passed on, if nothing else will: its model costs nothing."""
        if not self._changes:
            self._changed(place)

    def used_up(self, budget: BudgetUsedUp, place: int) -> None:
        """Note for which budget a request was refused, and report it soon."""
        if budget != self._used_up:
            self._used_up = budget
            self._changed(place)

    async def told(self) -> None:
        """Make sure that the journal has everything. Raises what the journal raises."""
        async with self._telling:
            while self._told < self._changes:
                changes = self._changes
                usage = Usage(spent=self.spent, used_up=self._used_up, first_request_at=self.first_request_at)
                written = False
                while not written:  # if an earlier try of ours has this number, the next is free
                    self._written += 1
                    written = await spending.report(
                        self._journal, self._conversation, self._turn, self.place, self._written, usage
                    )
                self._told = changes

    def _changed(self, place: int) -> None:
        self.place = self.place or place
        self._changes += 1
        if not self._tells:
            self._tells = True
            self._spawn(self._tell())

    async def _tell(self) -> None:
        try:
            await self.told()
        except PeerBotError as error:
            log.warning("usage_not_told", turn=self._turn, reason=str(error))
        finally:
            self._tells = False
