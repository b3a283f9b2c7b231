"""Reads from the journal and the runs the view that `conversation/decide.py` needs."""

from datetime import UTC, datetime

from peerbot.conversation import decide
from peerbot.conversation.keys import Conversation, input_kind, input_ts
from peerbot.conversation.notes import Note
from peerbot.journal.answers import answered
from peerbot.journal.journal import Journal, RunRecord
from peerbot.runs.port import Phase, Runs
from peerbot.thread.inbox import Inbox


class Views:
    """Reads views. Holds nothing."""

    def __init__(self, journal: Journal, runs: Runs, inbox: Inbox) -> None:
        self._journal = journal
        self._runs = runs
        self._inbox = inbox

    async def of(self, conversation: Conversation) -> decide.View:
        """Read a conversation's view. Raises what the journal, the runs and Slack raise."""
        marked = await self._journal.pending_in(conversation)
        done = await answered(self._journal, conversation, marked)
        inputs = {i: item for i in marked if i not in done and (item := await self._journal.input(conversation, i))}
        pending = tuple(i for i in marked if i in done or i in inputs)
        unposted = []
        for files in await self._journal.turn_files(conversation):
            if files.written and not files.posted and (turn := await self._journal.turn(conversation, files.k)):
                claim = await self._journal.repost_claim(conversation, files.k, files.claims)
                unposted.append(
                    decide.UnpostedTurn(files.k, claim.claimed_at if claim else turn.ended_at, files.claims)
                )
        runs = await self._run_views(conversation, set(inputs))
        fixed: dict[str, Note] = {}
        if not runs or runs[0].closed:
            for identity, item in inputs.items():
                if note := await self._inbox.fixed_answer(item):
                    fixed[identity] = note
        said_at = {i: datetime.fromtimestamp(float(input_ts(i)), UTC) for i in inputs}
        # Slack can give a message again. It can't give a click again, so the marker of one stays, for `peerbot verify`.
        lost = [i for i in marked if i not in pending and input_kind(i) == "message"]
        orphans = {i: at for i in lost if (at := await self._journal.marked_at(conversation, i))}
        return decide.View(pending, done, tuple(unposted), tuple(runs), fixed, said_at, orphans)

    async def _run_views(self, conversation: Conversation, waiting: set[str]) -> list[decide.RunView]:
        """Read the newest run, and earlier ones as long as they served a waiting input; the newest is first."""
        record = await self._journal.newest_run(conversation)
        views: list[decide.RunView] = []
        while record and (not views or waiting & set(record.run.serves)):
            views.append(await self._run_view(conversation, record, live=not views))
            record = await self._journal.run(conversation, record.n - 1) if record.n > 1 else None
        return views

    async def _run_view(self, conversation: Conversation, record: RunRecord, *, live: bool) -> decide.RunView:
        state = await self._runs.look(conversation, record.n) if live and not record.closed else None
        return decide.RunView(
            n=record.n,
            serves=tuple(record.run.serves),
            reserved_at=record.run.reserved_at,
            started=record.started is not None,
            closed=record.closed,
            alive=None if state is None else state.phase is not Phase.ENDED,
            end=state.end if state else None,
            detail=state.detail if state else "",
            said=state.said if state else "",
        )
