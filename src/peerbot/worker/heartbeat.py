"""Gives the sign of life (`protocol/heartbeat.py`) as long as the event loop turns."""

import asyncio
import contextlib
import os
from collections.abc import Mapping

from peerbot.protocol.heartbeat import BEAT_SECONDS, FD_VARIABLE


async def beat(environment: Mapping[str, str]) -> None:
    """Beat until cancelled; return at once if nobody listens."""
    if not (number := environment.get(FD_VARIABLE)):
        return
    descriptor = int(number)
    os.set_inheritable(descriptor, False)
    os.set_blocking(descriptor, False)
    while True:
        with contextlib.suppress(BlockingIOError):  # full: nobody has read for a long time, which is not our concern
            os.write(descriptor, b".")
        await asyncio.sleep(BEAT_SECONDS)
