"""Each protection of the sandbox, probed from inside: it holds, and without it the probe sees the leak."""

import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import claude_agent_sdk
import pytest
from run_processes import IGNORES_TERM, Stage, ended, eventually, need_sandbox, spec

import peerbot
from peerbot.conversation.ends import RunEnd
from peerbot.runs.processes.sandbox import PROTECTIONS, Sandbox

# Each prints what it could reach, and nothing if the protection holds.
PROBES = {
    "host-files": """
import os
for path in (os.environ["SECRET_FILE"], os.environ["RUNS_FOLDER"]):
    if os.path.exists(path):
        print(path)
""",
    "read-only-system": """
free = {"/tmp", "/home/agent", "/workspace", "/run/peerbot", "/proc"}
for line in open("/proc/self/mounts"):
    _, path, _, options, *_ = line.split()
    if "rw" in options.split(",") and path not in free and not path.startswith("/dev"):
        print(path)
""",
    "kernel-settings": """
import os
for place in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"):
    if os.path.exists(place) and not os.statvfs(place).f_flag & os.ST_RDONLY:
        print(place)
""",
    "environment": """
if "SLACK_BOT_TOKEN" in open("/proc/1/environ").read():
    print("the dispatcher's environment")
""",
    "arguments": """
import glob, os
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        if os.environ["IN_NO_ARGUMENT"] in open(path).read():
            print(path)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
""",
    "process-namespace": """
import glob, os
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        if os.environ["NEIGHBOUR"] in open(path).read():
            os.kill(int(path.split("/")[2]), 0)
            print("seen and may be signalled:", path)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
""",
    "user": """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
    if int(status[name], 16):
        print(name, status[name])
if os.getuid() == 0 or status["NoNewPrivs"].strip() != "1":
    print("root")
""",
    "nested-user-namespaces": """
import ctypes
if ctypes.CDLL(None).unshare(0x10000000) == 0:
    print("a user namespace of its own")
""",
    "ipc": """
import os
if any(line.split()[0] == os.environ["SHARED_MEMORY"] for line in open("/proc/sysvipc/shm")):
    print("another's shared memory")
""",
    "hostname": """
import os, socket
if socket.gethostname() == os.environ["HOST"]:
    print("the machine's name")
""",
    "new-session": """
import os
if os.getsid(0) == 0:
    print("a session that began outside, and its terminal")
""",
}


@dataclass(frozen=True)
class Machine:
    """The things on a machine that an agent must not reach."""

    environment: dict[str, str]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-planted")
    (tmp_path / "secret").write_text("planted")
    key = int.from_bytes(os.urandom(3))
    libc = ctypes.CDLL(None)
    memory = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT, for ourselves
    assert memory >= 0
    neighbour = f"neighbour-{os.urandom(8).hex()}"
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", neighbour])
    yield Machine(
        {
            "SECRET_FILE": str(tmp_path / "secret"),
            "RUNS_FOLDER": str(tmp_path / "runs"),
            "NEIGHBOUR": neighbour,
            "SHARED_MEMORY": str(key),
            "IN_NO_ARGUMENT": os.urandom(8).hex(),
            "HOST": socket.gethostname(),
        }
    )
    process.kill()
    process.wait()
    libc.shmctl(memory, 0, None)  # IPC_RMID


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path / "runs", need_sandbox())
    yield stage
    await stage.close()


async def printed_inside(stage: Stage, source: str, environment: dict[str, str] | None = None) -> str:
    """Run a command in the sandbox, which has to end well; returns its output."""
    runs = stage.runs(source)
    await runs.start(spec(environment=environment))
    state = await ended(runs, seconds=20)
    assert state.end is RunEnd.FINISHED, state.detail
    return stage.printed()


def test_every_protection_has_a_probe() -> None:
    assert set(PROBES) | {"die-with-parent"} == PROTECTIONS


@pytest.mark.parametrize("protection", sorted(PROBES))
async def test_the_protection_holds(stage: Stage, machine: Machine, protection: str) -> None:
    assert await printed_inside(stage, PROBES[protection], machine.environment) == ""


@pytest.mark.parametrize("protection", sorted(PROBES))
async def test_the_probe_sees_what_leaks_without_the_protection(
    stage: Stage, machine: Machine, protection: str
) -> None:
    stage.sandbox = Sandbox(without={protection})
    assert await printed_inside(stage, PROBES[protection], machine.environment) != ""


async def kill_guard(stage: Stage) -> None:
    """Start a run and kill the process that started its sandbox."""
    runs = stage.runs(IGNORES_TERM)
    await runs.start(spec())
    await eventually(lambda: "up" in stage.printed())
    stage.guard().kill()
    await ended(runs)


