"""What a worker takes up before its run begins: its secret, and the agent's modules."""

import contextlib
import gc
import importlib
import time
from pathlib import Path
from types import ModuleType

from peerbot.errors import Unavailable
from peerbot.logs import logger

log = logger(__name__)

SECRET_SECONDS = 90.0
"""How long a worker waits for its secret: a kubelet updates a pod's files at least once a minute."""


def import_agent() -> ModuleType:
    """Import the agent's module, with the SDK: about a second, and for a thread of its own."""
    module = importlib.import_module("peerbot.worker.agent")
    gc.freeze()  # imported modules stay: never look at them again
    gc.enable()
    log.debug("agent_imported")
    return module


def take_secret(path: Path) -> str:
    """Read the bootstrap secret and remove it. (A pod can't remove its own: its dispatcher deletes both.)

    A kubelet may bring it a little later than the pod. Raises `Unavailable` if it does not come.
    """
    until = time.monotonic() + SECRET_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise Unavailable("The run's secret did not come.")
        time.sleep(0.05)
    secret = path.read_text()  # nosemgrep: a-link-is-followed (there is no agent yet)
    with contextlib.suppress(OSError):
        path.unlink()
    return secret
