"""Requests of workers that wait here until somebody does something in their conversation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from peerbot.conversation.keys import Conversation

_T = TypeVar("_T")


class Bells:
    """Wakes the requests that wait, conversation by conversation."""

    def __init__(self) -> None:
        self._waiting: dict[Conversation, set[asyncio.Event]] = {}
        self._ending = False

    def ring(self, conversation: Conversation) -> None:
        """Have the requests of this conversation that wait here look again: its run was woken."""
        for bell in self._waiting.get(conversation, ()):
            bell.set()

    def end(self) -> None:
        """Send the requests that wait here away, so that their workers ask another replica."""
        self._ending = True
        for conversation in list(self._waiting):
            self.ring(conversation)

    async def until(
        self, conversation: Conversation, seconds: float, look: Callable[[], Awaitable[_T | None]]
    ) -> _T | None:
        """Look; if there is nothing (None), look again when the bell rings or `seconds` are over, and return that.

        It hears a bell that rings during the first look.
        """
        bell = asyncio.Event()
        self._waiting.setdefault(conversation, set()).add(bell)
        try:
            found = await look()
            if found is not None or seconds <= 0 or self._ending:
                return found
            try:
                async with asyncio.timeout(seconds):
                    await bell.wait()
            except TimeoutError:
                return None
            return await look()
        finally:
            waiting = self._waiting[conversation]
            waiting.discard(bell)
            if not waiting:
                del self._waiting[conversation]
