"""The names of the repositories that PeerBot makes for people.

A name is valid on GitHub whatever the handle is, and the same on every replica. Two handles may give the same name: the
journal says whose it is (`repositories/{owner}/{name}.json`), and the second person gets another name. So does a person
whose name another repository has (decision 0020).
"""

import hashlib
import re
import unicodedata

_LONGEST = 80  # of GitHub's 100, so that links stay readable


def repository_name(handle: str, user_id: str, number: int = 1) -> str:
    """Name the repository of the person with this handle and user id.

    The first name is the plain one. The others have a short hash at the end, for when the one before is another's.
    """
    hashed = user_id if number == 2 else f"{user_id}/{number}"
    suffix = f"-{hashlib.sha256(hashed.encode()).hexdigest()[:8]}" if number > 1 else ""
    slug = _slug(handle) or _slug(user_id) or "unnamed"
    return "user-" + slug[: _LONGEST - len("user-") - len(suffix)].rstrip("-") + suffix


def _slug(text: str) -> str:
    """Write `text` in lower-case letters, digits and single dashes; empty if nothing of it can be written so."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
