"""`/metrics`: what `peerbot/metrics.py` counts, in Prometheus' text format, on a port of its own."""

import time

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from peerbot import metrics

FRESH_SECONDS = 1.0
"""A page is written at most once in this time: whoever asks more often costs no more than sending the bytes."""


def metrics_app() -> web.Application:
    """Build the app for the metrics' port."""
    written_at, page = float("-inf"), b""

    async def show(_: web.Request) -> web.Response:
        nonlocal written_at, page
        if time.monotonic() - written_at >= FRESH_SECONDS:
            written_at, page = time.monotonic(), metrics.exposition()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", show)
    return app
