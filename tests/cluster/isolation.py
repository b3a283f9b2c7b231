"""A cluster leaves nothing behind: it lives in namespaces that end with it.

`run()` starts a command with a network, mounts and processes of its own. `/run` and `/var` are its own too: what it
writes there is gone with it. When the command ends, or is killed, the kernel ends everything that was started in it and
takes back what was mounted; cgroups and kernel settings, which no namespace holds, are put back here.

Inside there is one address, `ADDRESS`, and no way to any other machine. Test, local servers, API server and pods all
reach each other: whatever listens on `ADDRESS` is reached from pods.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from binaries import debian
from programs import tell

ADDRESS = "10.99.0.1"
SERVICES = "10.96.0.0/16"
_INSIDE = "CLUSTER_TESTS_INSIDE"  # names the cgroup, inside
_STATE = "CLUSTER_TESTS_STATE"
_CGROUPS = Path("/sys/fs/cgroup")
_SYSCTLS = (  # those that kubelet sets and that no namespace holds
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_END_SECONDS = 60.0


class Left(Exception):
    """Something is left of a cluster that has ended; the text says what."""


def inside() -> bool:
    """Whether this process runs in an isolation."""
    return _INSIDE in os.environ


def cgroup() -> str:
    """The name of the cgroup that pods run under, inside."""
    return os.environ[_INSIDE]


def state() -> Path:
    """A directory for large files, which is gone at the end."""
    return Path(os.environ[_STATE])


def in_memory() -> Path | None:
    """Find a directory in memory: a write there is done at once, even on a busy machine; None if there is none."""
    shared = Path("/dev/shm")
    return Path("/run") if inside() else shared if shared.exists() else None


def why_not() -> str | None:
    """Say why a node can't run on this machine; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a node needs root on Linux"
    if not (_CGROUPS / "memory").exists():
        return "the harness knows cgroup v1 alone so far"  # kubelet knows v2 better; nobody tried the harness there
    probe = [*_namespaces(), "true"]
    if subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode:
        return "this machine allows no namespaces of one's own"
    return None


def run(command: list[str], seconds: float) -> int:
    """Run `command` in an isolation of its own for `seconds` at the most; its exit code. Raises `Left`."""
    name = f"peerbot-cluster-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
    directory = Path(tempfile.mkdtemp(prefix="peerbot-cluster-"))
    before = _sysctls()
    try:
        _make_cgroups(name)
        environment = {**os.environ, _INSIDE: name, _STATE: str(directory)}
        inside = [debian("catatonit"), "--", sys.executable, __file__, *command]
        return _supervise(subprocess.Popen([*_namespaces(), *inside], env=environment), seconds)
    finally:
        _remove_cgroups(name)
        _set_sysctls(before)
        shutil.rmtree(directory, ignore_errors=True)
        _check(name, directory, before)


def _namespaces() -> list[str]:
    return [debian("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _supervise(process: subprocess.Popen[bytes], seconds: float) -> int:
    with _ending_on_signals():
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            tell(f"ended after {seconds / 60:.0f} minutes")
            return 1
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)  # the terminal interrupted the command too: it ends in its own way
            raise
        finally:
            process.kill()  # and with it, by --kill-child, all that it started
            process.wait()


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sysctls() -> dict[str, str]:
    return {name: (Path("/proc/sys") / name).read_text() for name in _SYSCTLS}


def _set_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        (Path("/proc/sys") / name).write_text(value)


def _make_cgroups(name: str) -> None:
    for controller in _CGROUPS.iterdir():
        if controller.is_dir() and not controller.is_symlink():
            group = controller / name
            group.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset is empty, and nothing can run in it
                if (group / file).exists():
                    (group / file).write_text((controller / file).read_text())


def _remove_cgroups(name: str) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while groups := [g for root in _cgroups(name) for g in [*sorted(root.rglob("*/"), reverse=True), root]]:
        for group in groups:
            with suppress(OSError):  # busy as long as the kernel still ends its processes
                group.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _cgroups(name: str) -> list[Path]:
    return list(_CGROUPS.glob(f"*/{name}"))


def _check(name: str, directory: Path, before: dict[str, str]) -> None:
    left = [str(group) for group in _cgroups(name)]
    left += [f"sysctl {key}" for key, value in _sysctls().items() if value != before[key]]
    left += [
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line
    ]
    if directory.exists():
        left.append(str(directory))
    if left:
        raise Left(f"A cluster left something behind: {', '.join(left)}")


def _enter(command: list[str]) -> None:
    """Runs inside, first of all: sets up mounts and network, then becomes `command`."""
    directory = state()
    upper, work = directory / "var", directory / "var-work"
    upper.mkdir()
    work.mkdir()
    overlay = f"lowerdir=/var,upperdir={upper},workdir={work}"
    ip = debian("ip")
    for step in (
        ["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"],
        ["mount", "-t", "overlay", "-o", overlay, "overlay", "/var"],
        ["mount", "--make-rshared", "/"],
        [ip, "link", "set", "lo", "up"],
        [ip, "link", "add", "node0", "type", "bridge"],
        [ip, "address", "add", f"{ADDRESS}/32", "dev", "node0"],
        [ip, "link", "set", "node0", "up"],
        [ip, "route", "add", SERVICES, "dev", "node0"],  # kube-proxy sends it elsewhere, but there has to be a way
    ):
        subprocess.run(step, check=True, timeout=30)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    os.execvp(command[0], command)


if __name__ == "__main__":
    _enter(sys.argv[1:])
