"""Measures the whole of `peerbot try`, as a person sees it on the first run."""

import asyncio
import json
import os
import sys
import time


async def try_once(prompt: str) -> float:
    """Measure how long `peerbot try` takes, in seconds."""
    # Not the person's own key: the demo model answers here, as everywhere in the bench.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", "try", "--json", prompt, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, told = await asyncio.wait_for(process.communicate(), 120)
    if process.returncode or json.loads(output)["status"] != "done":
        raise RuntimeError(f"`peerbot try` failed: {told.decode()[-2000:]}")
    return time.monotonic() - began
