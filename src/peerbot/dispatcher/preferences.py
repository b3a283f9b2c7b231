"""Settings that people change in a form: a channel's by its members, one's own by oneself.

A form that is submitted is checked, stored and only then acknowledged. Each change is a new document with everything
that holds (`settings/…/{seq}.json`). Two people at once: each keeps what only they changed, the later one holds where
both changed the same, and is told.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import now
from peerbot.conversation.held import Bounds, Kind, most
from peerbot.conversation.limits import Limit, Scope
from peerbot.errors import PeerBotError, Unavailable
from peerbot.journal import choices
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack import settings_words as words
from peerbot.slack.interactions import Reply, ViewAction
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.screens import Screens
from peerbot.slack.settings_form import Errors, Filled, Form, form, read_form, said_alone
from peerbot.tasks import Spawn
from peerbot.thread.admission import Admissions
from peerbot.turns.choosable import Choosable

log = logger(__name__)

OPEN_WITHIN = 1.0
"""A form opens within three seconds of the click, or never. If it takes longer to fill it in, it is filled in later."""

CHECK_WITHIN = 1.4
"""How long the checks of a submitted form may take: Slack waits three seconds for the ack, and we write before it."""

_TRIES = 20


@dataclass(slots=True)
class Preferences:
    """Opens forms and takes them. `operators`: the operator's budgets; `team`: our workspace."""

    journal: Journal
    chosen: ChosenSettings
    places: Choosable
    admission: Admissions
    people: People
    poster: Poster
    screens: Screens
    operators: tuple[Limit, ...]
    team: str
    spawn: Spawn

    @property
    def bounds(self) -> Bounds:
        """What people may choose."""
        return self.places.bounds

    async def open(self, trigger: str, user: str, kind: Kind, of: str, *, told_in: str) -> None:
        """Open the form for a channel's settings or one's own. If that fails, the person is told in `told_in`."""
        filling = asyncio.create_task(self._form(user, kind, of))
        try:
            in_time, _ = await asyncio.wait([filling], timeout=OPEN_WITHIN)
            view = await filling if in_time else said_alone(words.WAIT)
            identity = await self.screens.open(trigger, view)
            if not in_time:
                await self.screens.replace(identity, await filling)
        except PeerBotError as error:
            log.warning("settings_not_opened", reason=str(error))
            if told_in:
                await self._quietly(told_in, user, words.NOT_OPENED)
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    async def submitted(self, action: ViewAction) -> Reply:
        """Check and store a submitted form. Raises what the journal raises: then there is no ack."""
        filled, errors = read_form(action)
        if filled is None or (filled.kind == "user" and filled.of != action.user):
            return Reply.view(said_alone(words.NOT_OURS))
        try:
            async with asyncio.timeout(CHECK_WITHIN):
                if refusal := await self._refusal(action.user, filled.kind, filled.of):
                    return Reply.view(said_alone(refusal))
                errors |= await self._problems(action.user, filled) if not errors else {}
        except (TimeoutError, Unavailable):
            field = next(iter(filled.values), "instructions").replace("repository", "repositories")
            errors = {field: words.NOT_SAVED_NOW}
        if errors:
            return Reply.errors(errors)
        await self._store(action.user, filled)
        return Reply({})

    async def _form(self, user: str, kind: Kind, of: str) -> dict[str, Any]:
        if refusal := await self._refusal(user, kind, of):
            return said_alone(refusal)
        seq, choice = await choices.newest(self.journal, kind, f"{self.team}-{of}")
        last = words.last_changed(await self.people.name(choice.chosen_by), choice) if choice else ""
        scope = Scope.CHANNEL if kind == "channel" else Scope.PERSON
        shown = choice or Choice(chosen_by=user)
        return form(Form(kind, of, seq, shown, self.bounds, most(self.operators, scope), last))

    async def _refusal(self, user: str, kind: Kind, of: str) -> str:
        channel = of if kind == "channel" else None
        refusal = await self.admission.refusal(user, self.team, channel)
        return words.may_not_set(refusal) if refusal else ""

    async def _problems(self, user: str, filled: Filled) -> Errors:
        """Find what can't be set, by field. Raises what GitHub and the journal raise."""
        values, errors = filled.values, Errors()
        if values.get("base") and not values.get("repository"):
            errors["base"] = words.BASE_ALONE
        names = [name for name in (values.get("repository"), *values.get("others", ())) if name]
        for name in names:
            if problem := await self.places.problem(name, self.team, user if filled.kind == "user" else ""):
                errors["repositories"] = problem
                break
        if not errors and names and values.get("base"):
            missing = [await self.places.no_base(name, values["base"]) for name in names]
            if problem := next(filter(None, missing), ""):
                errors["base"] = problem
        if values.get("model") and values["model"] not in self.bounds.models:
            errors["model"] = "Your PeerBot operator no longer allows this model (PEERBOT_MODELS). Choose another one."
        highest = most(self.operators, Scope.CHANNEL if filled.kind == "channel" else Scope.PERSON)
        if values.get("budget_usd") and highest is not None and values["budget_usd"] > highest:
            errors["budget_usd"] = words.too_high(highest)
        if askers := values.get("askers"):
            errors |= await self._askers(user, filled.of, askers)
        return errors

    async def _askers(self, user: str, channel: str, askers: list[str]) -> Errors:
        if user not in askers:
            return {"askers": words.YOU_LEAVE_YOURSELF_OUT}
        for asker in askers:
            if await self.admission.rules_refuse(asker, self.team, channel):
                name = await self.people.name(asker)
                return {"askers": f"{name} may not use the bot here, whatever this channel chooses. Leave them out."}
        return {}

    async def _store(self, user: str, filled: Filled) -> None:
        """Store what the person changed, on top of what holds now; then tell people, after the ack."""
        identity = f"{self.team}-{filled.of}"
        nobody = Choice(chosen_by=user)
        seen = await choices.numbered(self.journal, filled.kind, identity, filled.seq) or nobody
        theirs = {name: value for name, value in filled.values.items() if value != getattr(seen, name)}
        for _ in range(_TRIES):
            seq, there = await choices.newest(self.journal, filled.kind, identity)
            before = there or nobody
            new = {name: value for name, value in theirs.items() if value != getattr(before, name)}
            if not new:
                self.spawn(self._tell_nothing(user, filled))
                return
            fresh = Choice(chosen_by=user, chosen_at=now())
            kept = {name: getattr(before, name) for name in words.FIELDS}
            more = {} if "budget_usd" in new else {name: getattr(before, name) for name in ("more_usd", "more_in")}
            after = fresh.model_copy(update={**kept, **more, **new})
            if await choices.choose_after(self.journal, filled.kind, identity, seq, after):
                self.chosen.changed(filled.kind, identity)
                log.info("settings_changed", kind=filled.kind, of=filled.of, seq=seq + 1, fields=sorted(new))
                self.spawn(self._tell(user, filled, seen, before, after, theirs))
                return
        raise Unavailable("Many people change these settings at once. Try again.")

    async def _tell_nothing(self, user: str, filled: Filled) -> None:
        await self._quietly(self._place(user, filled), user, words.NOTHING_CHANGED)

    async def _tell(
        self, user: str, filled: Filled, seen: Choice, before: Choice, after: Choice, theirs: dict[str, Any]
    ) -> None:
        """Tell the channel who changed what; the person, too, if somebody else changed something meanwhile."""
        names = await self.people.names([*before.askers, *after.askers, user, before.chosen_by])
        said = words.changed(names.get(user, user), filled.kind, before, after, names)
        place = self._place(user, filled)
        meanwhile = [name for name in words.FIELDS if getattr(before, name) != getattr(seen, name)]
        kept, over = [f for f in meanwhile if f not in theirs], [f for f in meanwhile if f in theirs]
        mine = words.changed_meanwhile(names.get(before.chosen_by, before.chosen_by), kept, over)
        try:
            await self.poster.announce(place, said)
        except PeerBotError as error:
            log.warning("settings_not_told", channel=place, reason=str(error))
        if mine:
            await self._quietly(place, user, mine)

    def _place(self, user: str, filled: Filled) -> str:
        """Where the person is told: in the channel, or, of their own settings, in the direct message with us."""
        return filled.of if filled.kind == "channel" else user

    async def _quietly(self, place: str, user: str, sentence: str) -> None:
        try:
            if place == user:
                await self.poster.announce(place, sentence)
            else:
                await self.poster.whisper(place, user, sentence)
        except PeerBotError as error:
            log.warning("settings_not_told", channel=place, reason=str(error))
