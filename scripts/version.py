"""Give the chart the version that `src/peerbot/__init__.py` states, the one place to edit; `--check` only compares.

The wheel takes its version from there when it is built (`pyproject.toml`), an image has the wheel's, and the chart
deploys the images that are tagged as its `appVersion`.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "peerbot" / "__init__.py"
CHART = ROOT / "charts" / "peerbot" / "Chart.yaml"
VALUES = ROOT / "charts" / "peerbot" / "values.yaml"
PROJECT = ROOT / "pyproject.toml"


def main() -> int:
    """Write or compare; returns the exit code."""
    found = re.search(r'^__version__ = "(.+)"$', SOURCE.read_text(), re.M)
    if not found:
        print(f"{_named(SOURCE)} states no version.", file=sys.stderr)
        return 1
    version = found[1]
    if "--check" not in sys.argv:
        text = re.sub(r"^version: .*", f"version: {version}", CHART.read_text(), flags=re.M)
        CHART.write_text(re.sub(r"^appVersion: .*", f'appVersion: "{version}"', text, flags=re.M))
    wrong = list(_differences(version))
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def _differences(version: str) -> Iterator[str]:
    """Say of each place that states another version, and how to mend it."""
    chart = yaml.safe_load(CHART.read_text())
    for key in ("version", "appVersion"):
        if chart[key] != version:
            yield f"{_named(CHART)}: {key} is {chart[key]}, and PeerBot is {version}. Run `make docs`."
    values = yaml.safe_load(VALUES.read_text())
    for name in ("dispatcher", "worker"):
        if values[name]["image"]["tag"]:
            yield f'{_named(VALUES)}: {name}.image.tag has to be "", so that the image is the one of the appVersion.'
    if "version" in tomllib.loads(PROJECT.read_text())["project"]:
        yield f"{_named(PROJECT)}: project.version has to go, since {_named(SOURCE)} states the version."
    for file in sorted(ROOT.glob("images/*/Dockerfile")):
        if "org.opencontainers.image.version" in file.read_text():
            yield f"{_named(file)}: the label with the version has to go, since the workflow that builds it sets it."


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


sys.exit(main())
