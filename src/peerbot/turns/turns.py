"""Begins and ends turns, in the order that loses nothing: pull request → turn → answer (decisions 0002 and 0003).

The worker has pushed and saved the session before it calls `finish`.
"""

from collections.abc import Sequence

from peerbot.conversation.choice_notes import RecordRemoved, Retried
from peerbot.conversation.documents import KeptWork, PullRequest, Run, SessionRef, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import NewBranch, NoDifference, NoPullRequest, OtherRepository
from peerbot.conversation.spent import dollars
from peerbot.errors import Conflict, PeerBotError
from peerbot.github.client import GitHub
from peerbot.github.describe import pull_request_body, pull_request_title
from peerbot.journal import work
from peerbot.journal.answers import answered
from peerbot.journal.chosen import requests, retry_among, went_back
from peerbot.journal.journal import Journal, RunRecord
from peerbot.journal.memory import Memory
from peerbot.journal.questions import asked_before, question
from peerbot.logs import logger
from peerbot.protocol.documents import TurnBegin, TurnResult
from peerbot.protocol.sessions import LARGEST_BYTES, spoken_in
from peerbot.slack.choice_words import REMOVED, for_the_agent
from peerbot.slack.post import Poster
from peerbot.slack.render import turn_words
from peerbot.slack.words import work_words
from peerbot.thread.inbox import Inbox
from peerbot.turns.bills import Bills
from peerbot.turns.branches import Branches

log = logger(__name__)


