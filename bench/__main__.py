"""`python -m bench [--quick]`: measure everything, and print one Markdown report.

The exit code says only whether everything worked: a shared machine's times are no test.
"""

import argparse
import asyncio
import io
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench import dispatcher, relay, trial, turns
from bench.figures import Clock, Figure, table
from peerbot import logs


async def main() -> None:
    options = _options()
    logs.configure("DEBUG", stream=io.StringIO())  # the clock listens; nobody reads
    clock = Clock.start()
    with tempfile.TemporaryDirectory(prefix="peerbot-bench-") as folder:
        directory = Path(folder)
        timed = await turns.measure(directory / "turns", clock, rounds=2 if options.quick else 10)
        figures = [*timed.figures, await relay.measure(directory / "relay", chunks=300 if options.quick else 2000)]
        figures += await dispatcher.measure(directory / "dispatcher", events=20 if options.quick else 100)
        figures.append(await trial.measure(timed.bare_turn, rounds=1 if options.quick else 5))
    print(_report(figures, timed.parts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: does everything work, under a minute")
    return parser.parse_args()


def _report(figures: list[Figure], parts: list[list[str]]) -> str:
    command = " ".join(["python -m bench", *sys.argv[1:]])
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    head = ["what", "PeerBot", "compared with", "that is", "difference, ratio", "target", "samples"]
    return "\n".join(
        [
            f"`{command}`, {when}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end. Medians.",
            "",
            table(head, [figure.cells() for figure in figures]),
            "",
            "Where the time goes, from a mention to the model's first request (seconds after the mention):",
            "",
            table(["step", "at", "after the step before"], parts),
        ]
    )


asyncio.run(main())
