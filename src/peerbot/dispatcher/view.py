"""Reads from the journal and the runs the view that `conversation/decide.py` needs."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from peerbot.conversation.choices import act_of
from peerbot.conversation.decide import TRIES
from peerbot.conversation.documents import Input
from peerbot.conversation.edits import with_edits
from peerbot.conversation.keys import Conversation, input_id, input_ts
from peerbot.conversation.notes import Note
from peerbot.conversation.view import Deletion, Pressed, RunView, Stop, UnpostedTurn, View
from peerbot.journal.answers import SAID, answered, settled
from peerbot.journal.chosen import holds, newest_answer, went_back
from peerbot.journal.journal import Journal, RunRecord
from peerbot.journal.progress import got_further
from peerbot.runs.port import Phase, Runs
from peerbot.thread.inbox import Inbox
from peerbot.thread.questions import Questions

_READ_AHEAD = 8
"""How many earlier runs it reads at once: a night of lost nodes may have left a hundred."""


class Views:
    """Reads views. Holds nothing."""

    def __init__(self, journal: Journal, runs: Runs, inbox: Inbox, questions: Questions) -> None:
        self._journal = journal
        self._runs = runs
        self._inbox = inbox
        self._questions = questions

    async def of(self, conversation: Conversation) -> View:
        """Read a conversation's view. Raises what the journal, the runs and Slack raise."""
        marked = await self._journal.pending_in(conversation)
        done = await answered(self._journal, conversation, marked)
        inputs = {i: item for i in marked if i not in done and (item := await self._journal.input(conversation, i))}
        pending = tuple(i for i in marked if i in done or i in inputs)
        unposted = []
        for files in await self._journal.turn_files(conversation):
            if files.written and not files.posted and (turn := await self._journal.turn(conversation, files.k)):
                claim = await self._journal.repost_claim(conversation, files.k, files.claims)
                unposted.append(UnpostedTurn(files.k, claim.claimed_at if claim else turn.ended_at, files.claims))
        messages = {identity for identity, item in inputs.items() if item.kind in SAID}
        runs = await self._run_views(conversation, messages)
        fixed: dict[str, Note] = {}
        choices = [await self._pressed(item) for item in inputs.values() if item.kind == "choice"]
        if not runs or runs[0].closed or choices or any(item.kind == "stop" for item in inputs.values()):
            for item, ids in with_edits(inputs.values()):
                if note := await self._inbox.fixed_answer(item):
                    fixed |= dict.fromkeys(ids, note)
        said_at = {i: datetime.fromtimestamp(float(input_ts(i)), UTC) for i in inputs}
        lost = [i for i in marked if i not in pending]
        orphans = {i: at for i in lost if (at := await self._journal.marked_at(conversation, i))}
        stops = tuple(
            [
                Stop(i, item.turn, await settled(self._journal, conversation, i) is not None)
                for i, item in inputs.items()
                if item.kind == "stop"
            ]
        )
        at_work = await self._journal.next_turn(conversation) if stops or choices else 1
        about = await newest_answer(self._journal, conversation) if choices else 0
        deletions = tuple(_deletion(item, inputs) for item in inputs.values() if item.kind == "delete")
        seen = await self._questions.seen(conversation, inputs)
        return View(
            pending, done, tuple(unposted), tuple(runs), fixed, said_at, orphans, stops, at_work, deletions,
            tuple(choices), about, seen.open, seen.vain, seen.unshown,
        )  # fmt: skip

    async def _pressed(self, choice: Input) -> Pressed:
        """Describe a choice, and how far the one about its turn that has the effect is."""
        conversation, turn = choice.conversation, choice.turn or 0
        no_effect = await settled(self._journal, conversation, choice.id) is not None
        _, first = await holds(self._journal, conversation, turn) if turn else (0, None)
        back = await went_back(self._journal, conversation, turn) if turn else None
        return Pressed(choice.id, act_of(choice.act), turn, no_effect, first.input if first else None, back is not None)

    async def _run_views(self, conversation: Conversation, waiting: set[str]) -> list[RunView]:
        """Read the newest run, and earlier ones as long as they served a waiting input; the newest is first."""
        newest = await self._journal.newest_run(conversation)
        if newest is None:
            return []
        views = [await self._run_view(conversation, newest, live=True)]
        while waiting & set(views[-1].serves) and (n := views[-1].n) > 1:
            numbers = range(n - 1, max(0, n - 1 - _READ_AHEAD), -1)
            for record in await asyncio.gather(*(self._journal.run(conversation, n) for n in numbers)):
                if record is None or not waiting & set(record.run.serves):
                    return await self._measured(conversation, views)
                views.append(await self._run_view(conversation, record, live=False))
        return await self._measured(conversation, views)

    async def _measured(self, conversation: Conversation, views: list[RunView]) -> list[RunView]:
        """Say which runs got further, if a decision may depend on it: as soon as three died of themselves."""
        died = [view for view in views if view.closed and view.closed.reason.died_of_itself]
        if len(died) < TRIES:
            return views
        further = await got_further(self._journal, conversation, views[-1].reserved_at)
        return [replace(view, further=view.n in further) for view in views]

    async def _run_view(self, conversation: Conversation, record: RunRecord, *, live: bool) -> RunView:
        state = await self._runs.look(conversation, record.n) if live and not record.closed else None
        return RunView(
            n=record.n,
            serves=tuple(record.run.serves),
            reserved_at=record.run.reserved_at,
            started=record.started is not None,
            closed=record.closed,
            alive=None if state is None else state.phase is not Phase.ENDED,
            end=state.end if state else None,
            detail=state.detail if state else "",
            said=state.said if state else "",
            by_signal=state.by_signal if state else False,
        )


def _deletion(item: Input, waiting: Mapping[str, Input]) -> Deletion:
    """Describe a deletion: of the message and of its edits, those that still wait."""
    message = input_id(item.of, "message")
    edits = [i for i, other in waiting.items() if other.kind == "edit" and other.of == item.of]
    return Deletion(item.id, tuple(i for i in (message, *edits) if message in waiting and i in waiting))
