"""A bucket of Google Cloud Storage as the journal (`gs://…`), through gcloud-aio-storage.

Creates are `ifGenerationMatch=0` on a multipart upload: the one kind of upload that carries the precondition and
the bytes in one request. The library finds credentials as Google's tools do (Workload Identity in the cluster);
if `STORAGE_EMULATOR_HOST` is set, it uses none.
"""

import asyncio
import json
import math
import os
from typing import Any, cast

import aiohttp
from gcloud.aio.auth import Token
from gcloud.aio.storage import Storage as Client
from multidict import CIMultiDict, CIMultiDictProxy

from peerbot.errors import PeerBotError, Refused, SettingsError, Unavailable
from peerbot.journal.bounded import BoundedStorage, Page
from peerbot.way_out import proxy_for

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError)
_BYTES = "application/octet-stream"
_LISTED_AT_ONCE = "1000"  # the most that Google gives


class GoogleStore(BoundedStorage):
    """The `Storage` port in `bucket`, under `folder` if one is given. Make it inside a running event loop."""

    def __init__(
        self, bucket: str, *, folder: str = "", project: str | None = None, deadline_seconds: float = 10.0
    ) -> None:
        super().__init__(deadline_seconds=deadline_seconds)
        self._bucket = bucket
        self._folder = f"{folder}/" if folder else ""
        self._project = project
        url = os.environ.get("STORAGE_EMULATOR_HOST") or "https://www.googleapis.com"
        self._sessions = aiohttp.ClientSession(proxy=proxy_for(url)), aiohttp.ClientSession(trust_env=True)
        session, for_token = self._sessions  # a token comes from Google's https or from a metadata server's http
        self._client_seconds = math.ceil(deadline_seconds)  # the client's own limit must not be shorter than ours
        try:
            token = _SharedToken(session=cast(Any, for_token), scopes=[_SCOPE])
        except (OSError, ValueError, KeyError) as error:
            for unused in self._sessions:
                unused.detach()  # they have no connection yet, and nothing here can await a close
            raise SettingsError(
                "The file that GOOGLE_APPLICATION_CREDENTIALS names is no usable credential."
            ) from error
        self._client = Client(token=token, session=cast(Any, session))

    async def _create(self, key: str, data: bytes) -> bool:
        try:
            await self._client.upload(
                self._bucket,
                self._folder + key,
                data,
                content_type=_BYTES,
                metadata={"contentType": _BYTES},  # this makes the client choose multipart
                parameters={"ifGenerationMatch": "0", "fields": "generation"},
                force_resumable_upload=False,
                timeout=self._client_seconds,
            )
        except aiohttp.ClientResponseError as error:
            if error.status == 412:
                return False
            raise self._failure(error) from error  # 409, too: somebody else is creating it this moment
        except _FAILURES as error:
            raise self._failure(error) from error
        return True

    async def _read(self, key: str) -> bytes | None:
        try:
            data: bytes = await self._client.download(self._bucket, self._folder + key, timeout=self._client_seconds)
        except aiohttp.ClientResponseError as error:
            if error.status == 404:
                return None
            raise self._failure(error) from error
        except _FAILURES as error:
            raise self._failure(error) from error
        return data

    async def _page(self, prefix: str, after: str | None) -> Page:
        parameters = {
            "prefix": self._folder + prefix,
            "maxResults": _LISTED_AT_ONCE,
            "fields": "items(name,size),nextPageToken",
        }
        if after is not None:
            parameters["pageToken"] = after
        try:
            found = await self._client.list_objects(self._bucket, params=parameters, timeout=self._client_seconds)
        except _FAILURES as error:
            raise self._failure(error) from error
        items = found.get("items", [])
        names = [(item["name"].removeprefix(self._folder), int(item.get("size", 0))) for item in items]
        return Page(names, found.get("nextPageToken") or None)

    async def _remove(self, key: str) -> None:
        try:
            await self._client.delete(self._bucket, self._folder + key, timeout=self._client_seconds)
        except aiohttp.ClientResponseError as error:
            if error.status != 404:
                raise self._failure(error) from error
        except _FAILURES as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()
        await self._client.token.close()
        for session in self._sessions:
            await session.close()

    def _failure(self, error: BaseException) -> PeerBotError:
        status = None
        if isinstance(error, aiohttp.ClientResponseError):
            status = error.status
            # It carries the request's headers, our token among them, and shows them in its repr.
            error.request_info = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict()))
            error.args = ()
        if status in (401, 403):
            return Refused(
                f"The bucket gs://{self._bucket} refused us ({status}): the dispatcher's account needs the role "
                "roles/storage.objectUser on it."
            )
        if status == 404:
            where = f" --project={self._project}" if self._project else ""
            return Unavailable(
                f"There is no bucket gs://{self._bucket}. Make it: gcloud storage buckets create "
                f"gs://{self._bucket}{where}"
            )
        return Unavailable(f"The bucket gs://{self._bucket} did not answer ({status or type(error).__name__}).")


class _SharedToken(Token):
    """Google's token, fetched once for all callers that wait for it: one that gives up must not stop the others.

    (The library lets all callers await one task, and a cancelled caller cancels it.) If Google refuses a token, that
    must not look like the bucket's refusal: a 404 of the metadata server is no missing object.
    """

    async def acquire_access_token(self, timeout: int = 10) -> None:  # type: ignore[override]
        # Once: the library tries five times over up to a minute, and we try again ourselves, within a deadline.
        await Token.acquire_access_token.__wrapped__(self, timeout)

    async def get(self) -> str | None:
        try:
            return await asyncio.shield(super().get())
        except Exception as error:
            raise Unavailable(
                "Google gave no credentials for the journal's bucket. See the cause in the log."
            ) from error
