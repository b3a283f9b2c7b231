"""Make `docs/settings.md` from the settings' declarations. `--check` only compares."""

import inspect
import sys
from pathlib import Path

from peerbot.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """\
# Settings

This page is for operators. It lists every setting of the dispatcher. All settings are environment variables. If any are
missing or wrong, the dispatcher names all of them at its start and ends with exit code 2. (`make docs` makes this page
from `src/peerbot/settings.py`.)

"""


def reference() -> str:
    """Write the settings as a Markdown table, in the order in which they are declared, for `docs/settings.md`."""
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    own = inspect.get_annotations(Settings)  # the fields that it inherits come after them
    for name, item in sorted(Settings.model_fields.items(), key=lambda field: field[0] not in own):
        default = "required" if item.is_required() else _shown(item.default)
        rows.append(f"| `{name.upper()}` | {item.description} | {default} |")
    return "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    if default is None:
        return "—"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{str(default).replace(str(Path.home()), '~')}`"


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
