"""Counts what requests to Claude have used (`metrics.py`)."""

from peerbot import metrics
from peerbot.conversation.spent import Spent


def count(spent: Spent) -> None:
    """Count what one request used and cost."""
    model = metrics.model_label(spent.model)
    for kind in ("input", "output", "cache_read", "cache_write"):
        metrics.tokens.labels(model, kind).inc(getattr(spent, kind))
    metrics.cost_dollars.labels(model).inc(spent.usd)
    metrics.searches.inc(spent.searches)
