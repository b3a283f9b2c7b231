"""The doctor's check of the sandbox for process runs: it finds it as a dispatcher does, and starts Python in it."""

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.runs.processes.sandbox import Sandbox, SandboxMissing
from peerbot.settings import Settings, Switch

_CHECK = "sandbox"


def look_at_sandbox(settings: Settings) -> list[Finding]:
    """Check that a sandbox keeps agents from this machine's files. Blocks for up to 20 s."""
    if settings.peerbot_sandbox is Switch.OFF:
        return [skipped(_CHECK, "PEERBOT_SANDBOX=off: the agent may do everything that your user may")]
    try:
        Sandbox.find()
    except SandboxMissing as missing:
        said, _, fix = str(missing).partition(". ")
        return [wrong(_CHECK, said, fix or "Install bubblewrap 0.8 or later, and allow user namespaces.")]
    return [good(_CHECK, "bubblewrap is installed, and Python starts in it")]
