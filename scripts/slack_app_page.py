"""Make `docs/slack-app.md` from the Slack app's manifest; `--check` only compares."""

import sys
from pathlib import Path

from peerbot.slack.manifest import APP_SCOPE, as_yaml, events_table, scopes_table

PAGE = Path(__file__).parents[1] / "docs" / "slack-app.md"
TEXT = f"""\
# Create the Slack app

PeerBot is an app of your own in your workspace. It takes ten minutes and somebody who may install apps there. This page
is made from `src/peerbot/slack/manifest.py` (`make docs`).

1. Open <https://api.slack.com/apps>, choose **Create New App**, then **From a manifest**, and pick your workspace.
2. Choose **YAML** and put this in the place of what is there (`peerbot manifest` prints the same); go on to **Create**:

   ```yaml
{{manifest}}
   ```

3. **Basic Information → App-Level Tokens → Generate Token and Scopes**: give it a name, **Add Scope** `{APP_SCOPE}`,
   **Generate**. The token begins with `xapp-`: it is `SLACK_APP_TOKEN`. (A manifest can't make this one.)
4. **Install App → Install to Workspace → Allow**. The **Bot User OAuth Token** begins with `xoxb-`: it is
   `SLACK_BOT_TOKEN`.
5. In Slack, invite the bot to each channel where it is to work: `/invite @peerbotai`.
6. See whether all is there: `peerbot doctor` ([doctor.md](doctor.md)). Then start the dispatcher, and say
   `@peerbotai hello`.

Keep both tokens where you keep passwords. Who has them can read what the bot can read, and write as the bot.

To rename the bot, change `name` and `display_name`. People can mention it by any name; `SLACK_TRIGGER_PHRASE` is a
phrase that works like a mention.

## An app that is there already

Open it at <https://api.slack.com/apps>, put the manifest in the place of the one under **App Manifest**, save, and
choose **Install App → Reinstall to Workspace**. Without that the token keeps the scopes that it had. `peerbot doctor`
names the scopes that are missing; which events an app is subscribed to can't be seen with its token.

## Scopes

What the bot token may do, and why. Nothing here lets it into a channel: it hears and writes only where it was invited.

{{scopes}}
The app-level token has one: `{APP_SCOPE}` opens the connections of Socket Mode.

## Events

What Slack tells the bot. Leave one out together with its scope.

{{events}}"""


def main() -> int:
    """Write or compare the page; returns the exit code."""
    indented = "".join(f"   {line}\n" for line in as_yaml().splitlines()).rstrip("\n")
    page = TEXT.format(manifest=indented, scopes=scopes_table(), events=events_table())
    if "--check" not in sys.argv:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("docs/slack-app.md is not what the manifest says: run `make docs`.", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