class Turns:
    """Begins and ends turns for the run that calls."""

    def __init__(
        self,
        *,
        journal: Journal,
        github: GitHub,
        branches: Branches,
        inbox: Inbox,
        poster: Poster,
        bills: Bills,
        model_kind: str,
    ) -> None:
        self._journal = journal
        self._github = github
        self._branches = branches
        self._inbox = inbox
        self._poster = poster
        self._bills = bills
        self._model_kind = model_kind

    async def begin(self, conversation: Conversation, record: RunRecord) -> TurnBegin:
        """Number the turn that begins now: one more than the last written turn.

        An earlier run may have worked on it and ended: then the turn goes on with that run's session.
        """
        memory = await Memory.of(self._journal, conversation)
        turn, since = memory.turn, await memory.unfinished_since()
        heard_since = await memory.unfinished_since(session=True)
        parts = [
            key
            for k in range(heard_since, turn + 1)
            for key in await self._journal.session_parts(conversation, k, before_run=record.n)
        ]
        if parts:
            log.info("turn_goes_on", turn=turn, since=since, parts=len(parts))
        session_id = await last_heard(self._journal, parts)
        if session_id is None:
            session = await memory.last_session()
            session_id = session.id if session else None
        branch, new_branch = await self._branches.for_turn(conversation, memory, record.run)
        kept = await memory.kept_work()
        checkpoint = await work.newest(self._journal, conversation, range(since, turn + 1), before_run=record.n)
        before = await memory.before()
        return TurnBegin(
            turn=turn,
            session_id=session_id,
            interrupted=bool(parts),
            unfinished_since=since,
            branch=branch,
            new_branch=new_branch,
            kept=kept,
            saved=bool(kept or checkpoint),
            told=work_words(before.notes) if before else "",
            happened=await _happened(memory),
            asked=await asked_before(self._journal, conversation, range(since, turn + 1)),
        )

    async def saved_work(self, conversation: Conversation, record: RunRecord, turn: int) -> bytes | None:
        """Read the saved state with which turn `turn` goes on; None if there is none.

        It is the newest checkpoint of a run that ended in the middle of the turn, or else what the turn before kept.
        """
        memory = await Memory.of(self._journal, conversation, turn)
        since = await memory.unfinished_since()
        found = await work.newest(self._journal, conversation, range(since, turn + 1), before_run=record.n)
        place = found or await memory.kept_work()
        return await work.read(self._journal, conversation, place) if place else None

    async def finish(
        self, conversation: Conversation, record: RunRecord, turn: int, result: TurnResult
    ) -> tuple[Turn, bool]:
        """Write turn `turn`; returns it, and whether this call created it. Idempotent by the result's nonce.

        The turn names only inputs that no earlier turn names: the caller may have fetched them before another run's
        last turn came in late. Raises `Conflict` if another run wrote this turn first or has answered all the inputs:
        then the caller's result is thrown away.
        """
        written = await self._journal.turn(conversation, turn)
        if written is None:
            # All earlier turns were written before this one got its number, so this look can't miss one.
            done = await answered(self._journal, conversation, result.inputs)
            asked = [each for each in dict.fromkeys(result.inputs) if each not in done]
            # A worker that was taken over may name inputs that nobody wrote.
            if left := [each for each in asked if await self._journal.input(conversation, each)]:
                document = await self._document(
                    conversation, record.run, turn, result.model_copy(update={"inputs": left})
                )
                if await self._journal.write_turn(conversation, document):
                    log.info("turn_written", turn=turn, status=document.status.value, answers=document.inputs)
                    return document, True
            written = await self._journal.turn(conversation, turn)
        if written is None or written.nonce != result.nonce:
            raise Conflict("Another run has already answered this turn.")
        return written, False

    async def clear_saved(self, conversation: Conversation, record: RunRecord, turn: Turn) -> None:
        """Delete the saved states that a written turn makes useless. A failure is only logged."""
        try:
            await work.clear(self._journal, conversation, turn.k, kept=turn.kept)
            # Workers of the release before keep their checkpoints on GitHub.
            await self._github.delete_refs(record.run.repository, f"peerbot/{conversation.id}/")
        except PeerBotError as error:
            log.warning("saved_work_not_cleared", reason=str(error), exc_info=error)

    async def _document(self, conversation: Conversation, run: Run, turn: int, result: TurnResult) -> Turn:
        branch = await self._branches.current(conversation, run)
        notes = list(result.notes)
        pull_request = None
        if result.commit:
            try:
                pull_request = await self._pull_request(conversation, run, branch, result)
            except PeerBotError as error:
                log.warning("no_pull_request", reason=str(error), exc_info=error)
                notes.append(NoPullRequest(reason=str(error)))
            else:
                if result.no_difference and pull_request is None:
                    notes.append(NoDifference())
        if new := await self._branches.of_turn(conversation, turn):
            notes.append(NewBranch(branch=new.branch, reason=new.reason))
        begun = await self._journal.conversation(conversation)
        memory = await Memory.of(self._journal, conversation, turn)
        if begun and begun.instead_of and await memory.unfinished_since() == 1:
            notes.append(OtherRepository(repository=run.repository, taken=begun.instead_of))
        if await memory.removed():
            notes.append(RecordRemoved())
        retry = await retry_among(self._journal, conversation, result.inputs)
        if retry and retry.turn:
            back = await went_back(self._journal, conversation, retry.turn)
            kept_on = back.kept_on if back else ""
            notes.append(Retried(name=await self._inbox.name(retry.user), turn=retry.turn, kept_on=kept_on))
        bill = await self._bills.of(conversation, turn, notes)
        kept = KeptWork(turn=turn, run=run.n, part=result.part, base=result.base) if result.kept else None
        if not result.began:
            kept = await memory.kept_work()
        session = SessionRef(id=result.session_id, turn=turn, run=run.n) if result.session_id else None
        return Turn(
            nonce=result.nonce,
            k=turn,
            run=run.n,
            inputs=result.inputs,
            status=TurnStatus(result.status),
            text=result.text,
            notes=bill.notes,
            repository=run.repository,
            branch=branch,
            commit=result.commit,
            kept=kept,
            pull_request=pull_request,
            files=result.files,
            session=session,
            model="demo" if self._model_kind == "demo" else "claude",
            cost_usd=dollars(bill.spent) if bill.spent else None,
            spent=bill.spent,
            seconds=result.seconds,
            began=result.began,
            before=result.before,
            times=result.times.model_copy(update={"first_request": bill.first_request_at}),
            undoes=retry.turn if retry else None,
            forgets=retry.turn if retry else None,
            deferred=await self._deferred(conversation, turn, result.deferred),
        )

    async def _deferred(self, conversation: Conversation, turn: int, identity: str) -> str:
        """Keep which question the agent waits for, if it asked that in this turn: a worker may name anything."""
        asked = await question(self._journal, conversation, identity)
        return identity if asked and asked.turn == turn else ""

    async def _pull_request(
        self, conversation: Conversation, run: Run, branch: str, result: TurnResult
    ) -> PullRequest | None:
        """Open the conversation's pull request, or find and update it. None if there is nothing to compare with."""
        repository = await self._github.repository(run.repository, written_at=now())
        if repository is None:
            return None
        if result.no_difference:
            return await self._github.open_pull_request_of(repository, branch)
        begun = await self._journal.conversation(conversation)
        first = next(iter(await requests(self._journal, conversation, result.inputs)), None)
        request = await self._inbox.text(first) if first else ""
        pull_request = await self._github.ensure_pull_request(
            repository,
            head=branch,
            commit=result.commit,
            base=(begun.base if begun else "") or repository.default_branch,
            title=pull_request_title(request or result.title),
            body=pull_request_body(
                request=request,
                answer=turn_words(result.text, result.notes),
                requester=await self._inbox.name(first.user) if first else "",
                thread_url=await self._poster.permalink(conversation.channel, conversation.thread_ts),
                run=conversation.job_name(run.n),
            ),
        )
        if pull_request:
            log.info("pull_request", number=pull_request.number)
        return pull_request


async def _happened(memory: Memory) -> str:
    """Say what people chose since the agent's last turn, for the agent, and whether its memory was removed."""
    said: list[str] = [REMOVED] if await memory.removed() else []
    async for before in memory.remembered():
        if before.run is not None:
            break
        said += [words for note in before.notes if (words := for_the_agent(note))]
    return "\n".join(reversed(said))


async def last_heard(journal: Journal, parts: Sequence[str]) -> str | None:
    """Find the session in which the agent was spoken to last, in the parts of these keys; None if there is none."""
    left = LARGEST_BYTES
    for key in reversed(parts):
        async with journal.large:
            part = await journal.get(key) or b""
            left -= len(part)
            if found := spoken_in(part):
                return found
            del part
        if left < 0:
            break
    return None
