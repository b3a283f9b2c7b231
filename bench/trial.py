"""The whole of `peerbot try`, as somebody sees it who runs it for the first time."""

import asyncio
import json
import os
import sys
import time
from statistics import median

from bench.figures import Figure, seconds
from bench.turns import PROMPT


async def measure(bare_turn: float, *, rounds: int) -> Figure:
    """`bare_turn`: what the same turn takes with the bare CLI, in seconds."""
    totals = [await _try() for _ in range(rounds)]
    total = median(totals)
    return Figure(
        "`peerbot try`, from start to end", seconds(total), "bare CLI: start → end", seconds(bare_turn),
        f"+{seconds(total - bare_turn)} (×{total / bare_turn:.1f})", "", rounds,
    )  # fmt: skip


async def _try() -> float:
    # Not the person's own key: the demo model answers here, as everywhere in the bench.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", "try", "--json", PROMPT, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, told = await asyncio.wait_for(process.communicate(), 120)
    if process.returncode or json.loads(output)["status"] != "done":
        raise RuntimeError(f"`peerbot try` failed: {told.decode()[-2000:]}")
    return time.monotonic() - began
