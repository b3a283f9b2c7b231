"""Put what the browser loads of others into src/peerbot/web/static/vendor/, from npm by deno.lock.

deno.json pins the packages, deno.lock holds their hashes, and `deno`, a wheel of PyPI, installs them: no Node.js. The
files stay as published, but for the names that they import each other by. With `--check` nothing is changed: exit 1 if
what is there is not what the lock names. When nothing has changed since the last time, nothing is asked of the network.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / "node_modules"
VENDOR = ROOT / "src/peerbot/web/static/vendor"
LOCK = ROOT / "deno.lock"
MANIFEST = "manifest.json"
SECONDS = 180.0

LANGUAGES = (
    *("bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "ini", "java", "javascript", "json", "kotlin"),
    *("makefile", "markdown", "php", "python", "ruby", "rust", "sql", "swift", "typescript", "xml", "yaml"),
)

FILES = {
    "preact.mjs": "preact/dist/preact.mjs",
    "hooks.mjs": "preact/hooks/dist/hooks.mjs",
    "signals-core.mjs": "@preact/signals-core/dist/signals-core.mjs",
    "signals.mjs": "@preact/signals/dist/signals.mjs",
    "htm.mjs": "htm/dist/htm.mjs",
    "marked.mjs": "marked/lib/marked.esm.js",
    "purify.mjs": "dompurify/dist/purify.es.mjs",
    "highlight/core.mjs": "@highlightjs/cdn-assets/es/core.min.js",
} | {f"highlight/{name}.mjs": f"@highlightjs/cdn-assets/es/languages/{name}.min.js" for name in LANGUAGES}

NAMES = {
    "preact": "./preact.mjs",
    "preact/hooks": "./hooks.mjs",
    "@preact/signals-core": "./signals-core.mjs",
}
"""What the files call each other, and where that is here."""


def main(arguments: list[str]) -> int:
    """Make the folder, or check it; returns the exit code."""
    if _is_current():
        return 0 if arguments != ["--check"] else _compare()
    if arguments == ["--check"]:
        print("web_modules: src/peerbot/web/static/vendor is not what deno.lock names: run `make web`", file=sys.stderr)
        return 1
    if why := _install():
        print(
            f"peerbot: what the page needs could not be installed from npm's registry ({why}). Run `make web` when it "
            "can be reached; `make run ARGS=--terminal` needs none of it.",
            file=sys.stderr,
        )
        return 1
    made = _made()
    shutil.rmtree(VENDOR, ignore_errors=True)
    for name, content in made.items():
        (VENDOR / name).parent.mkdir(parents=True, exist_ok=True)
        (VENDOR / name).write_bytes(content)
    return 0


def _install() -> str:
    """Install the packages; returns why that failed, or nothing."""
    deno = shutil.which("deno", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if not deno:
        return "PyPI's deno, of requirements/web.txt, is not installed"
    environment = {"DENO_TLS_CA_STORE": "mozilla,system", "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    environment |= _authority() | os.environ
    try:
        done = subprocess.run(
            [deno, "install", "--frozen", "--quiet"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {SECONDS:.0f} s"
    return "" if done.returncode == 0 else " ".join(done.stderr.split())[:160] or f"exit code {done.returncode}"


def _authority() -> dict[str, str]:
    """Return whom pip was told to trust, as deno takes it: behind a proxy that looks inside, both need to know it."""
    if told := os.environ.get("PIP_CERT"):
        return {"DENO_CERT": told}
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "get", "global.cert"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    return {"DENO_CERT": done.stdout.strip()} if done.returncode == 0 and done.stdout.strip() else {}


def _made() -> dict[str, bytes]:
    """Make the folder's files from the installed packages; their names and contents."""
    made = {name: _rewritten((PACKAGES / source).read_text(), name).encode() for name, source in FILES.items()}
    made["emoji.json"] = _emoji()
    made["LICENSES.txt"] = _licenses()
    made[MANIFEST] = _manifest({name: hashlib.sha256(content).hexdigest() for name, content in made.items()})
    return made


def _rewritten(source: str, name: str) -> str:
    """Import by the names that the files have here, without maps, which are not here."""
    source = re.sub(r"\n?//# sourceMappingURL=\S+\s*$", "\n", source)
    for bare, here in NAMES.items():
        source = re.sub(rf"""(from\s*|import\s*)(["']){re.escape(bare)}\2""", rf'\1"{here}"', source)
    if left := re.search(r"""(?:^|[;}])\s*import\b[^;()"']*["']([^"'./][^"']*)["']""", source):
        raise SystemExit(f"web_modules: {name} imports {left[1]}, which has no place here: add it to NAMES")
    return source


def _emoji() -> bytes:
    """Slack's short names with their characters; an old one is told that it is to be a picture (U+FE0F)."""
    names: dict[str, str] = {}
    for code, short in json.loads((PACKAGES / "emojibase-data/en/shortcodes/iamcal.json").read_text()).items():
        for name in [short] if isinstance(short, str) else short:
            character = "".join(chr(int(part, 16)) for part in code.split("-"))
            names[name] = character if len(character) > 1 or character > "\U0001f000" else f"{character}\ufe0f"
    return json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()


def _licenses() -> bytes:
    parts = []
    for package in sorted({_package(source) for source in FILES.values()} | {"emojibase-data"}):
        about = json.loads((PACKAGES / package / "package.json").read_text())
        text = (PACKAGES / package / "LICENSE").read_text().strip()
        parts.append(f"{about['name']} {about['version']} ({about['license']})\n\n{text}\n")
    return f"\n{'-' * 100}\n\n".join(parts).encode()


def _package(path: str) -> str:
    return "/".join(path.split("/")[: 2 if path.startswith("@") else 1])


def _manifest(files: dict[str, str]) -> bytes:
    """What the folder was made from, and the hashes of its files."""
    return json.dumps({"made_from": _inputs(), "files": files}, indent=1).encode()


def _inputs() -> str:
    return hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def _is_current() -> bool:
    """Whether the folder was made from this lock by this script, and nobody has changed it since."""
    try:
        manifest = json.loads((VENDOR / MANIFEST).read_text())
        there = {str(file.relative_to(VENDOR)) for file in VENDOR.rglob("*") if file.is_file()}
        files = manifest["files"]
        return (
            manifest["made_from"] == _inputs()
            and there == {*files, MANIFEST}
            and all(hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == files[name] for name in files)
        )
    except (OSError, ValueError, KeyError):
        return False


def _compare() -> int:
    """Compare the folder with the packages as the lock's hashes let them in; returns the exit code."""
    if why := _install():
        print(f"web_modules: nothing to compare with: {why}", file=sys.stderr)
        return 1
    wrong = [name for name, content in _made().items() if (VENDOR / name).read_bytes() != content]
    for name in wrong:
        print(f"web_modules: {name} is not what deno.lock names: run `make web`", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
