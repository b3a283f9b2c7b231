#!/bin/sh
# Says in one sentence what is missing, before anything is installed.
python=${1:-python3}
missing() { echo "peerbot: $1" >&2; exit 2; }
command -v "$python" >/dev/null 2>&1 ||
    missing "Python 3.11 or later is missing: install it (apt-get install python3 python3-venv), or name one: make PYTHON=python3.12 …"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    missing "$("$python" --version) is too old: Python 3.11 or later is needed; name one: make PYTHON=python3.12 …"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    missing "Python's venv module is missing: install it (apt-get install python3-venv)."
command -v git >/dev/null 2>&1 || missing "git is missing: install it (apt-get install git)."
