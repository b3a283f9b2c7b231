"""What people do with buttons, signs, commands and Slack's own Stop: each becomes an input, recorded before the ack.

Slack sends a click and a command once. If the journal does not take it, Slack gets no ack and shows an error to the
person, who can try again (`slack/receive.py`). What they did is decided later, like a message, by
`conversation/decide.py`.
"""

import time
from collections.abc import Iterable

from peerbot.conversation.documents import Door, Input
from peerbot.conversation.keys import Conversation, input_id
from peerbot.dispatcher.choices import is_choice, record
from peerbot.dispatcher.desk import Desk
from peerbot.dispatcher.record import Recorder
from peerbot.journal.answers import unanswered
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.control_words import HELP, UNKNOWN_CONTROL, listed, stops
from peerbot.slack.controls import COMMAND, STOP, STOP_SIGNS
from peerbot.slack.events import Change, Deleted, Edited, Other, Us, about
from peerbot.slack.home_view import HOME_STOP
from peerbot.slack.interactions import BlockAction, Command, Interaction, Reply
from peerbot.slack.marks import thread_of
from peerbot.slack.outbound import Outbound
from peerbot.slack.post import Poster
from peerbot.slack.question_words import NO_QUESTION, NOTHING_CHOSEN
from peerbot.slack.questions import FIELD, is_answer, picked
from peerbot.tasks import Spawn
from peerbot.thread.controls import Controls

log = logger(__name__)

_MOST_LISTED = 20


