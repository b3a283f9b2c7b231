"""`make debian-test`: a newcomer's two commands on a minimal Debian 12, with its own Python, as an ordinary user.

As root this makes a machine: the smallest Debian with Python, git and make, in namespaces of its own for mounts and
processes, as a container has them. The network is this machine's, since pip needs the registry. `newcomer.py` is what
happens in there. However it ends, the kernel ends all that was started in there and takes back what was mounted.
"""

import argparse
import configparser
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = "newcomer"
PACKAGES = ("python3", "python3-venv", "git", "make", "ca-certificates", "bubblewrap")
PROGRAMS = ("debootstrap", "unshare", "setpriv", "pivot_root", "git", "tar")
BASE_SECONDS, STEP_SECONDS, ALL_SECONDS = 900.0, 120.0, 3600.0
_KEPT_SECONDS = 7 * 24 * 3600  # an older base is made again: Debian has updates, too
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")

# bubblewrap's package is kept but not installed: `make run` does without, and the newcomer installs it for the tests.
_MAKE_BASE = """
tree=$1 base=$2 packages=$3 suite=$4
shift 4
export DPKG_FORCE=unsafe-io  # it becomes one file: no need to wait for the disk for each of its files
debootstrap --variant=minbase --include="$packages" "$suite" "$tree" "$@"
chroot "$tree" dpkg --purge bubblewrap
find "$tree/var/cache/apt/archives" -name '*.deb' ! -name 'bubblewrap_*' -delete
rm -rf "$tree/var/lib/apt/lists"
tar -cpf "$base" --numeric-owner --one-file-system -C "$tree" .
"""

# The mounts that a container has; then the tree takes the place of this machine's own. A chroot would not do: in one
# the kernel lets nobody make the user namespace that the agent's sandbox is.
_ENTER = """
mount --bind "$1" "$1"
cd "$1"
shift
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o nosuid,mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,nosuid,noexec,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0/stdin 1/stdout 2/stderr; do ln -s "fd/${stream%/*}" "dev/${stream#*/}"; done
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
mkdir run/outside
pivot_root . run/outside
umount -l /run/outside
rmdir /run/outside
exec "$@"
"""


def main(arguments: list[str]) -> int:
    """Make the machine, let the newcomer work in it, and leave nothing of it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make debian-test")
    parser.add_argument("--suite", default="bookworm", help="another Debian, for its Python (bookworm has 3.11.2)")
    parser.add_argument("--quick", action="store_true", help="run only the tests that a machine or a Python may change")
    options = parser.parse_args(arguments)
    suite = options.suite
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("debian: this makes a machine of its own, and needs root on Linux for that.")
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        sys.exit(f"debian: {', '.join(missing)} is missing: apt-get install debootstrap util-linux git tar")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    base = _base(suite)
    with _folder() as folder:
        tree = folder / "root"
        tree.mkdir()
        tell(f"laying out Debian {suite}, and a clean checkout of this commit in it …")
        _do("tar", "-xpf", str(base), "--numeric-owner", "-C", str(tree))
        _furnish(tree)
        proxies = [f"{name}={value}" for name, value in os.environ.items() if name.lower() in _PROXIES]
        newcomer = ["/usr/bin/python3", "-I", "/newcomer.py", USER, *(["--quick"] if options.quick else [])]
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *proxies, *newcomer]
        return _in_namespaces(["sh", "-euc", _ENTER, "sh", str(tree), *inside], ALL_SECONDS)


def tell(text: str) -> None:
    """Say how far we are."""
    sys.stdout.write(f"debian: {text}\n")
    sys.stdout.flush()


def _base(suite: str) -> Path:
    """Return the bare Debian, one file, from the cache. If it is not there, make it now."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peerbot-debian"
    digest = hashlib.sha256(f"{PACKAGES}{_MAKE_BASE}".encode()).hexdigest()[:12]
    base = cache / f"{suite}-{digest}.tar"
    if base.exists() and time.time() - base.stat().st_mtime < _KEPT_SECONDS:
        return base
    tell(f"making a minimal Debian {suite} (it is kept for a week) …")
    began = time.monotonic()
    cache.mkdir(parents=True, exist_ok=True)
    with _folder() as folder, (folder / "log").open("w+") as log:
        unfinished = base.with_suffix(".unfinished")
        given = [str(folder / "root"), str(unfinished), ",".join(PACKAGES), suite, *_mirror()]
        if code := _in_namespaces(["sh", "-euc", _MAKE_BASE, "sh", *given], BASE_SECONDS, log.fileno()):
            last = (folder / "log").read_text(errors="replace")[-3000:]
            sys.exit(f"{last}\ndebian: the minimal Debian could not be made (exit code {code})")
        unfinished.rename(base)
    tell(f"made it, {base.stat().st_size / 1e6:.0f} MB, in {time.monotonic() - began:.0f} s")
    return base


