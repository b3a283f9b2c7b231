"""Make `docs/metrics.md` from the metrics' definitions. `--check` only compares."""

import sys
from pathlib import Path

from peerbot.metrics import DEFINITIONS, Definition

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """\
# Metrics

This page is for operators. It lists every metric at `/metrics` on port 3002 (`PEERBOT_METRICS_PORT`), in Prometheus'
text format. Beside these there are the usual `process_…` metrics of memory, CPU and open files. How to collect them,
and the alerts, are in [operate.md](operate.md#metrics). No label names a person, a channel, a thread or a repository.
(`make docs` makes this page from `src/peerbot/metrics.py`.)

- A counter is its replica's own, and begins again at 0 when that restarts: take `rate` or `increase`, and add the
  replicas up. What the journal takes (inputs, runs, turns, answers, questions) is counted by the replica whose write it
  was, once. What must not get lost is in the journal itself: `peerbot cost`.
- Gauges “of all replicas” say the same on each: take the `max`.
- Times are in seconds, sizes in bytes, money in US dollars.

| metric | type | meaning | labels |
|---|---|---|---|
"""


def reference() -> str:
    """Write the metrics as a Markdown table, in the order in which they are declared."""
    return "".join(f"| `{each.name}` | {each.kind} | {each.says} | {_labels(each)} |\n" for each in DEFINITIONS)


def _labels(each: Definition) -> str:
    named = (f"`{name}`" + (f": {', '.join(values)}" if values else "") for name, values in each.labels.items())
    return "; ".join(named) or "—"


def main() -> int:
    """Write the page, or compare it; returns the exit code."""
    page = HEAD + reference()
    if "--check" not in sys.argv:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("docs/metrics.md does not match the metrics: run `make docs`.", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
