"""`/health`: the process is alive. `/ready`: it can record (the journal answers). Neither looks at a Slack socket."""

from aiohttp import web

from peerbot.errors import PeerBotError
from peerbot.journal.journal import Journal
from peerbot.logs import logger

log = logger(__name__)


def health_app(journal: Journal) -> web.Application:
    """Build the app for the dispatcher's public port."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        try:
            await journal.ping()
        except PeerBotError as error:
            log.warning("not_ready", reason=str(error), exc_info=error)
            return web.json_response({"status": "not ready", "reason": str(error)}, status=503)
        return web.json_response({"status": "ready"})

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    return app
