"""An operator's choices for workers' pods: image, size and nodes; the file that `PEERBOT_WORKER_POD` names.

The chart writes it, and refuses what would break a run's promises (`_worker-checks.tpl`): a token, a host's path, our
own mounts and variables. `manifest.py` has the rest: all that a pod needs to be safe, and to be a run at all.
"""

from pathlib import Path
from typing import Any

from lightkube.models.core_v1 import Affinity, Container, EnvVar, Toleration, Volume, VolumeMount
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from peerbot.errors import SettingsError

NETWORK = "peerbot.dev/network"
"""The annotation that names the network which the chart gives to workers: `internet`, `gateway` or `open`."""

_KINDS: dict[str, type[Any]] = {
    "tolerations": Toleration,
    "extraEnv": EnvVar,
    "extraVolumes": Volume,
    "extraVolumeMounts": VolumeMount,
    "services": Container,
}


class WorkerPod(BaseModel):
    """One description for every worker. Keys are Kubernetes' own; it refuses an unknown one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(min_length=1)
    imagePullPolicy: str = "IfNotPresent"
    imagePullSecrets: list[str] = Field(default_factory=list)
    serviceAccountName: str = "claude-worker-sandbox"
    instance: str = "peerbot"
    """The release that the pods belong to; two releases in one namespace do not see each other's pods."""
    requests: dict[str, str] = Field(default_factory=dict)
    """Requests besides cpu and memory, which `WORKER_CPU` and `WORKER_MEMORY` set."""
    limits: dict[str, str] = Field(default_factory=dict)
    nodeSelector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    affinity: dict[str, Any] = Field(default_factory=dict)
    priorityClassName: str = ""
    runtimeClassName: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    extraEnv: list[dict[str, Any]] = Field(default_factory=list)
    """More variables for the worker and its agent."""
    extraVolumes: list[dict[str, Any]] = Field(default_factory=list)
    extraVolumeMounts: list[dict[str, Any]] = Field(default_factory=list)
    services: list[dict[str, Any]] = Field(default_factory=list)
    """Containers that run beside the worker, from before it starts until it has ended."""
    fixedUser: bool = True
    """Whether the pod runs as the image's own user. If not, the cluster chooses one (OpenShift)."""
    caBundle: str = ""
    """The ConfigMap whose `ca.crt` the agent's programs trust besides the public authorities."""

    @field_validator("tolerations", "extraEnv", "extraVolumes", "extraVolumeMounts", "services")
    @classmethod
    def _known(cls, value: list[dict[str, Any]], info: ValidationInfo) -> list[dict[str, Any]]:
        for item in value:
            _only_known(_KINDS[str(info.field_name)], item)
        return value

    @field_validator("affinity")
    @classmethod
    def _affinity(cls, value: dict[str, Any]) -> dict[str, Any]:
        _only_known(Affinity, value)
        return value

    @classmethod
    def read(cls, path: Path) -> "WorkerPod":
        """Read the file. Raises a `SettingsError` that says what is wrong with it."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"PEERBOT_WORKER_POD: {path} can't be read ({error.strerror}).") from error
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError(f"PEERBOT_WORKER_POD: {path} can't be used: {problems}.") from error


def _only_known(kind: type[Any], value: dict[str, Any]) -> None:
    """Refuse what Kubernetes would refuse: lightkube silently drops unknown keys."""
    if unknown := value.keys() - kind.from_dict(value).to_dict().keys():
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