def _mirror() -> list[str]:
    """Return the mirror of this machine's own Debian; nothing if this is no Debian: debootstrap knows one."""
    release = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    if release.get("ID") != "debian":
        return []
    ours = release.get("VERSION_CODENAME", "")
    return [uri for kind, uri, suites in _sources() if kind == "deb" and ours in suites][:1]


def _sources() -> Iterator[tuple[str, str, list[str]]]:
    """Read apt's sources on this machine: kind, address and suites, in both of its formats."""
    for file in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for paragraph in re.sub("(?m)^#.*\n", "", file.read_text()).split("\n\n"):
            fields = {name.lower(): value.split() for name, value in re.findall(r"(?m)^([\w-]+):(.*)", paragraph)}
            for kind in fields.get("types", []):
                for uri in fields.get("uris", []):
                    yield kind, uri, fields.get("suites", [])
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        if file.exists():
            for kind, uri, suite in re.findall(r"(?m)^(deb\S*)\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)", file.read_text()):
                yield kind, uri, [suite]


def _furnish(tree: Path) -> None:
    """Give the machine its user, a clean checkout, this machine's way to the registry, and the newcomer's program."""
    for name in ("/etc/resolv.conf", "/etc/hosts", str(_BUNDLE)):
        _bring(name, tree)
    with (tree / "etc/pip.conf").open("w") as file:
        _pip(tree).write(file)
    _do("chroot", str(tree), "useradd", "--create-home", "--shell", "/bin/bash", USER)
    checkout = tree / "home" / USER / "peerbot"
    git = tree / "gitconfig"
    git.write_text("[safe]\ndirectory = *\n")  # with sudo, the checkout that is cloned belongs to somebody else
    _do("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout), GIT_CONFIG_GLOBAL=str(git))
    git.unlink()
    _do("chroot", str(tree), "chown", "-R", f"{USER}:{USER}", f"/home/{USER}")
    shutil.copyfile(Path(__file__).with_name("newcomer.py"), tree / "newcomer.py")


def _pip(tree: Path) -> configparser.ConfigParser:
    """Read this machine's settings of pip, and bring the files that they name; directories are left out."""
    read = configparser.ConfigParser(interpolation=None)
    read.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    told = dict(read["global"]) if read.has_section("global") else {}
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            told[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    pip = configparser.ConfigParser(interpolation=None)
    pip["global"] = {name: value for name, value in told.items() if not Path(value).is_dir()}
    for value in pip["global"].values():
        _bring(value, tree)
    return pip


def _bring(path: str, tree: Path) -> None:
    """Copy a file of this machine to the same place in the tree. Do nothing if it is no file."""
    if Path(path).is_absolute() and Path(path).is_file():
        there = tree / path[1:]
        there.parent.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)  # a link would lead out of the tree
        shutil.copyfile(path, there)


def _in_namespaces(command: list[str], seconds: float, output: int | None = None) -> int:
    """Run `command` as the first process of namespaces of its own; no process of theirs is left when this returns."""
    ending_with_us = ("setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child")
    process = subprocess.Popen(
        [*ending_with_us, "--mount", "--pid", "--fork", "--mount-proc", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        tell(f"this took over {seconds / 60:.0f} minutes; it is ended")
        return 124
    finally:
        if process.poll() is None:
            # The first process is gone only when all others of its namespace are, and unshare waits for it.
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.wait(STEP_SECONDS)


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder that is gone at the end, for things that are too large for a cache."""
    with tempfile.TemporaryDirectory(prefix="peerbot-debian-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the newcomer's root is in it
        yield Path(folder)


def _do(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, timeout=STEP_SECONDS, env={**os.environ, **environment})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
