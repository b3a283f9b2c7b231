"""Threads as Slack shows them, for comparison with the journal.

How an answer is known again is written down here once more on purpose: it is a format that messages in Slack keep for
ever, and a checker that took it from the code that it checks would change with it.
"""

import json
import re

from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused, SettingsError
from peerbot.slack.api import refusal_code
from peerbot.slack.events import Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.marks import Shown, read_thread
from peerbot.slack.outbound import Outbound
from peerbot.slack.tokens import identify
from peerbot.verify.judge import Thread

_EVENT = "peerbot_turn"
_FILE = re.compile(r"answer-turn-(\d{1,9})-part-\d{1,9}\.md")
_EMPTY = {"thread_not_found", "message_not_found"}
_HIDDEN = {"channel_not_found", "not_in_channel", "missing_scope"}


class Threads:
    """Reads threads with a bot's token, within its budgets; asked again for minutes where Slack does not answer."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._us = Us("", "")

    async def begin(self) -> None:
        """Find out who we are. Raises `SettingsError` where Slack does not take the token, or `Unavailable`."""
        try:
            self._us = await identify(self._outbound)
        except Refused as error:
            raise SettingsError(str(error)) from error

    async def read(self, conversation: Conversation) -> Thread:
        """Read a whole thread. A thread that is gone is empty. Raises `Unavailable`, and `Refused` where all is."""
        if conversation.team != self._us.team:
            return Thread(refused="It is in another workspace than the bot token's.")
        thread = Thread()
        try:
            async for message in read_thread(self._outbound, conversation, Urgency.BACKGROUND, self._us):
                self._take(thread, message, conversation)
        except Refused as error:
            if refusal_code(error) in _EMPTY:
                return Thread()
            if refusal_code(error) in _HIDDEN:
                return Thread(refused=str(error))
            raise
        return thread

    def _take(self, thread: Thread, message: Shown, conversation: Conversation) -> None:
        if message.ts in thread.messages:  # a thread's first message leads every page
            return
        if not message.is_tombstone:
            thread.messages.add(message.ts)
        if not message.ours:
            return
        if message.mark and message.mark.event == _EVENT:
            payload = dict(message.mark.payload)
            where, turn = str(payload.pop("conversation", "")), payload.pop("turn", None)
            if isinstance(turn, int):
                part = json.dumps(payload, sort_keys=True)  # all that tells one part of an answer from another
                thread.answers.setdefault((where, turn, part), []).append(message.ts)
        for name in message.files:  # a file takes no mark: its name says what it is
            if match := _FILE.fullmatch(name):
                thread.answers.setdefault((str(conversation), int(match[1]), match[0]), []).append(message.ts)
