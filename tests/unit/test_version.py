"""The version is stated in one place, and the command that `make check` runs finds every other statement of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peerbot import __version__

ROOT = Path(__file__).parents[2]
COPIED = (
    "scripts/version.py",
    "src/peerbot/__init__.py",
    "charts/peerbot/Chart.yaml",
    "charts/peerbot/values.yaml",
    "images/dispatcher/Dockerfile",
    "images/worker/Dockerfile",
    "pyproject.toml",
)
DIFFERENCES = {
    "the code's": (
        "src/peerbot/__init__.py",
        f'"{__version__}"',
        '"9.9.9"',
        "version is {version}, and PeerBot is 9.9.9",
    ),
    "the chart's": ("charts/peerbot/Chart.yaml", "\nversion: {version}", "\nversion: 9.9.9", "version is 9.9.9"),
    "what the chart deploys": (
        "charts/peerbot/Chart.yaml",
        'appVersion: "{version}"',
        'appVersion: "9.9.9"',
        "appVersion is 9.9.9",
    ),
    "an image's tag": ("charts/peerbot/values.yaml", 'tag: ""', 'tag: "9.9.9"', "worker.image.tag has to be"),
    "an image's label": (
        "images/worker/Dockerfile",
        "LABEL ",
        'LABEL org.opencontainers.image.version="9.9.9" ',
        "images/worker/Dockerfile: the label",
    ),
    "the project's": ("pyproject.toml", 'dynamic = ["version"]', 'version = "9.9.9"', "project.version has to go"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that has to do with versions."""
    for name in COPIED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(tree / "scripts/version.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def plant(tree: Path, name: str, old: str, new: str) -> None:
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))


def test_the_check_runs_with_make_check_and_finds_nothing(tree: Path) -> None:
    done = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "scripts/version.py --check" in done.stdout
    assert (run(tree, "--check").returncode, run(tree, "--check").stderr) == (0, "")


@pytest.mark.parametrize(("name", "old", "new", "said"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_difference_is_found(tree: Path, name: str, old: str, new: str, said: str) -> None:
    plant(tree, name, old.format(version=__version__), new)
    done = run(tree, "--check")

    assert done.returncode == 1
    assert said.format(version=__version__) in done.stderr


def test_a_new_version_is_written_to_the_chart(tree: Path) -> None:
    plant(tree, "src/peerbot/__init__.py", f'"{__version__}"', '"9.9.9"')

    assert run(tree).returncode == 0
    assert run(tree, "--check").returncode == 0
    assert 'version: 9.9.9\nappVersion: "9.9.9"' in (tree / "charts/peerbot/Chart.yaml").read_text()
