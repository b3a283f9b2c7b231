"""`docs/log-events.md` says what the code writes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_log_events_is_what_the_code_writes() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/log_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
