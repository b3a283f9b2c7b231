"""`python -m bench [--quick] [NAME…]`: measure, and print one report in Markdown.

The exit code says only whether everything worked: a shared machine's times are no test.
"""

import argparse
import asyncio
import io
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from bench import (
    attacks,
    checkpoints,
    dispatcher,
    events,
    memory,
    metrics,
    pages,
    recovery,
    relay,
    stops,
    streams,
    sweep,
    turns,
)
from bench.figures import Section
from peerbot import logs


class Bench(Protocol):
    async def __call__(self, directory: Path, *, quick: bool) -> Section: ...


BENCHES: dict[str, Bench] = {
    "turns": turns.measure,
    "recovery": recovery.measure,
    "checkpoints": checkpoints.measure,
    "stops": stops.measure,
    "events": events.measure,
    "dispatcher": dispatcher.measure,
    "sweep": sweep.measure,
    "memory": memory.measure,
    "relay": relay.measure,
    "streams": streams.measure,
    "attacks": attacks.measure,
    "metrics": metrics.measure,
    "pages": pages.measure,
}


async def main() -> None:
    options = _options()
    logs.configure("DEBUG", stream=io.StringIO())  # a clock may listen; nobody reads it
    command = " ".join(["make bench", *([f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else [])])
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    print(f"`{command}`, {when}, {os.cpu_count()} CPUs. Figures are medians unless a table says otherwise.", flush=True)
    for name in options.names or BENCHES:
        began, before = time.monotonic(), os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="peerbot-bench-") as folder:
            section = await BENCHES[name](Path(folder), quick=options.quick)
        load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
        print(f"\n{section.markdown()}\n\n(`{name}`: {time.monotonic() - began:.0f} s, {load})", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, to see that everything works")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benches to run: {', '.join(BENCHES)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    return options


asyncio.run(main())
