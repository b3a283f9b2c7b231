"""The sandbox of process runs as the doctor looks at it: the product's own search, which starts Python in it once."""

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.runs.processes.sandbox import Sandbox, SandboxMissing
from peerbot.settings import Settings, Switch

_CHECK = "sandbox"


def look_at_sandbox(settings: Settings) -> list[Finding]:
    """Whether an agent is kept from this machine's files. Blocks, for 20 s at the most."""
    if settings.peerbot_sandbox is Switch.OFF:
        return [skipped(_CHECK, "PEERBOT_SANDBOX=off: the agent may do all that your user may")]
    try:
        Sandbox.find()
    except SandboxMissing as missing:
        said, _, fix = str(missing).partition(". ")
        return [wrong(_CHECK, said, fix or "Install bubblewrap 0.8 or later, and allow user namespaces.")]
    return [good(_CHECK, "bubblewrap is here, and Python starts in it")]
