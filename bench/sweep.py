"""The cost of a dispatcher's sweep: it must grow with the unanswered messages, not with history.

The product's own reconciler sweeps in this process. Its journal is a directory with a number of answered and unanswered
conversations. Each unanswered one has a run that works on it: this process holds the run's locks, as a worker does. For
comparison, the report has the store's own time to list the markers.
"""

import asyncio
import resource
import shutil
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import aiohttp

from bench import seeds
from bench.figures import Section, Table, milliseconds
from peerbot.conversation.documents import Input
from peerbot.conversation.held import Bounds
from peerbot.conversation.keys import BRANCH_PREFIX, Conversation
from peerbot.conversation.policy import Admission
from peerbot.conversation.spent import Spent
from peerbot.dispatcher.answering import Answering
from peerbot.dispatcher.catchup import CatchUp
from peerbot.dispatcher.choices import Choices
from peerbot.dispatcher.places import Places
from peerbot.dispatcher.reconcile import Reconciler
from peerbot.dispatcher.record import Recorder
from peerbot.dispatcher.view import Views
from peerbot.github.client import GitHub
from peerbot.github.refs import Refs
from peerbot.github.repositories import Repositories
from peerbot.journal import paths
from peerbot.journal.budgets import Chains
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.runs.processes.folder import HeldFolder, RunFolder
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.slack.api import open_client
from peerbot.slack.events import Candidate, Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.thread.admission import Admissions
from peerbot.thread.afford import Afford
from peerbot.thread.controls import Controls
from peerbot.thread.inbox import Inbox
from peerbot.thread.present import Presenter, Style
from peerbot.thread.questions import Questions
from peerbot.thread.status import Status
from peerbot.thread.where import Where
from peerbot.turns.back import Back
from peerbot.turns.begin import Beginning
from peerbot.turns.choosable import Choosable
from peerbot.turns.given_up import GivingUp
from peerbot.turns.own import OwnRepositories

PAST, PRESENT = "C0PAST00001", "C0PRESENT01"
TIMES = 5


async def measure(directory: Path, *, quick: bool) -> Section:
    _allow_many_files()
    steps = [(10, 10), (100, 10), (100, 100)] if quick else _STEPS
    store, rows, held = directory / "journal", [], list[HeldFolder]()
    store.mkdir(parents=True)
    (directory / "runs").mkdir()
    past = present = 0
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack())
        github = await stack.enter_async_context(LocalGitHub(directory / "github"))
        for answered, unanswered in steps:
            new = list(seeds.conversations(slack.team, PRESENT, present, unanswered - present))
            seeds.answered(store, seeds.conversations(slack.team, PAST, past, answered - past))
            seeds.at_work(store, iter(new))
            held += [_held(directory / "runs", conversation) for conversation in new]
            past, present = answered, unanswered
            rows.append([f"{past:,}", f"{present:,}", *await _measured(directory, store, slack, github)])
    for folder in held:
        folder.release()
    shutil.rmtree(store)
    head = ["answered", "unanswered", "list of the markers, by the store", "listed and sorted by us", "first sweep",
            "sweep", "sweep, an unanswered one"]  # fmt: skip
    caption = f"On a journal in a directory (medians of {TIMES}; the first sweep, with empty caches, once):"
    return Section("The sweep, by what is in the journal", tables=[Table(caption, head, rows)])


_STEPS = [(10, 10), (1_000, 10), (100_000, 10), (100_000, 100), (100_000, 1_000)]


