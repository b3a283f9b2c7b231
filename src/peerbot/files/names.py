"""Makes names for files out of names that anybody gave: safe as a part of a path, short, and each once. Pure."""

import unicodedata
from collections.abc import Container

LONGEST_BYTES = 120
_ENDING_BYTES = 20


def safe_name(name: str, taken: Container[str] = ()) -> str:
    """Make a name like `name`, of letters, digits and `._-+` alone, that is not in `taken` (compare in lower case).

    What leads to another folder, hides the file, looks like an option or writes text in another direction is gone.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" or char in "._-+" else "_" for char in last)
    stem, dot, ending = kept.lstrip("._-+").rpartition(".")
    if not stem or len(ending.encode()) > _ENDING_BYTES:
        stem, dot, ending = (stem + dot + ending), "", ""
    number = 1
    while True:
        mark = f"-{number}" if number > 1 else ""
        made = _cut(stem or "file", LONGEST_BYTES - len((mark + dot + ending).encode())) + mark + dot + ending
        if made.lower() not in taken:
            return made
        number += 1


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")
