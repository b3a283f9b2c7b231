"""moto's S3 as a child process: the tests compare the journal's S3 adapter with it."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

REGION = "eu-central-1"
_START_SECONDS = 50  # it has many libraries, and a busy machine takes its time


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server on a free loopback port, in memory; yields its URL (for `AWS_ENDPOINT_URL`)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(process, url)
        yield url
    finally:
        process.kill()
        process.wait()


def s3_environment(url: str) -> dict[str, str]:
    """AWS's variables for the server at `url`, which believes any key."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAPEERBOTTESTS",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    }


def make_s3_bucket(url: str, name: str) -> None:
    """Make a bucket on the server at `url`."""
    where = f"<LocationConstraint>{REGION}</LocationConstraint>"
    put(f"{url}/{name}", f"<CreateBucketConfiguration>{where}</CreateBucketConfiguration>".encode())


def put(url: str, body: bytes) -> None:
    """Put an object (or a bucket), beside the adapter."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"}, method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
