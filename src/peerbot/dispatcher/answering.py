"""Answers that need no worker, what has no effect, and answers that nobody has posted: the steps without a run."""

from dataclasses import dataclass

from peerbot.conversation import steps
from peerbot.conversation.documents import RepostClaim, Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import Note
from peerbot.conversation.spent import dollars
from peerbot.errors import PeerBotError
from peerbot.journal import ledger, spending
from peerbot.journal.answers import answered, taken_back
from peerbot.journal.chosen import retry_among
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.tasks import Spawn
from peerbot.thread.controls import Controls
from peerbot.thread.present import CardFacts, Presenter
from peerbot.thread.questions import Questions
from peerbot.turns.given_up import GivingUp

log = logger(__name__)


@dataclass(slots=True)
class Answering:
    """Takes these steps for `Reconciler`. `name` is the dispatcher's, `spawn` starts its background tasks."""

    journal: Journal
    presenter: Presenter
    giving_up: GivingUp
    controls: Controls
    questions: Questions
    name: str
    spawn: Spawn

    async def settle(
        self, conversation: Conversation, step: steps.Tell | steps.AnswerStopped | steps.Drop | steps.SettleQuestion
    ) -> bool:
        """Settle what needs no worker. Returns False if another replica tells the author of an input."""
        if isinstance(step, steps.SettleQuestion):
            await self.questions.settle(conversation, step.question, step.input)
            return True
        if isinstance(step, steps.Drop):
            await self.controls.dropped(conversation, step.inputs)
            return True
        stop = await self.journal.input(conversation, step.input)
        assert stop is not None, "the view has recorded inputs alone"
        if isinstance(step, steps.Tell):
            return await self.controls.no_effect(stop, step.why)
        note = await self.giving_up.stopped(conversation, await self.presenter.name(stop.user), step.began)
        await self.answer(conversation, step.answers, note, TurnStatus.DONE)
        return True

    async def without_taken_back(self, conversation: Conversation, inputs: tuple[str, ...]) -> bool:
        """Drop the markers of messages whose author deleted them before their own event came; whether there are any."""
        found = [item for i in inputs if (item := await self.journal.input(conversation, i))]
        gone = [item.id for item in found if await taken_back(self.journal, item)]
        if gone:
            await self.controls.dropped(conversation, gone)
        return bool(gone)

    async def answer(self, conversation: Conversation, inputs: tuple[str, ...], note: Note, status: TurnStatus) -> None:
        """Answer inputs without a run. If another writer takes the turn's number, the next look decides again."""
        k = await self.journal.next_turn(conversation)
        # Another replica may have answered them since we read the view; one that does so from here on takes our number.
        done = await answered(self.journal, conversation, inputs)
        left = [identity for identity in inputs if identity not in done]
        if not left:
            return
        failed = status is TurnStatus.FAILED
        spent = (await spending.books(self.journal, conversation, k)).spent if failed else []  # by runs that died on it
        cost = dollars(spent) if spent else None
        retry = await retry_among(self.journal, conversation, left)
        again = retry.turn if retry else None
        turn = Turn(
            k=k, run=None, inputs=left, status=status, text="", notes=[note], cost_usd=cost, spent=spent,
            undoes=again, forgets=again,
        )  # fmt: skip
        await self.write(conversation, turn)

    async def write(self, conversation: Conversation, turn: Turn) -> None:
        """Write a turn without a run, and post it. If another turn has its number, nothing happens."""
        if await self.journal.write_turn(conversation, turn):
            log.info("turn_written", turn=turn.k, status=turn.status.value, answers=turn.inputs)
            self.spawn(ledger.book(self.journal, conversation, turn))
            self.spawn(self._present(conversation, turn))  # it may wait for an answer that the next look posts

    async def end(self, conversation: Conversation, inputs: tuple[str, ...]) -> None:
        """Drop the markers of answered inputs. The replica that posted may have died before it showed the end."""
        for k in set((await answered(self.journal, conversation, inputs)).values()):
            if turn := await self.journal.turn(conversation, k):
                self.spawn(self.presenter.ended(conversation, turn, await self._card_facts(conversation, turn)))
        for identity in inputs:
            await self.journal.unmark(conversation, identity)

    async def post_again(self, conversation: Conversation, k: int, claim: int) -> None:
        """Claim and post a turn that has no receipt. If Slack refuses it, the conversation goes on."""
        turn = await self.journal.turn(conversation, k)
        if turn is None:
            return
        if not await self.journal.claim_repost(conversation, k, claim, RepostClaim(claimed_by=self.name)):
            return
        try:
            await self._present(conversation, turn, claim=claim)
        except PeerBotError as error:
            log.warning("not_posted", turn=k, reason=str(error), exc_info=error)

    async def _present(self, conversation: Conversation, turn: Turn, *, claim: int = 0) -> None:
        await self.presenter.final(conversation, turn, await self._card_facts(conversation, turn), claim=claim)

    async def _card_facts(self, conversation: Conversation, turn: Turn) -> CardFacts | None:
        """The facts on the turn's card. A turn without a run may have the card of the last run that died on it."""
        first = await self.journal.input(conversation, turn.inputs[0])
        journal = self.journal
        record = await (journal.run(conversation, turn.run) if turn.run else journal.newest_run(conversation))
        return CardFacts.of(record.run, first.user) if record and first else None
