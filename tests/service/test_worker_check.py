"""`peerbot worker --check` finds what an image of one's own lacks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BWRAP = shutil.which("bwrap")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make a root like the image's: /opt/peerbot, with a virtual environment whose packages are ours."""
    program = tmp_path / "opt/peerbot"
    (program / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", program)
    (program / "bin/python").symlink_to(Path(sys.executable).resolve())
    (program / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(ROOT / "src/peerbot/runs/guard.py", program)
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return tmp_path


def checked(image: Path, *more: str, user: int = 10001, group: int = 10001, **variables: str) -> tuple[int, str]:
    """Run the check in the image as a user; returns its exit code and what it prints."""
    if BWRAP is None:
        pytest.skip("bubblewrap is missing")
    environment = {"HOME": "/home/worker", "PATH": "/usr/local/bin:/usr/bin:/bin"} | variables
    flags = [word for name, value in environment.items() for word in ("--setenv", name, value)]
    command = [
        *(BWRAP, "--unshare-user", "--uid", str(user), "--gid", str(group), "--clearenv", *flags),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/opt", "--tmpfs", "/home"),
        *("--bind", "/tmp", "/tmp"),
        *("--bind", str(image / "opt/peerbot"), "/opt/peerbot", "--bind", str(image / "home"), "/home/worker"),
        *("--bind", str(image / "workspace"), str(image / "workspace"), "--chdir", str(image / "workspace"), *more),
        *("/opt/peerbot/bin/python", "-m", "peerbot", "worker", "--check"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(("user", "group"), [(10001, 10001), (1000680000, 0)], ids=["ours", "OpenShift's"])
def test_an_image_that_has_all_is_good_whoever_runs_it(image: Path, user: int, group: int) -> None:
    code, said = checked(image, user=user, group=group)

    assert "FAIL" not in said
    assert code == 0
    for part in ("the worker's program 0.", "Claude Code 2.", "git version", f"runs as {user}:{group}", "bash"):
        assert part in said
    assert "the worker hides its memory from the agent" in said


def test_what_an_image_lacks_is_named_with_what_to_do(image: Path) -> None:
    (image / "opt/peerbot/guard.py").write_text("# another release's")
    code, said = checked(image, user=0, group=0, HOME="/nowhere", PATH="/opt/none")

    assert code == 1
    failures = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert [line.split("  ")[1].split(".")[0] for line in failures] == [
        "the worker's program is not in /opt/peerbot",
        "git is not in PATH",
        "the image runs as root",
        "HOME /nowhere is no directory that this user may write to",
        "bash is not in PATH",
    ]
    assert "USER 10001:10001" in said


def test_another_user_than_the_pods_is_named(image: Path) -> None:
    code, said = checked(image, user=1000, group=1000)

    assert code == 1
    assert "FAIL  the image runs as 1000:1000" in said
