"""A bucket of Amazon S3, or of a store that speaks like it (MinIO, R2), as the journal (`s3://…`), through obstore.

Creates carry `If-None-Match: *`. S3 answers 412 if something exists, and 409 if another writer is creating it this
moment and nothing may exist yet; obstore says "exists already" to both. So we believe a conflict only after reading
the object back (`BoundedStorage`).

The bucket's place and our identity come from AWS's usual environment variables, which obstore reads: AWS_REGION,
AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN); without a key a role: IRSA
(AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN), EKS Pod Identity and ECS (AWS_CONTAINER_CREDENTIALS_FULL_URI), or the
machine's own, from its metadata service. obstore reads neither ~/.aws nor AWS_PROFILE.
"""

import os
import re

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from peerbot.errors import PeerBotError, Refused, SettingsError, Unavailable
from peerbot.journal.bounded import Page
from peerbot.journal.objects import FAILURES, ObjectStore

_LISTED_AT_ONCE = 1000  # the most that S3 gives
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+")
_REGION = re.compile(r"[A-Za-z0-9-]*")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# obstore has no types for most answers of S3: its errors have the status and S3's own code in their text.
_STATUS = re.compile(r"status code: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w{1,80})</Code>")
_CREDENTIALS = re.compile(r"performing \w+ (?:REDACTED|\S*/latest/(?:api/token|meta-data/))|token file")
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


class S3Bucket(ObjectStore):
    """The `Storage` port in `bucket`, under `folder` if one is given.

    Raises `SettingsError` if AWS's variables can't be used. Only the first call shows whether the bucket exists.
    """

    SURE_OF_CONFLICTS = False

    def __init__(self, bucket: str, *, folder: str = "", deadline_seconds: float = 10.0) -> None:
        self._bucket = bucket
        endpoint = next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")
        _check(bucket, endpoint)
        try:
            store = S3Store(
                bucket,
                prefix=folder or None,
                # We take an endpoint with http:// as it is: it may be a MinIO in the same cluster.
                client_options={"allow_http": endpoint.startswith("http://"), "timeout": f"{deadline_seconds}s"},
                retry_config={"max_retries": 0},  # we try again ourselves, within a deadline
                disable_bulk_delete=True,  # not every compatible store has it
            )
        except FAILURES as error:
            said = str(error).partition("\n")[0].removeprefix("Generic S3 error: ")
            raise SettingsError(
                f"The store s3://{bucket} can't be used with AWS's variables as they are: {said}. Correct them."
            ) from error
        super().__init__(store, deadline_seconds=deadline_seconds)

    async def _page(self, prefix: str, after: str | None) -> Page:
        pages = obstore.list(self._store, prefix or None, offset=after, chunk_size=_LISTED_AT_ONCE)
        try:
            found = await anext(pages)
        except StopAsyncIteration:
            found = []
        except FAILURES as error:
            raise self._failure(error) from error
        keys = [(entry["path"], entry["size"]) for entry in found]
        return Page(keys, keys[-1][0] if len(keys) >= _LISTED_AT_ONCE else None)

    def _is_missing_itself(self, error: FileNotFoundError) -> bool:
        return "<Code>NoSuchBucket</Code>" in str(error)

    def _failure(self, error: BaseError | OSError) -> PeerBotError:
        text = str(error)
        status, code = (found[1] if (found := wanted.search(text)) else "" for wanted in (_STATUS, _CODE))
        if status:
            # S3's answer to a bad signature repeats our request, the session token in it; the log gets no more of it.
            error.args = (f"{text.partition(' - ')[0]}: {status} {code}".rstrip(": "),)
        where = f"s3://{self._bucket}"
        if _CREDENTIALS.search(text.partition("\n")[0]):
            return Unavailable(f"AWS gave no credentials for the journal's bucket {where}. See the cause in the log.")
        if status == "301" or code in _ELSEWHERE or "incorrectly configured region" in text:
            return Refused(f"The bucket {where} is in another region than AWS_REGION says, or at another endpoint.")
        if status in ("401", "403"):
            return Refused(
                f"The bucket {where} refused us ({code or status}): the dispatcher's account needs s3:GetObject, "
                "s3:PutObject and s3:DeleteObject on its objects, and s3:ListBucket on it."
            )
        if status == "404":
            return Unavailable(f"There is no bucket {where}. Make it: aws s3 mb {where}")
        return Unavailable(f"The bucket {where} did not answer ({code or status or type(error).__name__}).")


def _check(bucket: str, endpoint: str) -> None:
    """Refuse values that make no valid address: obstore would panic on them, at the first call."""
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(f"The store {f's3://{bucket}'!r} names no bucket. Use s3://BUCKET[/FOLDER].")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise SettingsError("AWS_ENDPOINT_URL is no address. An address begins with https:// (or http://).")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if not _REGION.fullmatch(os.environ.get(name, "")):
            raise SettingsError(f"{name} is not the name of a region.")
