"""Serves an HTTP app of the dispatcher: its port, its connections, and its end."""

from contextlib import AsyncExitStack

from aiohttp import web

from peerbot.errors import PeerBotError
from peerbot.settings import Runtime, Settings
from peerbot.web.connections import KEEP_ALIVE_SECONDS, LINGER_SECONDS, READ_AHEAD_BYTES, Connections, ServerLog


class Server:
    """Serves apps until `stack` closes."""

    def __init__(self, stack: AsyncExitStack, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings

    async def serve(self, app: web.Application, port: int, setting: str, most: int) -> tuple[web.AppRunner, int]:
        """Serve `app` on `port` (0: any free one), the value of `setting`, for up to `most` connections.

        Returns the server, which `stack` closes, and the port.
        """
        connections = Connections(most)
        connections.watch(app)
        server = web.AppRunner(
            app,
            access_log=None,
            logger=ServerLog(),
            shutdown_timeout=self._settings.peerbot_drain_seconds,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            read_bufsize=READ_AHEAD_BYTES,
        )
        await server.setup()
        self._stack.push_async_callback(server.cleanup)
        host = "127.0.0.1" if self._settings.peerbot_runtime is Runtime.PROCESS else None
        try:
            await connections.listen(server, host, port)
        except OSError as error:
            raise PeerBotError(
                f"Port {port} is in use, or PeerBot may not use it. Set {setting} to another one."
            ) from error
        return server, int(server.addresses[0][1])
