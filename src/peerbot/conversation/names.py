"""The names of the repositories that PeerBot makes for people.

A name is valid on GitHub whatever the handle is, and the same on every replica. Two handles may give the same name: the
journal says whose it is (`repositories/{owner}/{name}.json`), and the second person gets another name.
"""

import hashlib
import re
import unicodedata

_LONGEST = 80  # of GitHub's 100, so that links stay readable


def repository_name(handle: str, user_id: str, *, disambiguate: bool = False) -> str:
    """Name the repository of the person with this handle and user id.

    `disambiguate` appends a short hash of the id, for a plain name that belongs to somebody else.
    """
    suffix = f"-{hashlib.sha256(user_id.encode()).hexdigest()[:8]}" if disambiguate else ""
    slug = _slug(handle) or _slug(user_id) or "unnamed"
    return "user-" + slug[: _LONGEST - len("user-") - len(suffix)].rstrip("-") + suffix


def _slug(text: str) -> str:
    """Write `text` in lower-case letters, digits and single dashes; empty if nothing of it can be written so."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
