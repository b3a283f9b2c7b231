"""How long the pods take to start of those runs that this replica made: until a node is found, and until they run."""

import time

from peerbot import metrics
from peerbot.conversation.keys import Conversation

_MOST = 1_000


class Starts:
    """Observes each step once. It forgets a run when its pod has begun or is gone."""

    def __init__(self) -> None:
        self._since: dict[tuple[Conversation, int], float] = {}  # since its last step
        self._scheduled: set[tuple[Conversation, int]] = set()

    def made(self, conversation: Conversation, run: int) -> None:
        """Learn that this replica made a run's Job."""
        if len(self._since) < _MOST:
            self._since[conversation, run] = time.monotonic()

    def seen(self, conversation: Conversation, run: int, *, scheduled: bool, begun: bool, gone: bool) -> None:
        """Learn how a run's pod is now."""
        key = (conversation, run)
        if key not in self._since:
            return
        if scheduled and key not in self._scheduled:
            self._observe("scheduled", key)
            self._scheduled.add(key)
        if begun:
            self._observe("container", key)
        if begun or gone:
            self._scheduled.discard(key)
            del self._since[key]

    def _observe(self, step: str, key: tuple[Conversation, int]) -> None:
        now = time.monotonic()
        metrics.run_start_seconds.labels(step).observe(now - self._since[key])
        self._since[key] = now
