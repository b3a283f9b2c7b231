"""Listens for what people do while a turn is at work: somebody stops it, or writes more.

It asks the gateway all the time, and hands on what it hears: messages to the agent, a stop to the agent and the worker.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from peerbot.conversation.notes import LostFile
from peerbot.conversation.questions import QuestionSettled
from peerbot.errors import PeerBotError, Unavailable
from peerbot.logs import logger
from peerbot.protocol.documents import PersonInput, StopAsked
from peerbot.worker.files import Brought, Files
from peerbot.worker.gateway import GatewayClient

log = logger(__name__)

POLL_SECONDS = 20.0
AGAIN_SECONDS = 1.0
"""How long it waits after a request that failed: the gateway may be away, or of the release before."""


class EndedEarly(Exception):
    """The turn ended before its agent began: somebody stopped it, or another ended it."""


class Steering:
    """What people did since the turn's `inputs`. Run `listen` beside the work, and end it with the work.

    `ended` is set when the turn should end at once: somebody stopped it (`stop`), or it was ended without this run
    (`over`).
    """

    def __init__(self, gateway: GatewayClient, files: Files, turn: int, inputs: Sequence[PersonInput]) -> None:
        self._gateway = gateway
        self._files = files
        self.lost: list[LostFile] = []  # of the messages that came meanwhile
        self._turn = turn
        self._have = [identity for item in inputs for identity in item.ids]
        self.messages: asyncio.Queue[PersonInput] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.stop: StopAsked | None = None
        self.over = False
        self._ends: dict[str, asyncio.Future[QuestionSettled]] = {}  # of questions, by id

    async def end_of(self, question: str) -> QuestionSettled:
        """Wait until a question of the turn is settled."""
        return await asyncio.shield(self._end(question))

    def settle(self, question: str, settled: QuestionSettled) -> None:
        """Note what became of a question. Words that answered it are no message for the agent besides."""
        if not self._end(question).done():
            self._have += [settled.input] if settled.input else []
            self._end(question).set_result(settled)

    def _end(self, question: str) -> "asyncio.Future[QuestionSettled]":
        return self._ends.setdefault(question, asyncio.get_running_loop().create_future())

    async def listen(self) -> None:
        """Hear what people do until the turn should end. Raises nothing."""
        while not self.ended.is_set():
            try:
                heard = await self._gateway.steer(self._turn, self._have, self._heard, POLL_SECONDS)
            except Unavailable as error:
                log.debug("not_heard", reason=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            except PeerBotError as error:  # the run is over, or this gateway knows no such request
                log.debug("not_heard", reason=str(error))
                return
            for question, settled in heard.settled.items():
                log.info("question_settled", question=question, how=settled.how)
                self.settle(question, settled)
            for item in heard.inputs:
                self._have += item.ids
                self.messages.put_nowait(item)
            if heard.stop or heard.over:
                log.info("turn_ends_early", stopped=heard.stop is not None)
                self.stop, self.over = heard.stop, heard.over
                self.ended.set()

    @property
    def _heard(self) -> list[str]:
        return [question for question, end in self._ends.items() if end.done()]

    async def bring(self, inputs: Sequence[PersonInput]) -> Brought:
        """Fetch the files of messages that came meanwhile. Raises as `Files.bring`."""
        brought = await self._files.bring(inputs)
        self.lost += brought.lost
        return brought

    async def unless_ended(self, work: asyncio.Future[None]) -> None:
        """Wait for `work`; raises `EndedEarly` as soon as the turn should end, and leaves the work to itself."""
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            waited: list[asyncio.Future[Any]] = [work, ended]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise EndedEarly
            work.result()
        finally:
            ended.cancel()
            await asyncio.wait([ended])
