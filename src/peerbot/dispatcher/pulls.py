"""Keeps the state of pull requests current on the answers that name them (decision 0031).

GitHub can't tell us: no port of ours is open to it. So every replica lists what is watched, again and again, and looks
at what is due. A look is claimed in the journal, by a create, so that one replica makes it. What an answer shows is in
the journal, too: nothing in memory matters, and a restart changes nothing.
"""

import asyncio
import random
import time
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from peerbot.conversation import pulls as schedule
from peerbot.conversation.pulls import PullShown, PullState, Watched
from peerbot.errors import Conflict, PeerBotError, Refused, Unavailable
from peerbot.github.pulls import PullStates
from peerbot.journal import pulls
from peerbot.journal.journal import Journal
from peerbot.journal.pulls import State, Watch
from peerbot.logs import logger
from peerbot.slack.api import is_for_the_operator, refusal_code
from peerbot.thread.answers import Answers

log = logger(__name__)

MOST_LOOKS = 5
"""How many pull requests a replica looks at in one round: 20 a minute, with three calls of GitHub's API each."""

_ROUNDS_AWAY = 4
"""For how many rounds we leave a service alone that does not answer."""

_DRAWINGS = 3


@dataclass(slots=True)
class Pulls:
    """Looks at pull requests. `seconds` is the time between two rounds, and the unit of the schedule; 0: never."""

    journal: Journal
    states: PullStates
    answers: Answers
    seconds: float

    async def run(self) -> None:
        """Look, round by round."""
        while self.seconds:
            await asyncio.sleep(self.seconds * random.uniform(0.9, 1.1))  # noqa: S311 (jitter)
            try:
                rest = await self._round()
            except PeerBotError as error:
                log.warning("pull_requests_not_looked_at", reason=str(error), exc_info=error)
                rest = _ROUNDS_AWAY
            await asyncio.sleep(rest * self.seconds)

    async def _round(self) -> float:
        """Look at what is due, what is most overdue first; returns for how many rounds to rest."""
        if (spared := self.states.leave_alone_seconds()) > 0:
            log.info("pull_requests_spared", seconds=round(spared))
            return spared / self.seconds
        found = await pulls.all_watched(self.journal)
        for watch, state in found.items():
            if not state.there:
                await pulls.end(self.journal, watch, state)  # somebody died who had looked after its end
        newest = {(watch.conversation, watch.number): watch for watch, state in sorted(found.items()) if state.there}
        due = [(self._lateness(watch, found[watch]), watch) for watch in newest.values()]
        for _, watch in sorted((late for late in due if late[0] >= 0), reverse=True)[:MOST_LOOKS]:
            await self._look(watch, found[watch])
        return 0

    def _age(self, watch: Watch) -> float:
        """Say how old the answer is, in the unit of the schedule."""
        return (time.time() - float(watch.ts)) / self.seconds

    def _lateness(self, watch: Watch, state: State) -> float:
        return schedule.lateness(max(state.looks, default=0), self._age(watch))

    async def _look(self, watch: Watch, state: State) -> None:
        """Claim a look, and bring the answer up to date. Raises what GitHub and the journal raise if they are away."""
        slot = schedule.slot_at(self._age(watch))
        if not await pulls.claim(self.journal, watch, state, slot):
            return
        try:
            with bound_contextvars(conversation=str(watch.conversation), pull_request=watch.number):
                await self._bring_up_to_date(watch, slot)
        except Unavailable:
            await pulls.give_back(self.journal, watch, slot)
            raise
        except PeerBotError as error:  # it would be the same at once; the next look tries again
            log.warning("pull_request_not_seen", conversation=str(watch.conversation), reason=str(error))

    async def _bring_up_to_date(self, watch: Watch, slot: int) -> None:
        """Look at a pull request, and draw its answer again if that shows something else.

        If we are so slow that another replica has claimed the next look, it is that replica's to draw.
        """
        for _ in range(_DRAWINGS):
            there = await pulls.all_watched(self.journal, watch.conversation)
            state = there.get(watch, State())
            document = await pulls.document(self.journal, watch) if state.there else None
            if document is None:
                return await pulls.end(self.journal, watch, state)
            if max(state.looks, default=0) > slot:
                return None
            of_it = sorted(other for other, its in there.items() if its.there and other.number == watch.number)
            if of_it[-1] != watch:
                return None  # a later answer names it by now
            for before in of_it[:-1]:
                await self._end(before)
            if self._age(watch) >= schedule.LAST:
                return await self._end(watch)
            seen = await self.states.of(document.repository, watch.number)
            if await self._drawn(watch, state, document, seen):
                if seen and seen.is_over:
                    log.info("pull_request_over", standing=seen.standing)
                    await self._end(watch, keep=True)
                return None
        return None

    async def _drawn(self, watch: Watch, state: State, document: Watched, seen: PullState | None) -> bool:
        """Draw what was seen, unless the answer shows it. False if another replica drew meanwhile: look again.

        We draw first and note it then: a replica that dies between the two leaves an answer that is drawn once more.
        """
        before = await pulls.shown(self.journal, watch, state)
        if (before.state if before else None) == seen:
            return True

        async def still() -> bool:
            """Whether nobody has drawn or looked since, and no later answer names the pull request."""
            there = await pulls.all_watched(self.journal, watch.conversation)
            newest = max(other for other in there if other.number == watch.number) if watch in there else None
            return newest == watch and (there[watch].shown, there[watch].looks) == (state.shown, state.looks)

        try:
            if not await self.answers.redraw(watch, document, seen, still):
                return False
        except (Refused, Conflict) as error:
            if isinstance(error, Refused) and (is_for_the_operator(error) or not refusal_code(error)):
                raise  # of every answer, or by GitHub
            log.info("answer_not_drawn_again", reason=str(error))  # the message is gone, for example
            await self._end(watch, keep=True)
            return True
        log.info("pull_request_shown", standing=seen.standing if seen else None)
        return await pulls.write_shown(self.journal, watch, state, PullShown(state=seen))

    async def _end(self, watch: Watch, *, keep: bool = False) -> None:
        """Watch no more. What the answer shows goes, unless we `keep` it: nobody will keep it current."""
        state = (await pulls.all_watched(self.journal, watch.conversation)).get(watch, State())
        document = await pulls.document(self.journal, watch) if state.there else None
        shown = await pulls.shown(self.journal, watch, state)
        if not keep and document and shown and shown.state:

            async def still() -> bool:
                return True

            try:
                await self.answers.redraw(watch, document, None, still)
            except (Refused, Conflict) as error:
                log.info("answer_not_drawn_again", reason=str(error))
        await pulls.end(self.journal, watch, state)
