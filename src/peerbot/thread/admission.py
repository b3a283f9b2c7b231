"""Who may use the bot where: the operator's rules, and the people whom a channel's own settings name."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from peerbot.conversation.notes import Refusal
from peerbot.conversation.policy import Admission, Channel, admit
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.slack.people import People


@dataclass(frozen=True, slots=True)
class Admissions:
    """Looks people, channels and settings up, and decides. It holds nothing."""

    people: People
    chosen: ChosenSettings
    rules: Admission
    apps: frozenset[str] = frozenset()  # ids of bots that may give work

    async def refusal(self, user: str, team: str, channel: str | None) -> Refusal | None:
        """Say why `user` may not use the bot in a channel (None: anywhere); None if they may.

        It also refuses a person or a channel about which Slack tells us nothing. Raises what the journal raises.
        """
        choice = await self.chosen.channel(team, channel) if channel else None
        return await self.rules_refuse(user, team, channel, askers=choice.askers if choice else ())

    async def rules_refuse(
        self, user: str, team: str, channel: str | None, *, askers: Collection[str] = ()
    ) -> Refusal | None:
        """Say the same by the operator's rules, and by `askers`, whatever the channel's settings are."""
        person = await self.people.person(user, team, groups=self.rules.groups)
        admission = self.rules if channel else replace(self.rules, channels=frozenset())
        if user in self.apps and person:  # the operator lists apps and people apart, and a channel names people alone
            person, admission, askers = replace(person, is_bot=False), replace(admission, users=frozenset()), ()
        return admit(
            person=person,
            channel=await self.people.channel(channel) if channel else Channel("", "public"),
            admission=admission,
            askers=askers,
        )
