"""The ports of this machine's servers: a folder keeps its own, so that links and open pages outlive a restart."""

import contextlib
import socket
from pathlib import Path


def listening(host: str, port: int, remembered: Path | None) -> socket.socket:
    """Open `port`, and keep its number in the file `remembered`. For 0, open the kept one, or any if that is taken.

    Raises `OSError` if `port` is taken.
    """
    opened = _kept(host, remembered) if port == 0 else None
    if opened is None:
        opened = socket.create_server((host, port))
        if remembered:
            remembered.touch(mode=0o600)
            remembered.write_text(str(opened.getsockname()[1]))
    return opened


def free(host: str, remembered: Path) -> int:
    """Return a port for a server that opens it itself, a moment later: as `listening`, but closed again."""
    with listening(host, 0, remembered) as opened:
        port: int = opened.getsockname()[1]
        return port


def _kept(host: str, remembered: Path | None) -> socket.socket | None:
    if remembered and remembered.exists():
        with contextlib.suppress(OSError, ValueError):
            return socket.create_server((host, int(remembered.read_text())))
    return None
