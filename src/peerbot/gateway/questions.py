"""The agent asks people: its worker hands the question over here, and hears of the answer with what people do."""

from aiohttp import web

from peerbot.errors import Conflict
from peerbot.gateway import bodies
from peerbot.gateway.access import Access, Role
from peerbot.journal.journal import Journal
from peerbot.journal.questions import question_settled
from peerbot.protocol.documents import AskReply, AskRequest
from peerbot.thread.questions import Questions

LARGEST_ASK_BYTES = 512 * 1024


class Asking:
    """Takes questions of workers."""

    def __init__(self, *, journal: Journal, access: Access, questions: Questions) -> None:
        self._journal = journal
        self._access = access
        self._questions = questions

    def routes(self, turn: str) -> list[web.RouteDef]:
        """The routes below `turn`, the path of a turn."""
        return [web.post(turn + "/ask", self.ask)]

    async def ask(self, request: web.Request) -> web.Response:
        """Ask people in the thread; the same call again is asked once."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=True)
        wanted = AskRequest.model_validate_json(await bodies.small(request, LARGEST_ASK_BYTES))
        turn = int(request.match_info["turn"])
        if turn != await self._journal.next_turn(caller.conversation):
            raise Conflict("Another run has already answered this turn.")
        question = await self._questions.ask(caller.conversation, turn, caller.record.n, wanted)
        settled = await question_settled(self._journal, caller.conversation, question.id)
        reply = AskReply(id=question.id, settled=settled)
        return web.json_response(text=reply.model_dump_json(by_alias=True))
