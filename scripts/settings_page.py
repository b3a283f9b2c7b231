"""Make `docs/settings.md` from the settings' declarations. `--check` only compares."""

import sys
from pathlib import Path

from peerbot.settings import reference

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """\
# Settings

This page is for operators. It lists every setting of the dispatcher. All settings are environment variables. If any are
missing or wrong, the dispatcher names all of them at its start and ends with exit code 2. (`make docs` makes this page
from `src/peerbot/settings.py`.)

"""


def main() -> int:
    """Write the page, or compare it; returns the exit code."""
    page = HEAD + reference()
    if "--check" not in sys.argv:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("docs/settings.md does not match the settings: run `make docs`.", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
