"""`make cluster-test`: builds what a cluster needs, then runs its tests where nothing of it can be left behind.

`--bench` runs the cluster's bench there, as `make cluster-bench` does.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import binaries
import isolation
from programs import tell

import images

_ROOT = Path(__file__).parents[2]
_SECONDS = 2700.0


_NO_TESTS = 5  # pytest's exit code
_GROUPS = ("cluster and not alone", "alone")  # the latter make clusters of their own, one after the other


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments`, once for each group of tests; the first exit code that is not good."""
    run: Callable[[list[str], float], int] = isolation.run
    if reason := isolation.why_not():
        binaries.ensure(node=False)
        tell(f"the control plane alone, as {reason}; tests that need a node are left out")
        run = _here
    else:
        binaries.ensure()
        images.ensure()
    if arguments[:1] == ["--bench"]:
        return run([sys.executable, "-m", "bench.cluster", *arguments[1:]], _SECONDS)
    codes = []
    for group in _GROUPS:
        tests = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "-m", group, *arguments]
        codes.append(run(tests, _SECONDS))
    return next((code for code in codes if code not in (0, _NO_TESTS)), min(codes))


def _here(tests: list[str], seconds: float) -> int:
    return subprocess.run(tests, cwd=_ROOT, check=False, timeout=seconds).returncode


if __name__ == "__main__":
    own = [str(Path(__file__).parent.parent / name) for name in ("cluster", "service", "chaos")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        sys.exit(main(sys.argv[1:]))
    except (binaries.Missing, isolation.Left) as problem:
        sys.exit(f"cluster: {problem}")
