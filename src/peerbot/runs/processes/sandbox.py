"""The sandbox that keeps a laptop's files, processes and credentials from an agent that runs there: bubblewrap.

Each protection has a name. A test leaves one out by that name and shows what the agent could then reach, so that no
flag stays here because it once looked right. Bubblewrap gets everything through a file descriptor and an empty
environment of its own, because its argument list and environment are readable inside.

The agent still has the network (loopback carries the gateway, so it reaches the machine's other loopback services too,
and before Linux 6.12 its abstract sockets: `worker/harden.py`). It also has as much CPU, memory and disk as it likes,
because no cgroup is writable for everybody.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import peerbot
from peerbot.errors import PeerBotError

WORKSPACE = "/workspace"
HOME = "/home/agent"
BOOTSTRAP_FILE = "/run/peerbot/bootstrap"

_FLAGS: Mapping[str, tuple[str, ...]] = {
    "user": ("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
    "nested-user-namespaces": ("--disable-userns",),
    "process-namespace": ("--unshare-pid",),
    "ipc": ("--unshare-ipc",),
    "hostname": ("--unshare-uts", "--hostname", "peerbot"),
    "new-session": ("--new-session",),
    "die-with-parent": ("--die-with-parent",),
}
# Bubblewrap gives some protections by default: to leave one out, a test has to ask for its opposite.
_FLAGS_WITHOUT: Mapping[str, tuple[str, ...]] = {"user": ("--uid", "0", "--gid", "0", "--cap-add", "ALL")}

PROTECTIONS = frozenset(_FLAGS) | {"host-files", "read-only-system", "kernel-settings", "environment", "arguments"}

# The parts of /etc that programs need to find names, certificates, libraries and the time; none can hold a key.
_ETC = (
    "alternatives", "ca-certificates.conf", "debian_version", "gai.conf", "host.conf", "hosts", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "pki/ca-trust/extracted",
    "pki/tls/cert.pem", "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/cert.pem", "ssl/certs",
    "ssl/openssl.cnf", "timezone",
)  # fmt: skip
# Root may write their files without any capability, and if root started us, the agent is root outside the sandbox.
_KERNEL_SETTINGS = ("acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
_PASSWD = f"root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:1000:1000:agent:{HOME}:/bin/bash\n"
_GROUP = "root:x:0:\nagent:x:1000:\n"


class SandboxMissing(PeerBotError):
    """There is no sandbox on this machine. Install bubblewrap: apt-get install bubblewrap."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The way to start a command: its arguments, its environment, and the descriptors made for it alone."""

    argv: list[str]
    environment: dict[str, str]
    fds: tuple[int, ...]