async def test_a_sandbox_dies_with_the_process_that_started_it(stage: Stage) -> None:
    await kill_guard(stage)
    await eventually(lambda: not stage.processes(), seconds=2)


async def test_a_sandbox_outlives_the_process_that_started_it_without_that_protection(stage: Stage) -> None:
    stage.sandbox = Sandbox(without={"die-with-parent"})
    await kill_guard(stage)
    assert stage.processes()


SPY = """
import json, os
readable = []
for name in ("environ", "mem", "maps", "fd/0"):
    try:
        open(f"/proc/{os.getppid()}/{name}", "rb").close()
        readable.append(name)
    except PermissionError:
        pass
print(json.dumps(readable))
"""


@pytest.mark.parametrize(("first", "readable"), [("harden()", []), ("True", ["environ", "mem", "maps", "fd/0"])])
async def test_a_supervisor_is_unreadable_to_its_agent_once_hardened(
    stage: Stage, first: str, readable: list[str]
) -> None:
    source = f"""
import subprocess, sys
from peerbot.worker.harden import harden
assert {first}
subprocess.run([sys.executable, "-c", {SPY!r}], check=True)
"""
    assert json.loads(await printed_inside(stage, source)) == readable


async def test_only_the_parts_that_python_needs_are_there_of_its_folders(stage: Stage) -> None:
    """Neither files beside the checkout's source and environment, nor files beside a home's Python."""
    source = """
import json, os, sys, peerbot
places = [sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(peerbot.__file__)), os.path.expanduser("~")]
print(json.dumps([sorted(os.listdir(place)) for place in [*places, "/etc/ssl", "/run/peerbot", "/workspace"]]))
"""
    prefix, base, beside, home, ssl, ours, workspace = json.loads(await printed_inside(stage, source))
    assert set(prefix) <= {"bin", "lib", "lib64", "pyvenv.cfg"}
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        assert set(base) <= {"bin", "lib", "lib64"}
    if not Path(peerbot.__file__).is_relative_to(sys.prefix):
        assert beside == ["peerbot"]
    assert home == []
    assert set(ssl) <= {"cert.pem", "certs", "openssl.cnf"}
    assert ours == ["bootstrap"]
    assert workspace == []


async def test_what_bubblewrap_itself_holds_open_is_the_lock_alone(stage: Stage) -> None:
    source = """
import os
for process in ("1", "self"):
    links = {os.readlink(f"/proc/{process}/fd/{fd}") for fd in ("0", "1", "2")}
    names = os.listdir(f"/proc/{process}/fd")
    others = [os.readlink(f"/proc/{process}/fd/{fd}") for fd in names if os.path.lexists(f"/proc/{process}/fd/{fd}")]
    print(sorted(link.rpartition("/")[2] for link in others if link not in links and ":" not in link))
"""
    assert (await printed_inside(stage, source)).splitlines() == ["['lock']", "[]"]


async def test_the_bundled_cli_starts_in_the_sandbox(stage: Stage) -> None:
    cli = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    source = f"import subprocess; subprocess.run([{str(cli)!r}, '--version'], check=True, timeout=20)"
    assert "Claude Code" in await printed_inside(stage, source)


async def test_the_gateway_is_reachable_from_the_sandbox(stage: Stage) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), 5).recv(1))"
        assert await printed_inside(stage, source) == "b''\n"


async def test_git_and_python_are_there_for_the_agent(stage: Stage) -> None:
    script = "git init -q x && cd x && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m y && python3 -V"
    assert "Python 3" in await printed_inside(stage, f"import subprocess; subprocess.run({script!r}, shell=True)")


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("bwrap: setting up uid map: Permission denied", "this kernel does not allow user namespaces"),
        ("bwrap: Unknown option --disable-userns", "needs bubblewrap 0.8 or later"),
        ("bwrap: Can't find source path /x", "does not start in its sandbox (bwrap: Can't find source path /x)"),
    ],
)
def test_a_bubblewrap_that_does_not_work_is_told_in_one_sentence(tmp_path: Path, says: str, told: str) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\necho "{says}" >&2\nexit 1\n')
    program.chmod(0o755)
    assert told in refusal(tmp_path)


def test_a_machine_without_bubblewrap_is_told_how_to_get_it(tmp_path: Path) -> None:
    assert "apt-get install bubblewrap" in refusal(tmp_path)


def refusal(path: Path) -> str:
    """Return the words that a person reads whose programs are all in `path`."""
    source = """
from peerbot.errors import PeerBotError
from peerbot.runs.processes.sandbox import Sandbox
try:
    Sandbox.find()
except PeerBotError as error:
    print(error)
"""
    environment = {"PATH": str(path)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    return done.stdout


def test_only_known_protections_can_be_left_out() -> None:
    with pytest.raises(ValueError, match="pid-namespace"):
        Sandbox(without={"pid-namespace"})
