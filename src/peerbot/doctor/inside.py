"""Finds out what a worker's pod reaches, from inside. The text of this file is the program of the doctor's probe pod.

So it uses Python's standard library alone. Its one argument is the file to write the answers to.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

METADATA = ("169.254.169.254", 80)  # on Google's, Amazon's and Microsoft's machines
_TRIES = 5
_TRY_SECONDS = 3.0


def reaches(host: str, port: int) -> bool:
    """Whether a connection opens. If it is refused, even by the network, it does not."""
    try:
        with socket.create_connection((host, port), timeout=_TRY_SECONDS):
            return True
    except OSError:
        return False


def settles(host: str, port: int, *, on: bool) -> bool:
    """Whether this pod reaches a place, tried a few times: a policy takes a moment to hold for a new pod."""
    for _ in range(_TRIES):
        if reaches(host, port) is on:
            return on
        time.sleep(1.0)
    return not on


def main() -> None:
    """Try each place, and write the answers."""
    gateway = urlsplit(os.environ["PEERBOT_GATEWAY_URL"])
    api = (os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"), 443)
    seen = {
        "metadata": settles(*METADATA, on=False),
        "api": settles(api[0], int(os.environ.get("KUBERNETES_SERVICE_PORT", api[1])), on=False),
        "gateway": settles(str(gateway.hostname), gateway.port or 80, on=True),
        "kernel": os.uname().release,
    }
    Path(sys.argv[1]).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
