"""Measures the time that PeerBot adds to the bare Claude Code CLI: `make bench`. It asserts no times."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "service"))  # the system that is measured is the tests'
