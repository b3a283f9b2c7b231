"""Make `docs/settings.md` from the settings' declarations; `--check` only compares."""

import sys
from pathlib import Path

from peerbot.settings import reference

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """\
# Settings

Every setting of the dispatcher, from `src/peerbot/settings.py` (this page is made from it: `make docs`). All are
environment variables. All problems with them are told at once, at start, with exit code 2.

"""


def main() -> int:
    """Write or compare the page; returns the exit code."""
    page = HEAD + reference()
    if "--check" not in sys.argv:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("docs/settings.md is not what the settings say: run `make docs`.", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
