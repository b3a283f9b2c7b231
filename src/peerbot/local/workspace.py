"""The workspace on the chat page: people to write as, several kinds of channels, and what to try."""

from peerbot.local.slack import LocalSlack, shapes
from peerbot.local.slack.shapes import BOT_USER, PERSON, Object, UserKind
from peerbot.local.world import World

ADMIN, GUEST = "U0GRACE0001", "U0GUEST0001"
_PEOPLE: tuple[tuple[str, str, UserKind], ...] = (
    (ADMIN, "Grace Hopper", "admin"),
    (GUEST, "Charles Babbage", "guest"),
)
_ALL = (PERSON, BOT_USER, ADMIN, GUEST)


def furnish(slack: LocalSlack) -> None:
    """Give the workspace its people and channels, if it does not have them yet."""
    if slack.page.knows(ADMIN):
        return
    for user, name, kind in _PEOPLE:
        slack.add_user(user, name, kind=kind)
    slack.add_channel(slack.general, "general", members=_ALL)
    slack.add_channel("C0ENGINEER1", "engineering", members=(PERSON, BOT_USER, ADMIN))
    slack.add_channel("C0PRIVATE01", "founders", kind="private", members=(PERSON, BOT_USER, ADMIN))
    slack.add_channel("C0SHARED001", "with-acme", members=(PERSON, BOT_USER, ADMIN), shared=True)
    for user, direct in ((ADMIN, "D0GRACE0001"), (GUEST, "D0GUEST0001")):
        slack.add_channel(direct, "", kind="im", members=(user, shapes.BOT_USER))


def about(world: World) -> Object:
    """What the page says of this world: which model answers, what it works on, and what to try first."""
    notes = []
    if world.copy:
        notes.append(f"#general works on {world.copy.full_name}, a copy of {world.copy.origin}. Yours is not touched.")
    if not world.sandboxed:
        notes.append(
            "Sandbox: none. The agent may do everything that your user may do. "
            "On Linux, “apt-get install bubblewrap” gives it one."
        )
    if world.model is None:
        model = {"heading": "Claude answers", "words": "With your ANTHROPIC_API_KEY."}
        suggestions = [
            ("Look around", "what is in this repository?"),
            ("Write something", "write a small Python script that prints the first ten primes, and run it"),
            ("Be asked first", "plan a command line tool for this repository, and ask me before you write it"),
        ]
    else:
        model = {
            "heading": "The demo model answers",
            "words": "It plays fixed pieces, and Claude Code does the work for real. To talk to Claude, end this with "
            "Ctrl-C, set ANTHROPIC_API_KEY, and start it again.",
        }
        suggestions = [
            ("Write a script", "create a simple Python script that prints the first ten primes, and run it"),
            ("Fix a test", "fix the failing test"),
            ("Be asked first", "ask me which colour"),
        ]
    return {
        "model": model,
        "notes": notes,
        "github": {"address": world.github.url, "key": world.github.door_secret},
        "suggestions": [{"heading": title, "ask": text} for title, text in suggestions],
    }
