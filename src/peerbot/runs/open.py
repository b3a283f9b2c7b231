"""Where runs run, as the settings choose it; and the rule that a real model's agent has a sandbox (D7)."""

import sys

from peerbot.errors import SettingsError
from peerbot.logs import logger
from peerbot.runs.port import backstop_seconds
from peerbot.runs.process import ProcessRuns
from peerbot.runs.sandbox import Sandbox, SandboxMissing
from peerbot.settings import Settings, Switch

log = logger(__name__)

# Isolated (-I): else a worker imports from its working directory first, which holds what a repository brings along.
WORKER = (sys.executable, "-I", "-m", "peerbot.worker")


def open_runs(settings: Settings, *, demo: bool = False) -> ProcessRuns:
    """Open the place where runs run.

    Raises `SettingsError` where a real model's agent would run without a sandbox and nobody said that it may. The demo
    model plays fixed pieces, so it may run without one.
    """
    directory = settings.peerbot_data_dir / "runs"
    sandbox = None
    if settings.peerbot_sandbox is Switch.ON:
        try:
            sandbox = Sandbox.find()
        except SandboxMissing as error:
            if not demo:
                raise SettingsError(
                    f"{error} Without a sandbox the agent may do all that your user may; if you want that, start with "
                    "--unsafe-no-sandbox (or PEERBOT_SANDBOX=off)."
                ) from error
    log.info("process_runs", sandbox=sandbox is not None, cpu="unbounded", memory="unbounded")
    deadline = backstop_seconds(settings.session_timeout_minutes * 60)
    return ProcessRuns(directory, command=WORKER, sandbox=sandbox, deadline_seconds=deadline)
