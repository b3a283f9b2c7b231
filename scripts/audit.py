"""Ask for known vulnerabilities of everything that the lock files name; exit 1 if one is found (pip-audit).

The package index is asked. One that has no advisories (a mirror) can't say anything, and that is told; on GitHub, where
the real index answers, that is an error, too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("dev", "lint", "build")
"""`dev` names all that runs, too."""

IGNORED: dict[str, str] = {}
"""Vulnerabilities that do not concern PeerBot: their ids, and why."""


def main() -> int:
    """Audit the lock files, with the pip-audit that the command line names."""
    packages: dict[str, dict[str, object]] = {}
    for lock in LOCKS:
        command = [sys.argv[1], "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
        command += ["--requirement", str(ROOT / f"requirements/{lock}.txt")]
        command += [word for vulnerability in IGNORED for word in ("--ignore-vuln", vulnerability)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        if not done.stdout:
            print(f"audit: pip-audit failed:\n{done.stderr}", file=sys.stderr)
            return 1
        packages |= {each["name"]: each for each in json.loads(done.stdout)["dependencies"]}
    found = {name: each for name, each in packages.items() if each.get("vulns")}
    for name, each in found.items():
        print(f"audit: {name} {each['version']} has known vulnerabilities: {each['vulns']}", file=sys.stderr)
    if unknown := [name for name, each in packages.items() if "skip_reason" in each]:
        print(f"audit: the package index has no advisories for {len(unknown)} of {len(packages)} packages.")
    return int(bool(found) or bool(unknown and os.environ.get("GITHUB_ACTIONS")))


if __name__ == "__main__":
    sys.exit(main())
