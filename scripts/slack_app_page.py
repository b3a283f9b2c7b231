"""Make `docs/slack-app.md` from the Slack app's manifest. `--check` only compares."""

import sys
from pathlib import Path

from peerbot.slack.manifest import APP_SCOPE, as_yaml, events_table, scopes_table, sign_in_yaml

PAGE = Path(__file__).parents[1] / "docs" / "slack-app.md"
TEXT = f"""\
# Create the Slack app

This page shows how to make the Slack app that PeerBot uses. The app belongs to your own workspace. Making it takes ten
minutes, and you need the right to install apps there. (This page is made from `src/peerbot/slack/manifest.py` by
`make docs`.)

1. Open <https://api.slack.com/apps>, choose **Create New App**, then **From a manifest**, and pick your workspace.
2. Choose **YAML** and replace the text with this manifest (`peerbot manifest` prints the same). Then go on to
   **Create**:

   ```yaml
{{manifest}}
   ```

3. **Basic Information → App-Level Tokens → Generate Token and Scopes**: give the token a name, **Add Scope**
   `{APP_SCOPE}`, **Generate**. The token begins with `xapp-`. It is your `SLACK_APP_TOKEN`. (A manifest can't make
   this token.)
4. **Install App → Install to Workspace → Allow**. The **Bot User OAuth Token** begins with `xoxb-`. It is your
   `SLACK_BOT_TOKEN`.
5. In Slack, invite the bot to each channel in which it is to work: `/invite @peerbotai`.
6. Check that everything is there with `peerbot doctor` ([doctor.md](doctor.md)). Then start the dispatcher, and say
   `@peerbotai hello`.

Keep both tokens as safe as passwords. Anybody who has them can read everything that the bot can read, and write as the
bot.

To rename the bot, change `name` and `display_name`. People can mention the bot by any name. The phrase in
`SLACK_TRIGGER_PHRASE` works like a mention.

## If you have an app already

Open it at <https://api.slack.com/apps>, replace the manifest under **App Manifest**, save, and choose **Install App →
Reinstall to Workspace**. If you do not reinstall, the token keeps its old scopes. `peerbot doctor` names the scopes
that are missing. It can't see which events the app is subscribed to.

## Session pages

[Session pages](sessions.md) need a few lines more: people sign in to them with Slack. With `PEERBOT_PUBLIC_URL` set,
`peerbot manifest` prints them, too:

```yaml
{{sign_in}}
```

The redirect URL has to begin with `https://`. It has to be reachable for your people's browsers, and not for Slack.
**Do not switch on PKCE** in the app's settings: the app would become a public client, which can't be undone, and
PeerBot has a secret instead. **Basic Information → App Credentials** shows the Client ID and the Client Secret: they
are your `SLACK_CLIENT_ID` and `SLACK_CLIENT_SECRET`.

## Scopes

The scopes are the bot token's rights. No scope lets the bot into a channel: it hears and writes only in channels
to which it was invited.

{{scopes}}
The app-level token has one scope: `{APP_SCOPE}` opens the connections of Socket Mode.

## Events

The events are the messages that Slack sends to the bot. If you leave out a scope, leave out its event, too.

{{events}}"""


def main() -> int:
    """Write the page, or compare it; returns the exit code."""
    indented = "".join(f"   {line}\n" for line in as_yaml().splitlines()).rstrip("\n")
    page = TEXT.format(
        manifest=indented,
        sign_in=sign_in_yaml("https://peerbot.example.com").rstrip("\n"),
        scopes=scopes_table(),
        events=events_table(),
    )
    if "--check" not in sys.argv:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        print("docs/slack-app.md does not match the manifest: run `make docs`.", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
