"""The settings of programs that look at the journal, Slack and GitHub from outside: a few of the dispatcher's."""

from typing import Any

from pydantic import SecretStr

from peerbot.environment import read
from peerbot.settings import Settings, store_url
from peerbot.way_out import WayOut


class OutsideSettings(WayOut):
    """The few settings that it takes to read the journal, Slack and GitHub from outside, and to describe the app.

    Without its token, Slack or GitHub is not read.
    """

    slack_bot_token: SecretStr | None = None
    slack_api_url: str = Settings.model_fields["slack_api_url"].default
    github_token: SecretStr | None = None
    github_api_url: str = Settings.model_fields["github_api_url"].default
    gcs_bucket_name: str = Settings.model_fields["gcs_bucket_name"].default
    gcs_project_id: str | None = None
    peerbot_store: str | None = None
    peerbot_public_url: str | None = None

    @property
    def store_url(self) -> str:
        """The journal's URL."""
        return store_url(self.peerbot_store, self.gcs_bucket_name)


def load_outside(**values: Any) -> OutsideSettings:
    """Read `OutsideSettings` in the same way as `load`."""
    return read(OutsideSettings, values, Settings.model_fields)
