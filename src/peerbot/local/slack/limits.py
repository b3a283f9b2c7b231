"""Slack's rate limits: how many calls of a method Slack takes each minute, and when it takes the next."""

import math
import time
from dataclasses import dataclass

TIERS = {1: 1, 2: 20, 3: 50, 4: 100}  # calls each minute, for each method and workspace
METHOD_TIERS = {
    "reactions.remove": 2,
    "chat.update": 3,
    "chat.delete": 3,
    "reactions.add": 3,
    "conversations.history": 3,
    "conversations.replies": 3,
    "conversations.info": 3,
    "users.conversations": 3,
    "agents.sessions.setStatus": 3,
    "team.info": 3,
    "apps.connections.open": 3,
    "users.info": 4,
    "bots.info": 3,
    "views.open": 4,
    "views.update": 4,
    "views.publish": 4,
}
POSTS_PER_MINUTE, POST_BURST = 60, 5  # for each channel
SPECIAL_PER_MINUTE = 600  # auth.test, chat.getPermalink


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimits:
    """Token buckets, one for each method. Posts have one for each channel."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def wait_seconds(self, method: str, channel: str) -> int:
        """Count a call; returns 0 if it fits, otherwise the whole seconds until it would (`Retry-After`)."""
        if method == "chat.postMessage":
            name, per_minute, burst = f"{method}/{channel}", POSTS_PER_MINUTE, POST_BURST
        else:
            tier = METHOD_TIERS.get(method)
            per_minute = TIERS[tier] if tier else SPECIAL_PER_MINUTE
            name, burst = method, per_minute
        now = time.monotonic()
        bucket = self._buckets.setdefault(name, _Bucket(burst, now))
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0
        return math.ceil((1 - bucket.tokens) * 60 / per_minute)
