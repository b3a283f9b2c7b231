"""The images that pods run: the project's own, from its Dockerfiles on a Debian of our own making, and two for tests.

There is no registry: each becomes a file in the cache, named by a hash of what it is made from, and a node imports it.
Building needs the network, so it happens before the cluster's isolation begins: `python tests/cluster/images.py`.
"""

import configparser
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from binaries import Missing, cache, debian
from programs import tell

PAUSE = "localhost/tests/pause:1"
DEBIAN = "localhost/tests/debian:bookworm"  # as small as it gets: a shell, coreutils, Perl; the others' base too
DISPATCHER = "localhost/peerbot-dispatcher:tests"
WORKER = "localhost/peerbot-worker:tests"
_ROOT = Path(__file__).parents[2]
_SUITE = "bookworm"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_KEPT_SECONDS = 3 * 24 * 3600  # another tree may use the cache too, and still need its own
_SECONDS = 1500  # for one image, with all that it downloads


@dataclass(frozen=True)
class Recipe:
    """How to make an image, and from which files of this tree: if one of them changes, the image is made again."""

    make: Callable[[], None]
    inputs: tuple[str, ...] = ()


def ensure() -> None:
    """Make every image that is missing and whose files are in this tree."""
    for name in available():
        _ensure(name)


def available() -> list[str]:
    """The images that can be made from this tree."""
    return [name for name, recipe in _RECIPES.items() if all((_ROOT / part).exists() for part in recipe.inputs)]


def archive(name: str) -> Path:
    """The file that a node imports; it was made before."""
    file = _file(name)
    if not file.exists():
        raise Missing(f"{name} was not made from what is here now: run `python tests/cluster/images.py`.")
    return file


def _ensure(name: str) -> None:
    file = _file(name)
    if file.exists():
        return
    began = time.monotonic()
    tell(f"making {name} …")
    file.parent.mkdir(parents=True, exist_ok=True)
    _RECIPES[name].make()
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    _buildah("push", name, f"docker-archive:{unfinished}:{name}")
    for old in file.parent.glob(f"{_slug(name)}-*.tar"):
        if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            old.unlink()
    unfinished.rename(file)
    size = file.stat().st_size / 1e6
    tell(f"made {name}, {size:.0f} MB, in {time.monotonic() - began:.0f} s")


def _file(name: str) -> Path:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for part in _RECIPES[name].inputs:
        top = _ROOT / part
        for file in sorted([top] if top.is_file() else top.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(_ROOT)}\0".encode() + file.read_bytes())
    return cache() / "images" / f"{_slug(name)}-{digest.hexdigest()[:12]}.tar"


def _slug(name: str) -> str:
    return name.rpartition("/")[2].replace(":", "-")


def _pause() -> None:
    """Make the image of the container that holds a pod's namespaces: an init that waits."""
    with _from_scratch(PAUSE) as container:
        _buildah("copy", "--chmod", "755", container, debian("catatonit"), "/pause")
        _buildah("config", "--entrypoint", json.dumps(["/pause", "-P"]), container)


def _debian() -> None:
    tree = cache() / "debian"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    include = "--include=ca-certificates"
    try:
        _do([debian("debootstrap"), "--variant=minbase", include, _SUITE, str(tree)])
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / unneeded, ignore_errors=True)
        with _from_scratch(DEBIAN) as container:
            _buildah("add", container, str(tree), "/")
            _buildah("config", "--cmd", "/bin/bash", container)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _project(part: str, name: str) -> Callable[[], None]:
    def make() -> None:
        _ensure(DEBIAN)
        pip = cache() / "pip.conf"
        with pip.open("w") as file:
            _pip_configuration().write(file)
        # This machine's own authorities, for a proxy that inspects the downloads. The image does not keep them.
        mounts = [f"{_BUNDLE}:/run/tests-bundle.crt:ro", f"{pip}:/etc/pip.conf:ro"]
        volumes = [argument for mount in mounts for argument in ("--volume", mount)]
        _buildah(
            *("build", "--layers", "--network=host", "--isolation=chroot", "--pull-never", *volumes),
            *("--build-arg", f"BASE_IMAGE={DEBIAN}", "--file", f"images/{part}/Dockerfile", "--tag", name, "."),
        )

    return make


def _pip_configuration() -> configparser.ConfigParser:
    """Return this machine's settings of pip, with the authorities at their path in the build."""
    pip = configparser.ConfigParser(interpolation=None)
    pip.read("/etc/pip.conf")
    if not pip.has_section("global"):
        pip.add_section("global")
    pip["global"]["cert"] = "/run/tests-bundle.crt"
    return pip


@contextmanager
def _from_scratch(name: str) -> Iterator[str]:
    container = _buildah("from", "scratch").strip()
    try:
        yield container
        _buildah("commit", container, name)
    finally:
        _buildah("rm", container)


def _buildah(*arguments: str) -> str:
    """Run buildah on a store of our own; returns its output."""
    settings = cache() / "containers.conf"  # without the right to raise limits, its own defaults are refused
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('[containers]\ndefault_ulimits = ["nofile=4096:16384", "nproc=8192:32768"]\n')
    store = ["--root", str(cache() / "store"), "--runroot", str(cache() / "store-run"), "--storage-driver", "overlay"]
    return _do([debian("buildah"), *store, *arguments], CONTAINERS_CONF=str(settings), BUILDAH_ISOLATION="chroot")


def _do(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise RuntimeError(f"{' '.join(command[:8])} … failed:\n{said}")
    return done.stdout


_SHARED = ("src", "pyproject.toml", "README.md", "LICENSE", "requirements/build.txt")
_WEB = ("deno.json", "deno.lock", "scripts/web_modules.py")
_RECIPES = {
    PAUSE: Recipe(_pause),
    DEBIAN: Recipe(_debian),
    DISPATCHER: Recipe(
        _project("dispatcher", DISPATCHER),
        ("images/dispatcher", "requirements/dispatcher.txt", "requirements/web.txt", *_WEB, *_SHARED),
    ),
    WORKER: Recipe(_project("worker", WORKER), ("images/worker", "requirements/worker.txt", *_SHARED)),
}

if __name__ == "__main__":
    ensure()
