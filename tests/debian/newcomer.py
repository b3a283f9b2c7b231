"""The part of a newcomer on a fresh Debian: `make run`, Ctrl-C, `make test`. It is the machine's first process.

`check.py` makes the machine and starts this in there as root, with Debian's own Python and nothing else installed.
"""

import os
import pty
import pwd
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ANSWER = "2 3 5 7 11 13 17 19 23 29"
CHAT = "/quit (or Ctrl-C) ends"  # told when the answer is there and the terminal is ours
PAGE = re.compile(r"Chat: (http://127\.0\.0\.1:\d+/)#key=\S+")
INSTALLED_SECONDS, ANSWER_SECONDS, END_SECONDS, TEST_SECONDS = 600.0, 60.0, 5.0, 2700.0
# `--quick` runs these alone: a Python's version, or a machine, changes their results most easily.
QUICK = 'tests/unit -m "not machine" ' + " ".join(
    f"tests/service/test_{name}.py" for name in ("end", "conversation", "manifest")
)
MAY_LACK = ("npm", "Node.js", "helm", "only root", "kernel keeps no keys")  # in the reasons of tests that are left out


def main(user: str, quick: bool) -> int:
    """Do all of it, or with `quick` a part; returns the exit code. Raises `AssertionError` with the first fault."""
    tell(f"{sys.version.split()[0]} is the Python here; installing, and running `make run` in a terminal …")
    began = time.monotonic()
    run = Run(user, "ARGS=--terminal")
    run.read_until(lambda: CHAT in run.said and run.waits(), INSTALLED_SECONDS, "an answer, and a worker that waits")
    assert ANSWER in run.said, "the answer is not the first ten primes"
    tell(f"it answered {time.monotonic() - began:.0f} s after the newcomer typed `make run`")
    run.ends("Ctrl-C", lambda: os.write(run.terminal, b"\x03"))
    if not quick:
        run = Run(user)
        run.read_until(lambda: bool(PAGE.search(run.said)), ANSWER_SECONDS, "an address of the page")
        page = PAGE.search(run.said)
        assert page
        with urllib.request.urlopen(page[0].removeprefix("Chat: "), timeout=10) as answer:
            assert b"chat/app.js" in answer.read(), "the page does not load its modules"
        run.ends("SIGTERM", lambda: os.killpg(run.pid, signal.SIGTERM))
    tell("installing bubblewrap, and running `make test` …")
    subprocess.run(["sh", "-c", "dpkg -i /var/cache/apt/archives/bubblewrap_*.deb"], check=True, timeout=60)
    return the_suite(user, QUICK if quick else "")


def tell(text: str) -> None:
    """Say how far we are."""
    sys.stdout.write(f"debian: {text}\n")
    sys.stdout.flush()


class Run:
    """`make run` in a terminal of its own, as the newcomer."""

    def __init__(self, user: str, *more: str) -> None:
        self.said = ""
        self.user = user
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            become(user, ["make", "run", *more])

    def waits(self) -> bool:
        """Whether the one worker has done its first turn: it then waits for the next message."""
        return any('"turn_finished"' in log.read_text() for log in Path("/tmp").glob("peerbot-*/runs/*/worker.log"))

    def read_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Show the output until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"there was no {what} within {seconds:.0f} s"
            assert self.read(), f"`make run` ended before there was {what}"

    def read(self) -> bool:
        """Show the output that is there now; False at the end."""
        if not select.select([self.terminal], [], [], 0.1)[0]:
            return True
        try:
            new = os.read(self.terminal, 65536).decode(errors="replace")
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.said += new
        sys.stdout.write(new.replace("\r\n", "\n"))
        sys.stdout.flush()
        return True

    def ends(self, how: str, end: Callable[[], object]) -> None:
        """End it; it has to be gone in time, and leave neither a process nor a file."""
        began = time.monotonic()
        end()
        while self.read():
            assert time.monotonic() - began < END_SECONDS, f"{how} did not end it within {END_SECONDS:.0f} s"
        os.waitpid(self.pid, 0)
        while left := [*processes_of(self.user), *Path("/tmp").glob("peerbot-*")]:
            assert time.monotonic() - began < END_SECONDS, f"{END_SECONDS:.0f} s after {how} there is still {left}"
            time.sleep(0.05)
        tell(f"{how} ended it in {time.monotonic() - began:.1f} s, and nothing is left of it")


def the_suite(user: str, chosen: str) -> int:
    """Run `make test`, or the chosen part of it; returns its exit code.

    Raises `AssertionError` if a test is left out for something that a newcomer has.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", __file__, "--as", user, "make", "test", f"ARGS=-rs {chosen}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"debian: `make test` took over {TEST_SECONDS / 60:.0f} minutes"))
    signal.alarm(int(TEST_SECONDS))
    reasons = []
    assert process.stdout
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if skipped := re.match(r"SKIPPED \[\d+\] (.*)", line):
            reasons.append(skipped[1])
    code = process.wait()
    signal.alarm(0)
    odd = [reason for reason in reasons if not any(lack in reason for lack in MAY_LACK)]
    assert not odd, f"these were left out for something that a newcomer has: {odd}"
    tell("left out, as a newcomer may lack what they need:\n  " + "\n  ".join(sorted(reasons)))
    tell(f"`make test` took {(time.monotonic() - began) / 60:.1f} min, and ended with exit code {code}")
    return code


def processes_of(user: str) -> list[str]:
    """The command of each process that this user has."""
    found = []
    uid = pwd.getpwnam(user).pw_uid
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if place.stat().st_uid == uid:
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended
    return found


def become(user: str, command: list[str]) -> NoReturn:
    """Become the ordinary user, in the checkout, as after a log-in; then the command."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.chdir(f"{entry.pw_dir}/peerbot")
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    path = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
    own = {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "SHELL": entry.pw_shell, "PATH": path, "TERM": "xterm"}
    os.execvpe(command[0], command, {**kept, **own, "LANG": "C.UTF-8"})


def first_process(child: int) -> NoReturn:
    """Collect whatever ends, as a first process has to; end with the child, and all of the machine with that."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__" and sys.argv[1] == "--as":
    become(sys.argv[2], sys.argv[3:])
elif __name__ == "__main__":
    if child := os.fork():
        first_process(child)
    try:
        sys.exit(main(sys.argv[1], "--quick" in sys.argv))
    except AssertionError as error:
        sys.exit(f"debian: {error}")
