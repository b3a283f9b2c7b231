"""The choice of where runs run, and the rule that a real model's agent has a sandbox (decision 0006)."""

import sys

from peerbot.conversation.deadlines import backstop_seconds
from peerbot.errors import SettingsError
from peerbot.logs import logger
from peerbot.runs.port import Runs
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.runs.processes.sandbox import Sandbox, SandboxMissing
from peerbot.settings import Runtime, Settings, Switch

log = logger(__name__)

# Isolated (-I): otherwise a worker imports first from its working directory, which holds a repository's own files.
WORKER = (sys.executable, "-I", "-m", "peerbot.worker")


async def open_runs(settings: Settings) -> Runs:
    """Open the place where runs run. The caller closes it.

    Raises `SettingsError` if the settings ask for something impossible, `Unavailable` if a cluster does not answer.
    """
    if settings.peerbot_runtime is Runtime.KUBERNETES:
        return await _jobs(settings)
    return open_processes(settings)


def open_processes(settings: Settings, *, demo: bool = False) -> ProcessRuns:
    """Open process runs.

    Raises `SettingsError` if a real model's agent would run without a sandbox and nobody allowed that. The demo model
    plays fixed pieces, so it may run without one.
    """
    directory = settings.peerbot_data_dir / "runs"
    sandbox = None
    if settings.peerbot_sandbox is Switch.ON:
        try:
            sandbox = Sandbox.find()
        except SandboxMissing as error:
            if not demo:
                raise SettingsError(
                    f"{error} Without a sandbox the agent may do all that your user may. If you want that, start with "
                    "--unsafe-no-sandbox (or PEERBOT_SANDBOX=off)."
                ) from error
    log.info("process_runs", sandbox=sandbox is not None, cpu="unbounded", memory="unbounded")
    return ProcessRuns(directory, command=WORKER, sandbox=sandbox, deadline_seconds=_deadline_seconds(settings))


async def _jobs(settings: Settings) -> Runs:
    # Imported here, so that process runs do not pay for a cluster's client: 0.2 s and 30 MB.
    from peerbot.runs.jobs.manifest import Size  # noqa: PLC0415
    from peerbot.runs.jobs.runs import KubernetesRuns, cluster_client  # noqa: PLC0415
    from peerbot.runs.jobs.worker_pod import WorkerPod  # noqa: PLC0415

    assert settings.peerbot_worker_pod, "the settings have checked it"
    pod = WorkerPod.read(settings.peerbot_worker_pod)
    client = cluster_client(settings.peerbot_namespace)
    size = Size(settings.worker_cpu, settings.worker_memory)
    runs = KubernetesRuns(client, pod=pod, size=size, deadline_seconds=_deadline_seconds(settings))
    try:
        await runs.open()
    except BaseException:
        await runs.close()
        raise
    log.info("job_runs", namespace=client.namespace, image=pod.image, cpu=size.cpu, memory=size.memory)
    return runs


def _deadline_seconds(settings: Settings) -> float:
    return backstop_seconds(settings.session_timeout_minutes * 60)
