"""What people do while a turn is at work: its worker asks for it, and waits here until there is something."""

from collections.abc import Collection

from aiohttp import web

from peerbot.conversation.deadlines import POLL_SECONDS
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import in_order
from peerbot.conversation.questions import QuestionSettled
from peerbot.gateway import bodies
from peerbot.gateway.access import Access, Caller, Role
from peerbot.gateway.bells import Bells
from peerbot.journal.answers import settled, unanswered
from peerbot.journal.journal import Journal
from peerbot.journal.questions import question_files, question_settled
from peerbot.logs import logger
from peerbot.protocol.documents import Steer, SteerRequest, StopAsked
from peerbot.thread.inbox import Inbox
from peerbot.thread.questions import Questions

log = logger(__name__)

LARGEST_REQUEST_BYTES = 64 * 1024


class Steering:
    """Tells a worker what people did in its turn: stops, and messages that it does not have yet."""

    def __init__(self, *, journal: Journal, access: Access, inbox: Inbox, bells: Bells, questions: Questions) -> None:
        self._journal = journal
        self._access = access
        self._inbox = inbox
        self._bells = bells
        self._questions = questions

    def routes(self, turn: str) -> list[web.RouteDef]:
        """The routes below `turn`, the path of a turn."""
        return [web.post(turn + "/steer", self.steer)]

    async def steer(self, request: web.Request) -> web.Response:
        """Hand over what is new for the turn at work; if nothing is, wait up to `wait` seconds for it."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=False)
        asked = SteerRequest.model_validate_json(await bodies.small(request, LARGEST_REQUEST_BYTES))
        turn = int(request.match_info["turn"])
        found = await self._bells.until(
            caller.conversation, min(asked.wait, POLL_SECONDS), lambda: self._look(caller, turn, asked)
        )
        return web.json_response(text=(found or Steer()).model_dump_json(by_alias=True))

    async def _look(self, caller: Caller, turn: int, asked: SteerRequest) -> Steer | None:
        if await self._journal.turn(caller.conversation, turn) is not None:
            return Steer(over=True)
        if stop := await self._stop(caller, turn):
            return Steer(stop=stop)
        # In this order: a message that settles a question while we look is held, or it is the answer. So it is never
        # handed over as further words.
        found = await self._inbox.waiting(caller.conversation, have=asked.have)
        held = await self._held(caller, asked.have)
        settled = await self._settled(caller, turn, set(asked.heard))
        answers = {*held, *(each.input for each in settled.values())}
        inputs = [item for item in found if not answers.intersection(item.ids)]
        return Steer(inputs=inputs, settled=settled) if inputs or settled else None

    async def _settled(self, caller: Caller, turn: int, heard: set[str]) -> dict[str, QuestionSettled]:
        """Find what became of the turn's questions since the worker asked last."""
        found: dict[str, QuestionSettled] = {}
        for files in await question_files(self._journal, caller.conversation):
            if files.turn == turn and files.settled and files.id not in heard:
                settled = await question_settled(self._journal, caller.conversation, files.id)
                found |= {files.id: settled} if settled else {}
        return found

    async def _held(self, caller: Caller, have: Collection[str]) -> tuple[str, ...]:
        """Find messages that will settle the open question: they are its answer, and no further words."""
        waiting = [item for item in await unanswered(self._journal, caller.conversation) if item.id not in have]
        return await self._questions.held(caller.conversation, waiting)

    async def _counts(self, stop: Input) -> bool:
        if await settled(self._journal, stop.conversation, stop.id):
            return False
        return await self._inbox.fixed_answer(stop) is None

    async def _stop(self, caller: Caller, turn: int) -> StopAsked | None:
        """Find the stops of this turn, of people who may use the bot here; they cover the messages before them."""
        stops = await unanswered(self._journal, caller.conversation, ["stop"])
        found = [stop for stop in stops if stop.turn in (None, turn) and await self._counts(stop)]
        if not found:
            return None
        waiting = await unanswered(self._journal, caller.conversation)
        before = [item for item in waiting if in_order(item.id) < in_order(found[0].id)]
        covered = [
            item.id
            for item in before
            if await self._inbox.has_effect(item) and await self._inbox.fixed_answer(item) is None
        ]
        if not covered:
            return None  # it is for what was said before the turn's own messages
        log.info("stop_handed_over", conversation=str(caller.conversation), run=caller.record.n, turn=turn)
        return StopAsked(inputs=[*covered, *(stop.id for stop in found)], name=await self._inbox.name(found[0].user))
