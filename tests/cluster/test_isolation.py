"""A cluster leaves nothing behind, however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import isolation
import pytest

needs_root = pytest.mark.skipif(isolation.why_not() is not None, reason=f"no isolation here: {isolation.why_not()}")
pytestmark = needs_root

_MESS = """
import os, pathlib, subprocess, sys, time
here = pathlib.Path(sys.argv[1])
group = pathlib.Path('/sys/fs/cgroup/memory') / os.environ['CLUSTER_TESTS_INSIDE'] / 'pods' / 'one'
group.mkdir(parents=True)
child = subprocess.Popen(['sleep', '1234.5'], start_new_session=True)
(group / 'cgroup.procs').write_text(str(child.pid))
subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', str(here)], check=True)
pathlib.Path('/var/lib/left').write_text('x')
pathlib.Path('/run/left').write_text('x')
pathlib.Path('/proc/sys/kernel/panic').write_text('77')
print('made', flush=True)
time.sleep(float(sys.argv[2]))
"""
_RUN = "import sys, isolation; sys.exit(isolation.run(sys.argv[1:], 60))"


def test_nothing_is_left_when_it_ends(tmp_path: Path) -> None:
    before = _state()
    assert isolation.run([sys.executable, "-c", _MESS, str(tmp_path), "0"], 60) == 0
    assert _state() == before
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_it_is_asked_to_end(tmp_path: Path) -> None:
    before = _state()
    command = [sys.executable, "-c", _RUN, sys.executable, "-c", _MESS, str(tmp_path), "600"]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE) as guard:
        assert guard.stdout
        assert guard.stdout.readline() == b"made\n"
        guard.terminate()
        assert guard.wait(60) == 128 + signal.SIGTERM
    assert _state() == before


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    began = time.monotonic()
    assert isolation.run([sys.executable, "-c", "import time; time.sleep(600)"], 3) == 1
    assert time.monotonic() - began < 60


def test_it_reaches_nobody(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    done = [sys.executable, "-c", f"try:\n    {code}\nexcept OSError as error:\n    assert 'unreachable' in str(error)"]
    assert isolation.run(done, 60) == 0


def _state() -> dict[str, object]:
    """Return all that could be left: processes of the test, mounts, cgroups, kernel settings, files."""
    lines = list(Path("/proc").glob("[0-9]*/cmdline"))
    return {
        "processes": [file.parent.name for file in lines if file.exists() and b"1234.5" in file.read_bytes()],
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sorted(str(group) for group in Path("/sys/fs/cgroup").glob("*/peerbot-cluster-*")),
        "panic": Path("/proc/sys/kernel/panic").read_text(),
        "files": [name for name in ("/var/lib/left", "/run/left") if Path(name).exists()],
        "directories": sorted(str(path) for path in Path("/tmp").glob("peerbot-cluster-*")),
    }
