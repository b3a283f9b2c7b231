"""Measures the time that PeerBot adds to the bare Claude Code CLI: `make bench`. It asserts no times."""

import sys
from pathlib import Path

# The system that is measured is the tests', and so is the browser that looks at it.
sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / folder) for folder in ("service", "browser")]
