"""`peerbot worker --check`: whether an image has all that a worker needs. Run it in an image of your own.

It looks at the image as it is started: as its user, with its variables, in its directory.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claude_agent_sdk._cli_version import __cli_version__ as CLI_VERSION

import peerbot
from peerbot.worker.harden import harden, landlock

PROGRAM = Path("/opt/peerbot")
_OLDEST_GIT = (2, 31)  # its settings come in variables
_RUN_SECONDS = 30
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_FROM = "Build on the worker's image of this release: FROM …/peerbot-worker."


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was looked at: `fix` is empty if it is as it should be."""

    said: str
    fix: str = ""

    def __str__(self) -> str:
        return f"FAIL  {self.said}. {self.fix}" if self.fix else f"ok    {self.said}"


def check() -> Iterator[Found]:
    """Look at each thing in turn."""
    yield _program()
    yield _cli()
    yield _git()
    yield _user()
    home, here = Path(os.environ.get("HOME") or "/"), Path.cwd()
    for name, path in (("HOME", home), ("the working directory", here), ("the directory", Path("/tmp"))):  # noqa: S108
        yield _writable(name, path)
    yield _shell()
    yield _authorities()
    yield _hardened()


def _program() -> Found:
    guards = PROGRAM / "guard.py", Path(peerbot.__file__).parent / "runs/guard.py"
    same = all(file.is_file() for file in guards) and filecmp.cmp(*guards, shallow=False)
    if Path(sys.prefix) != PROGRAM or not same:
        return Found(f"the worker's program is not in {PROGRAM}", _FROM)
    return Found(f"the worker's program {peerbot.__version__} with Python {sys.version.split()[0]}")


def _cli() -> Found:
    import claude_agent_sdk  # noqa: PLC0415 - it takes a second

    command = str(Path(claude_agent_sdk.__file__).parent / "_bundled/claude")
    said = _output(command, "--version")
    if not said.startswith(f"{CLI_VERSION} "):
        return Found(f"Claude Code {CLI_VERSION} does not run: {said or 'it is not there'}", _FROM)
    return Found(f"Claude Code {CLI_VERSION}")


def _git() -> Found:
    said = _output("git", "--version")
    version = re.search(r"(\d+)\.(\d+)", said)
    if not version or (int(version[1]), int(version[2])) < _OLDEST_GIT:
        return Found(said or "git is not in PATH", f"Install git {'.'.join(map(str, _OLDEST_GIT))} or later.")
    return Found(said)


def _user() -> Found:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        return Found("the image runs as root", "End its Dockerfile with USER 10001:10001.")
    if uid != 10001 and gid != 0:
        return Found(
            f"the image runs as {uid}:{gid}", "End its Dockerfile with USER 10001:10001 (on OpenShift the group is 0)."
        )
    return Found(f"it runs as {uid}:{gid}")


def _writable(name: str, path: Path) -> Found:
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return Found(
            f"{name} {path} is no directory that this user may write to",
            "Keep /home/worker, /workspace and /tmp as the worker's image has them.",
        )
    return Found(f"{name} {path} may be written to")


def _shell() -> Found:
    if not shutil.which("bash"):
        return Found("bash is not in PATH", "Install it: the agent runs its commands with it.")
    return Found("bash")


def _authorities() -> Found:
    if not _AUTHORITIES.is_file():
        return Found("there are no certificate authorities", "Install ca-certificates.")
    return Found("certificate authorities")


def _hardened() -> Found:
    if not harden():
        return Found("the kernel does not let the worker hide its memory from the agent", "Use another runtime class.")
    abi = landlock()
    more = f"Landlock {abi}" if abi else "without Landlock"
    return Found(f"the worker hides its memory from the agent (Linux {os.uname().release}, {more})")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