class Sandbox:
    """Bubblewrap with every protection. `without` leaves some out by name, for tests alone."""

    DEPTH = 2  # generations from bubblewrap to what it runs: itself, the namespace's first process, the command

    def __init__(self, program: str | None = None, *, without: Collection[str] = ()) -> None:
        if unknown := set(without) - PROTECTIONS:
            raise ValueError(f"no such protection: {sorted(unknown)}")
        self._program = program or shutil.which("bwrap") or "/usr/bin/bwrap"
        self._without = frozenset(without)

    @classmethod
    def find(cls) -> "Sandbox":
        """Find bubblewrap and start this Python in it once, as a run would be.

        Raises `SandboxMissing` with one sentence that says what to do. Remembers what it found.
        """
        return _found()

    @contextmanager
    def launch(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        workspace: Path,
        bootstrap_secret: str,
        lock: int,
    ) -> Iterator[Launch]:
        """Prepare to start `command` with exactly `environment`, in `workspace`.

        The secret is a file inside that only the command can read and remove (`PEERBOT_BOOTSTRAP_FILE`). Bubblewrap
        holds the descriptor `lock` open as long as anything lives inside; the command does not get it. The block
        closes the descriptors made here when it ends, so start the command within.
        """
        with ExitStack() as stack:
            files: list[int] = []

            def file(name: str, content: bytes) -> str:
                descriptor = _memory_file(name, content)
                stack.callback(os.close, descriptor)
                files.append(descriptor)
                return str(descriptor)

            arguments = ["--unshare-user", *self._flags(), *self._mounts(workspace)]
            arguments += ["--perms", "0444", "--file", file("passwd", _PASSWD.encode()), "/etc/passwd"]
            arguments += ["--perms", "0444", "--file", file("group", _GROUP.encode()), "/etc/group"]
            # A plain file in a tmpfs of its own, not a mount: the worker can remove it after reading it.
            arguments += ["--perms", "0700", "--tmpfs", str(Path(BOOTSTRAP_FILE).parent)]
            arguments += ["--perms", "0400", "--file", file("bootstrap", bootstrap_secret.encode()), BOOTSTRAP_FILE]
            if "read-only-system" not in self._without:
                arguments += ["--remount-ro", "/"]
            arguments += ["--sync-fd", str(lock), "--chdir", WORKSPACE, "--clearenv"]
            for key, value in {**environment, **_PLACES}.items():
                arguments += ["--setenv", key, value]
            if "arguments" not in self._without:
                arguments = ["--args", file("arguments", "\0".join([*arguments, ""]).encode())]
            own_environment = dict(os.environ) if "environment" in self._without else {}
            yield Launch([self._program, *arguments, "--", *command], own_environment, tuple(files))

    def _flags(self) -> Iterator[str]:
        for name, flags in _FLAGS.items():
            yield from flags if name not in self._without else _FLAGS_WITHOUT.get(name, ())

    def _mounts(self, workspace: Path) -> list[str]:
        bind = "--bind" if "read-only-system" in self._without else "--ro-bind"
        mounts = [bind, "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        if "kernel-settings" not in self._without:
            for name in _KERNEL_SETTINGS:
                mounts += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
        for directory in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")):
            if directory.is_symlink():
                mounts += ["--symlink", str(directory.readlink()), str(directory)]
            elif directory.is_dir():
                mounts += [bind, str(directory), str(directory)]
        for name in _ETC:
            mounts += [f"{bind}-try", f"/etc/{name}", f"/etc/{name}"]
        mounts += ["--tmpfs", HOME]
        if "host-files" in self._without:
            for path in _host_directories():
                mounts += [bind, str(path), str(path)]
        else:
            mounts += ["--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - inside the sandbox
        # After the empty directories, because a Python may live below one of them.
        for path in _python_paths():
            if "host-files" in self._without and path.is_symlink():
                continue  # it is there already, and bubblewrap 0.12 mounts on no link
            mounts += [bind, str(path), str(path)]
        return [*mounts, "--bind", str(workspace), WORKSPACE]


# Where things are inside; the rest of a run's environment is its caller's.
_PLACES = {"HOME": HOME, "TMPDIR": "/tmp", "PEERBOT_BOOTSTRAP_FILE": BOOTSTRAP_FILE}  # noqa: S108


def _memory_file(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _python_paths() -> list[Path]:
    """List the paths that this Python and this package need, as leaves: all beside them stays hidden."""
    homes = [sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)]
    leaves = [Path(home, leaf) for home in homes for leaf in ("bin", "lib", "lib64", "pyvenv.cfg")]
    return _outermost(path for path in [*leaves, Path(peerbot.__file__).parent] if path.exists())


def _outermost(paths: Iterable[Path]) -> list[Path]:
    kept: list[Path] = [Path("/usr")]
    for path in sorted(set(paths), key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept[1:]


def _host_directories() -> list[Path]:
    """List the machine's own directories that an agent would find without the protection `host-files`."""
    ours = {"proc", "dev", "sys", "run", "usr", "etc", "home", "workspace", "bin", "sbin", "lib", "lib64"}
    top = [path for path in Path("/").iterdir() if path.name not in ours]
    homes = [path for path in Path("/home").iterdir() if str(path) != HOME]
    return [path for path in [*top, *homes] if path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK)]


@functools.cache
def _found() -> Sandbox:
    if sys.platform != "linux":
        raise SandboxMissing(
            "The sandbox needs Linux (bubblewrap). Run PeerBot on Linux, or try it here with the demo model."
        )
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxMissing(
            "There is no sandbox for the agent. Install bubblewrap: apt-get install bubblewrap (or dnf, pacman, apk)."
        )
    sandbox = Sandbox(program)
    reason = _try(sandbox)
    if reason is None:
        return sandbox
    if "Unknown option" in reason:
        raise SandboxMissing(f"The sandbox needs bubblewrap 0.8 or later, and {program} is older ({reason}).")
    if "uid map" in reason or "namespace" in reason:
        raise SandboxMissing(
            f"Bubblewrap is here, but this kernel does not allow user namespaces ({reason}). Allow them with "
            "sysctl kernel.unprivileged_userns_clone=1 or, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0."
        )
    raise SandboxMissing(f"Bubblewrap is here, but this Python does not start in its sandbox ({reason}).")


def _try(sandbox: Sandbox) -> str | None:
    """Start Python in the sandbox; None if that worked, otherwise the last line that it printed."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as lock:
        with sandbox.launch(
            [sys.executable, "-c", "import peerbot"],
            environment={"LANG": "C.UTF-8"},
            workspace=Path(directory),
            bootstrap_secret="",
            lock=lock.fileno(),
        ) as launch:
            try:
                done = subprocess.run(
                    launch.argv,
                    env=launch.environment,
                    pass_fds=(lock.fileno(), *launch.fds),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=20,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
        if done.returncode == 0:
            return None
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {done.returncode}"
