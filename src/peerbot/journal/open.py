"""The store that a URL names. It imports only the adapter that it needs: a laptop never loads Google's libraries."""

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from peerbot.errors import SettingsError
from peerbot.journal.storage import SizedStorage


async def open_storage(url: str, *, project: str | None = None) -> SizedStorage:
    """Open the store at `url`: `gs://BUCKET[/FOLDER]`, `s3://BUCKET[/FOLDER]` or `file:///DIRECTORY`. The caller
    closes it.

    `project` is the Google Cloud project that the bucket belongs to; messages name it. Raises `SettingsError` for a
    URL that names no store, and `Refused` or `Unavailable` if a directory can't be used. It asks a bucket nothing
    before the first call.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "gs":
            return _google(parts, project)
        case "s3":
            return _amazon(parts)
        case "file":
            return _directory(parts)
        case _:
            raise SettingsError(
                f"PeerBot does not know the store {url!r}. Use gs://BUCKET[/FOLDER], s3://BUCKET[/FOLDER] or "
                "file:///DIRECTORY."
            )


def must_exist(url: str) -> None:
    """Raise `SettingsError` if a directory is missing: opening makes it, and an empty journal tells nothing."""
    parts = urlsplit(url)
    if parts.scheme == "file" and not Path(unquote(parts.path)).is_dir():
        raise SettingsError(f"There is no journal at {url}.")


def _google(parts: SplitResult, project: str | None) -> SizedStorage:
    _needs_bucket(parts)
    from peerbot.journal.gcs import GoogleStore  # noqa: PLC0415

    return GoogleStore(parts.netloc, folder=parts.path.strip("/"), project=project)


def _amazon(parts: SplitResult) -> SizedStorage:
    _needs_bucket(parts)
    from peerbot.journal.s3 import S3Bucket  # noqa: PLC0415

    return S3Bucket(parts.netloc, folder=parts.path.strip("/"))


def _needs_bucket(parts: SplitResult) -> None:
    if not parts.netloc:
        raise SettingsError(f"The store {parts.geturl()!r} names no bucket. Use {parts.scheme}://BUCKET[/FOLDER].")


def _directory(parts: SplitResult) -> SizedStorage:
    directory = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise SettingsError(f"The store {parts.geturl()!r} names no absolute directory. Use file:///DIRECTORY.")
    from peerbot.journal.directory import DirectoryStore  # noqa: PLC0415

    return DirectoryStore(directory)
