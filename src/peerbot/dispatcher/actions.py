"""What people do with buttons, signs, commands and Slack's own Stop: each becomes an input, recorded before the ack.

Slack sends a click and a command once. If the journal does not take it, Slack gets no ack and shows an error to the
person, who can try again (`slack/receive.py`). What they did is decided later, like a message, by
`conversation/decide.py`.
"""

import time
from collections.abc import Iterable

from peerbot.conversation.documents import Door, Input, Settled
from peerbot.conversation.keys import Conversation, in_order, input_id, input_kind
from peerbot.conversation.steps import NoEffect
from peerbot.dispatcher.choices import is_choice, record
from peerbot.dispatcher.desk import Desk
from peerbot.dispatcher.record import Recorder
from peerbot.journal.answers import settle, unanswered
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.control_words import HELP, NOTHING_AT_WORK, UNKNOWN_CONTROL, listed, stops
from peerbot.slack.controls import COMMAND, STOP, STOP_SIGNS
from peerbot.slack.events import Change, Deleted, Edited, Other, Us, about
from peerbot.slack.home_view import HOME_STOP
from peerbot.slack.interactions import BlockAction, Command, Interaction, Reply
from peerbot.slack.marks import Mark, thread_of
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
            case Deleted():
                await self._deleted(incoming)
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
        edit, message = edited.edit, edited.message
        if not await self._waits(edit):
            if message is None:
                return
            if await self._journal.input(edit.conversation, message.input.id) is None:
                await self._recorder(message)
            if not await self._waits(edit):  # it is not for us, or is answered; or its own event came meanwhile
                return
        if not await self._outdated(edit):
            await self._recorder.record(edit)

    async def _outdated(self, edit: Input) -> bool:
        """Whether we know how the message reads after this edit, or after a later one: events overtake each other."""
        conversation = edit.conversation
        message = await self._journal.input(conversation, input_id(edit.of, "message"))
        if message and message.edited >= edit.ts:
            return True
        edits = [i for i in await self._journal.pending_in(conversation) if input_kind(i) == "edit"]
        later = [await self._journal.input(conversation, i) for i in edits if in_order(i) > in_order(edit.id)]
        return any(other and other.of == edit.of for other in later)

    async def _deleted(self, deleted: Deleted) -> None:
        """Record a deletion of a message that waits. If the message's own event comes later, it must not begin.

        Its recorder writes first and looks for this note when its work would begin; we write the note first and then
        look for the message. So one of us sees both.
        """
        deletion, message = deleted.deletion, deleted.message
        if not await self._waits(deletion):
            if message is None or message.input.kind != "message":
                return
            conversation, identity = deletion.conversation, message.input.id
            if await self._journal.input(conversation, identity) is None:
                if not message.sure and not await self._journal.knows(conversation):
                    return
                await settle(self._journal, conversation, identity, Settled(why=NoEffect.DELETED.value))
            if not await self._waits(deletion):
                return
        await self._recorder.record(deletion)

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
            self._spawn(self._poster.whisper(channel, user, NOTHING_AT_WORK, thread_ts=thread_ts))

    async def _signed(self, signed: Other) -> None:
        """Record ❌ or 🛑 on a card, or on a message that somebody wrote to us. Elsewhere a sign is people's own."""
        if signed.user == self._us.bot_user or not signed.channel:
            return
        try:
            conversation, mark = await self._signed_message(signed)
        except ValueError:  # not what Slack makes
            return
        if not await self._journal.knows(conversation):
            return
        if found := await self._controls.meant(conversation, signed.ts, mark):
            [turn] = found
            await self._stop_in(
                conversation.channel, conversation.thread_ts, signed.user, signed.event_ts, "reaction", turn=turn
            )

    async def _signed_message(self, signed: Other) -> tuple[Conversation, Mark | None]:
        """Find the thread of a message and our mark on it: Slack does not say that with a reaction."""
        own = Conversation(self._us.team, signed.channel, signed.ts)
        if await self._journal.knows(own):
            return own, None
        thread_ts, mark = await thread_of(self._outbound, signed.channel, signed.ts, self._us)
        return Conversation(self._us.team, signed.channel, thread_ts), mark

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
