"""`/metrics`: what `peerbot/metrics.py` counts, in Prometheus' text format, on a port of its own."""

import asyncio
import time

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from peerbot import metrics

FRESH_SECONDS = 2.0
"""A page is written at most once in this time."""

APART_SECONDS = 0.2
"""Pages leave at least this far apart: a client that asks more often waits, and delays no message."""


def metrics_app() -> web.Application:
    """Build the app for the metrics' port."""
    written_at, page, turn = float("-inf"), b"", asyncio.Lock()

    async def show(_: web.Request) -> web.Response:
        nonlocal written_at, page
        async with turn:
            await asyncio.sleep(APART_SECONDS)
            if time.monotonic() - written_at >= FRESH_SECONDS:
                written_at, page = time.monotonic(), metrics.exposition()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", show)
    return app