def _allow_many_files() -> None:
    """Allow enough open files: the locks of a run at work are two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))


def _held(directory: Path, conversation: Conversation) -> HeldFolder:
    held = RunFolder.create(directory, conversation, 1)
    assert held is not None
    return held


async def _measured(directory: Path, store: Path, slack: LocalSlack, github: LocalGitHub) -> list[str]:
    storage = await open_storage(store.as_uri())
    journal = Journal(storage)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(journal.close)
        client = await stack.enter_async_context(open_client(slack.api_url, slack.bot_token))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        runs = ProcessRuns(directory / "runs", command=["true"], sandbox=None)
        stack.push_async_callback(runs.close)
        forge = GitHub(session, token=github.token, api_url=github.api_url)
        tasks: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
            tasks.add(task := asyncio.create_task(work))
            return task

        outbound = Outbound(client)
        us = Us(slack.team, slack.bot_user)
        people, poster, chosen = People(outbound), Poster(outbound, us), ChosenSettings(journal)
        recorder = Recorder(journal, _Nothing(), _everybody)
        catch_up = CatchUp(journal=journal, recorder=recorder, runs=runs, outbound=outbound, us=us)
        inbox = Inbox(
            journal=journal,
            people=people,
            outbound=outbound,
            us=us,
            admission=Admissions(people, chosen, Admission(allow_private_channels=True)),
            overtaken=catch_up.overtaken,
            afford=Afford(Chains(journal), chosen.limits),
            chosen=chosen,
        )
        presenter = Presenter(
            journal=journal,
            poster=poster,
            repositories=Repositories(forge),
            people=people,
            style=Style(reactions=True, progress=True, limit_minutes=5),
            spent=_no_cost,
            status=Status(journal=journal, outbound=outbound),
            spawn=spawn,
        )
        where = Where(journal, poster, people)
        giving_up = GivingUp(journal=journal, github=forge)
        questions = Questions(journal=journal, poster=poster, inbox=inbox, everyone=False, spawn=spawn)
        controls = Controls(journal=journal, poster=poster, people=people)
        answering = Answering(journal, presenter, giving_up, controls, questions, "bench", spawn)
        repositories = Repositories(forge)
        back = Back(journal, forge, Refs(session, forge.api, forge.git_authorization), repositories)
        reconciler = Reconciler(
            journal=journal,
            runs=runs,
            views=Views(journal, runs, inbox, questions),
            presenter=presenter,
            beginning=Beginning(
                journal=journal,
                github=forge,
                own=OwnRepositories(journal=journal, github=forge, people=people, organization="peerbot-community"),
                chosen=chosen,
                places=Choosable(journal, forge, Bounds()),
                where=where,
                phrase=us.trigger_phrase,
                branch_prefix=BRANCH_PREFIX,
            ),
            where=where,
            giving_up=giving_up,
            answering=answering,
            choices=Choices(journal, runs, answering, controls, repositories, back),
            places=Places(runs, journal, 10),
            name="bench",
            worker_environment={},
            catch_up=catch_up,
            spawn=spawn,
            spawn_waiting=spawn,
        )

        async def sweep() -> None:
            await reconciler.sweep()
            while tasks:
                done = set(tasks)
                await asyncio.gather(*done)
                tasks.difference_update(done)

        async def listed() -> None:
            async for _ in storage.list(paths.PENDING):
                pass

        async def pending() -> None:
            await journal.pending()

        first = await _seconds(sweep)
        list_s, pending_s, sweep_s = [
            median([await _seconds(work) for _ in range(TIMES)]) for work in (listed, pending, sweep)
        ]
        found = await journal.pending()
        woken = [RunFolder(directory / "runs" / conversation.job_name(1)).wakes() for conversation in found]
        if min(woken) < TIMES + 1:  # a sweep wakes a run that has work to do
            raise RuntimeError("not every unanswered conversation was looked after")
        return [*map(milliseconds, (list_s, pending_s, first, sweep_s, sweep_s / len(found)))]


async def _seconds(work: Callable[[], Coroutine[object, object, None]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


async def _no_cost(_conversation: Conversation, _turn: int) -> list[Spent]:
    return []


async def _everybody(_item: Input) -> bool:
    return True


class _Nothing:
    """Fails if an input comes: nobody writes here."""

    def recorded(self, item: Input, new: bool) -> None:
        raise AssertionError(f"{item.id} was recorded (new: {new})")

    def not_recorded(self, candidate: Candidate) -> None:
        raise AssertionError(f"{candidate.input.id} was not recorded")