class Actions:
    """Takes everything from Slack that is no message. `spawn` starts what need not come before the ack."""

    def __init__(
        self,
        *,
        journal: Journal,
        recorder: Recorder,
        controls: Controls,
        poster: Poster,
        outbound: Outbound,
        us: Us,
        desk: Desk,
        spawn: Spawn,
    ) -> None:
        self._journal = journal
        self._recorder = recorder
        self._controls = controls
        self._poster = poster
        self._outbound = outbound
        self._us = us
        self._desk = desk
        self._spawn = spawn

    async def __call__(self, incoming: Change | Interaction | Other) -> Reply | None:
        """Record what somebody did; returns what goes back with the ack. Raises what the journal and Slack raise."""
        if self._desk.takes(incoming):
            return await self._desk(incoming)
        match incoming:
            case BlockAction():
                await self._pressed(incoming)
            case Edited():
                await self._edited(incoming)
            case Deleted(deletion=deletion):
                if await self._waits(deletion):
                    await self._recorder.record(deletion)
            case Other(type="agent_session_stopped"):
                await self._stop_in(incoming.channel, incoming.thread_ts, incoming.user, incoming.event_ts, "session")
            case Other(type="reaction_added", reaction=sign) if sign.partition("::")[0] in STOP_SIGNS:
                await self._signed(incoming)
            case Command(command=command) if command == COMMAND:
                return await self._command(incoming)
            case _:
                log.debug("not_handled", **about(incoming))
        return None

    async def _pressed(self, pressed: BlockAction) -> None:
        """Record what somebody did with a button or a field of ours."""
        if pressed.action_id == STOP:
            await self._stop_pressed(pressed)
        elif is_choice(pressed) and await record(pressed, self._journal, self._recorder, self._us):
            pass
        elif is_answer(pressed):
            await self._answered(pressed)
        elif pressed.action_id.startswith(FIELD):
            pass  # a field of a form: Submit has it all
        elif pressed.action_id == HOME_STOP:
            channel, _, thread_ts = pressed.value.partition("/")
            await self._stop_in(channel, thread_ts, pressed.user, pressed.action_ts, "button", team=pressed.team)
            self._desk.stopped(pressed.user)
        elif pressed.channel:
            log.warning("unknown_control", **about(pressed))
            self._spawn(
                self._poster.whisper(pressed.channel, pressed.user, UNKNOWN_CONTROL, thread_ts=pressed.thread_ts)
            )

    async def _edited(self, edited: Edited) -> None:
        """Record an edit of a message that waits. If the message was not for us before, and is now, record that."""
        edit = edited.edit
        if await self._waits(edit):
            await self._recorder.record(edit)
        elif edited.message and await self._journal.input(edit.conversation, edited.message.input.id) is None:
            await self._recorder(edited.message)

    async def _waits(self, change: Input) -> bool:
        """Whether the message that somebody edited or deleted was for us, and is not answered yet."""
        message = input_id(change.of, "message")
        return await self._journal.marked_at(change.conversation, message) is not None

    async def _stop_pressed(self, pressed: BlockAction) -> None:
        """Record a pressed Stop. Its value says for which turn."""
        turn = int(pressed.value) if pressed.value.isdecimal() and len(pressed.value) < 8 else None
        await self._stop_in(
            pressed.channel, pressed.thread_ts, pressed.user, pressed.action_ts, "button", team=pressed.team, turn=turn
        )

    async def _answered(self, pressed: BlockAction) -> None:
        """Record an answer to a question of the agent. Whether it counts is decided later."""
        answer = picked(pressed)
        said = NO_QUESTION if answer is None else NOTHING_CHOSEN if not any(answer[1]) else ""
        if said or answer is None:
            whisper = self._poster.whisper(pressed.channel, pressed.user, said, thread_ts=pressed.thread_ts)
            self._spawn(whisper)
            return
        item = Input(
            kind="answer",
            door="button",
            team=self._us.team,
            channel=pressed.channel,
            thread_ts=pressed.thread_ts,
            ts=pressed.action_ts,
            user=pressed.user,
            user_team=pressed.team or None,
            text="",
            event_id="",
            of=answer[0],
            picks=answer[1],
        )
        try:
            known = await self._journal.knows(item.conversation)
        except ValueError:  # not what Slack makes
            known = False
        if known:
            await self._recorder.record(item)
        else:
            log.info("answer_to_nothing", channel=pressed.channel)
            self._spawn(self._poster.whisper(pressed.channel, pressed.user, NO_QUESTION, thread_ts=pressed.thread_ts))

    async def _stop_in(
        self,
        channel: str,
        thread_ts: str,
        user: str,
        ts: str,
        door: Door,
        *,
        team: str = "",
        turn: int | None = None,
    ) -> None:
        """Record a stop. In a shared channel `team` can be another organization's; the conversation is ours."""
        stop = Input(
            kind="stop",
            door=door,
            team=self._us.team,
            channel=channel,
            thread_ts=thread_ts,
            ts=ts,
            user=user,
            user_team=team or None,
            text="",
            event_id="",
            turn=turn,
        )
        try:
            known = await self._journal.knows(stop.conversation)
        except ValueError:  # not what Slack makes
            known = False
        if known:
            await self._recorder.record(stop)
        else:
            log.info("stop_of_nothing", channel=channel, door=door)

    async def _signed(self, signed: Other) -> None:
        """Record ❌ or 🛑 on the card, or on a message that waits for its answer. Elsewhere a sign is people's own."""
        if signed.user == self._us.bot_user or not signed.channel:
            return
        found = await self._controls.meant(await self._conversation_of(signed), signed.ts)
        if found is None:
            return
        conversation, turn = found
        await self._stop_in(
            conversation.channel, conversation.thread_ts, signed.user, signed.event_ts, "reaction", turn=turn
        )

    async def _conversation_of(self, signed: Other) -> Conversation | None:
        """Find the thread of a message: Slack does not say it with a reaction."""
        try:
            own = Conversation(self._us.team, signed.channel, signed.ts)
        except ValueError:
            return None
        if await self._journal.knows(own):
            return own
        conversation = Conversation(
            self._us.team, signed.channel, await thread_of(self._outbound, signed.channel, signed.ts)
        )
        return conversation if await self._journal.knows(conversation) else None

    async def _command(self, command: Command) -> Reply:
        match command.text.strip().lower():
            case "stop":
                return Reply.only_to_them(stops(await self._stop_all_of(command)))
            case "status":
                lines = [await self._controls.line(c, items) for c, items in await self._at_work(command.channel)]
                return Reply.only_to_them(listed(lines))
            case _:
                return Reply.only_to_them(HELP)

    async def _stop_all_of(self, command: Command) -> int:
        """Stop all that a person asked for in a channel; returns in how many threads."""
        theirs = [
            conversation
            for conversation, items in await self._at_work(command.channel)
            if any(item.user == command.user for item in items)
        ]
        for conversation in theirs:
            ts = f"{time.time():.6f}"  # a command has no time of its own, and Slack sends it once
            await self._stop_in(
                conversation.channel, conversation.thread_ts, command.user, ts, "command", team=command.team
            )
        return len(theirs)

    async def _at_work(self, channel: str) -> list[tuple[Conversation, list[Input]]]:
        """List the conversations of a channel that have messages without an answer, with these."""
        pending: Iterable[Conversation] = await self._journal.pending()
        here = [conversation for conversation in pending if conversation.channel == channel][:_MOST_LISTED]
        found = [(conversation, await unanswered(self._journal, conversation)) for conversation in here]
        return [(conversation, items) for conversation, items in found if items]
