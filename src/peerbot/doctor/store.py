"""The doctor's check of the journal's store: it does all that the journal does with objects, on one of its own."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from peerbot.doctor.report import Finding, good, wrong
from peerbot.errors import PeerBotError
from peerbot.journal.open import open_storage
from peerbot.journal.storage import Storage
from peerbot.settings import Settings

_CHECK = "store"
_CLEANING_SECONDS = 3.0
_UNTOLD = "See the cause in the log."
_CREDENTIALS = {
    "gs": "In a cluster, bind the account to a Google service account (Workload Identity); on a laptop, run "
    "`gcloud auth application-default login`.",
    "s3": "Give the account a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
}


async def look_at_store(settings: Settings) -> list[Finding]:
    """Create, read, list and delete an object below `probe/`. Raises `SettingsError`, and as the store does."""
    url = settings.store_url
    if missing := _missing_directory(url):
        return [wrong(_CHECK, f"there is no directory {missing}", f"Make it: mkdir -p {missing}")]
    async with _opened(settings) as storage:
        key, ours = f"probe/doctor-{secrets.token_hex(8)}", secrets.token_hex(8).encode()
        try:
            fault = await _fault(storage, key, ours)
        except PeerBotError as error:
            with contextlib.suppress(PeerBotError, TimeoutError):  # it may have been made
                async with asyncio.timeout(_CLEANING_SECONDS):
                    await storage.delete(key)
            if str(error).endswith(_UNTOLD):  # the doctor writes no such log
                said = str(error).removesuffix(_UNTOLD).rstrip(". ")
                return [wrong(_CHECK, said, _CREDENTIALS[urlsplit(url).scheme])]
            raise
    if fault:
        fix = "Use a store that creates, and never overwrites: Google Cloud Storage, Amazon S3, or a local disk."
        return [wrong(_CHECK, f"{url} {fault}", fix)]
    return [good(_CHECK, f"{url}: an object was created once, read, listed and deleted")]


async def _fault(storage: Storage, key: str, ours: bytes) -> str:
    """Find a fault of the store that a journal can't live with; empty if there is none."""
    created = await storage.put_if_absent(key, ours)
    again = await storage.put_if_absent(key, ours[::-1] + b"another")
    read = await storage.get(key)
    listed = [found async for found in storage.list("probe/")]
    await storage.delete(key)
    gone = await storage.get(key) is None
    if not created or again or read != ours:
        return "does not keep the object that was created first"
    if key not in listed:
        return "does not list an object that was created"
    return "" if gone else "does not delete an object"


def _missing_directory(url: str) -> Path | None:
    """The store's directory, if it is missing. Opening would make it, and hide that a disk is not mounted."""
    parts = urlsplit(url)
    directory = Path(unquote(parts.path))
    return directory if parts.scheme == "file" and directory.is_absolute() and not directory.is_dir() else None


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Storage]:
    storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
    try:
        yield storage
    finally:
        await storage.close()
