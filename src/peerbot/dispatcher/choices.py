"""What people choose with the buttons below an answer: recorded like a message, and carried out once (decision 0029).

`conversation/decide.py` decides what a choice does. The agent answers Continue and Retry; the dispatcher itself puts
branches back, writes the turns that say so, and tells people why a choice had no effect.
"""

from dataclasses import dataclass, field

from peerbot.conversation import steps
from peerbot.conversation.choice_notes import SessionForgotten, Undone
from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Input, RunClosed, Turn, TurnStatus
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import Note
from peerbot.dispatcher.answering import Answering
from peerbot.dispatcher.record import Recorder
from peerbot.errors import Refused, Unavailable
from peerbot.github.repositories import Repositories
from peerbot.journal import chosen
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.logs import logger
from peerbot.runs.port import Runs
from peerbot.slack.choice_words import DELAYED, NO_SESSION, not_moved, terminal, thanks
from peerbot.slack.controls import CHOICE
from peerbot.slack.controls import chosen as read_value
from peerbot.slack.events import Us
from peerbot.slack.interactions import BlockAction
from peerbot.thread.controls import Controls
from peerbot.turns.back import Back

log = logger(__name__)

ENDED_IDLE = "somebody chose something that its workspace must not outlive"


def is_choice(pressed: BlockAction) -> bool:
    """Whether somebody used a control below an answer."""
    return pressed.action_id.startswith(CHOICE)


async def record(pressed: BlockAction, journal: Journal, recorder: Recorder, us: Us) -> bool:
    """Record a choice before its ack; False if it is none that this release knows. Raises what the journal raises."""
    value = read_value(pressed.value)
    try:
        conversation = Conversation(us.team, pressed.channel, pressed.thread_ts)
    except ValueError:  # not what Slack makes
        return False
    if value is None or not await journal.knows(conversation):
        return False
    act, turn = value
    choice = Input(
        kind="choice",
        door="button",
        team=us.team,
        channel=pressed.channel,
        thread_ts=pressed.thread_ts,
        ts=pressed.action_ts,
        user=pressed.user,
        user_team=pressed.team or None,
        text="",
        event_id="",
        turn=turn,
        act=act,
    )
    await recorder.record(choice)
    return True


@dataclass(slots=True)
class Choices:
    """Takes the steps about choices for `Reconciler`."""

    journal: Journal
    runs: Runs
    answering: Answering
    controls: Controls
    repositories: Repositories
    back: Back
    delayed: set[str] = field(default_factory=set)  # choices whose authors know that GitHub does not answer

    async def take(
        self, conversation: Conversation, step: steps.Choose | steps.CarryOut | steps.Show | steps.EndIdle
    ) -> bool:
        """Take a step; False if another replica tells the author of a choice.

        Raises what the journal, GitHub, the runs and Slack raise; the next look goes on.
        """
        if isinstance(step, steps.EndIdle):
            closed = RunClosed(reason=RunEnd.FINISHED, detail=ENDED_IDLE)
            await self.journal.close_run(conversation, step.run, closed)
            await self.runs.wake(conversation, step.run)
            return True
        choice = await self.journal.input(conversation, step.input)
        assert choice is not None, "the view has recorded inputs alone"
        if isinstance(step, steps.Show):
            return await self._show(conversation, choice)
        try:
            if isinstance(step, steps.Choose):
                return await self._choose(conversation, choice)
            return await self._carry_out(conversation, choice, step.turn)
        except Unavailable:
            if Act(choice.act).goes_back and choice.id not in self.delayed:
                self.delayed.add(choice.id)
                await self.controls.whisper(choice, DELAYED)
            raise

    async def _choose(self, conversation: Conversation, choice: Input) -> bool:
        """Let a choice have the effect, if it can be carried out as far as anybody can see now."""
        if Act(choice.act).goes_back and (why := await self.back.why_not(conversation, choice)):
            return await self.controls.no_effect(choice, steps.NoEffect.NOT_POSSIBLE, said=why)
        if await chosen.choose(self.journal, choice):
            log.info("chosen", act=choice.act, turn=choice.turn)
        return True

    async def _carry_out(self, conversation: Conversation, choice: Input, turn: int) -> bool:
        """Carry out a choice that has the effect. It may have been begun before, here or elsewhere."""
        assert choice.turn is not None
        if choice.act == Act.NEW_SESSION:
            note = SessionForgotten(name=await self.controls.name(choice.user))
            await self.answering.write(conversation, _says(turn, choice, note).model_copy(update={"forgets": 1}))
            return True
        try:
            back = await self.back.go(conversation, choice)
        except Refused as error:
            log.warning("not_put_back", turn=choice.turn, reason=str(error))
            back = not_moved(str(error))
        if isinstance(back, str):
            return await self.controls.no_effect(choice, steps.NoEffect.NOT_POSSIBLE, said=back)
        if choice.act == Act.UNDO:
            name = await self.controls.name(choice.user)
            undone = Undone(name=name, turn=choice.turn, branch=back.branch, kept_on=back.kept_on)
            said = _says(turn, choice, undone).model_copy(update={"undoes": choice.turn})
            await self.answering.write(conversation, said)
        return True

    async def _show(self, conversation: Conversation, choice: Input) -> bool:
        """Do what concerns the author of a choice alone."""
        if choice.act == Act.TERMINAL:
            return await self.controls.show(choice, await self._terminal(conversation), commands=True)
        await chosen.give_feedback(self.journal, choice)
        log.info("feedback", conversation=str(conversation), turn=choice.turn, good=choice.act == Act.GOOD)
        return await self.controls.show(choice, thanks(choice.act == Act.GOOD))

    async def _terminal(self, conversation: Conversation) -> str:
        memory = await Memory.of(self.journal, conversation)
        session = await memory.last_session()
        begun = await self.journal.conversation(conversation)
        if session is None or begun is None:
            return NO_SESSION
        repository = await self.repositories.known(begun.repository)
        branch = await self.journal.branch(conversation, begun.branch)
        url = repository.clone_url if repository else begun.repository
        pushed = any([turn.commit async for turn in memory.remembered()])
        return terminal(url, branch if pushed else "", str(conversation), session.id)


def _says(k: int, choice: Input, note: Note) -> Turn:
    """Make the turn that says what was done. If another turn takes its number, the next look decides again."""
    return Turn(k=k, run=None, inputs=[choice.id], status=TurnStatus.DONE, text="", notes=[note])
