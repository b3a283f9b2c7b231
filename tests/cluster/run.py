"""`make cluster-test`: builds what a cluster needs, then runs its tests where nothing of it can be left behind."""

import subprocess
import sys
from pathlib import Path

import binaries
import isolation
from programs import tell

import images

_ROOT = Path(__file__).parents[2]
_SECONDS = 2700.0


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments`; its exit code."""
    tests = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "-m", "cluster", *arguments]
    if reason := isolation.why_not():
        binaries.ensure(node=False)
        tell(f"the control plane alone, as {reason}; tests that need a node are left out")
        return subprocess.run(tests, cwd=_ROOT, check=False, timeout=_SECONDS).returncode
    binaries.ensure()
    images.ensure()
    return isolation.run(tests, _SECONDS)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (binaries.Missing, isolation.Left) as problem:
        sys.exit(f"cluster: {problem}")
