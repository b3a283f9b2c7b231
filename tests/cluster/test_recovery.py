"""A cluster is lost and its bucket was copied: another one, installed on the copy, goes on with every conversation.

Slack and GitHub keep what they know, as after a real loss. Its clusters come one after the other, so these tests have a
process, and an isolation, of their own (`run.py`).
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp
import isolation
import pytest
from control_plane import ControlPlane
from gcs_server import make_bucket
from node import Node
from product import BUCKET, Product, eventually, world
from yarl import URL

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.slack.narrate import answered_turn

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

COPY = "peerbot-conversations-backup"  # the guide's
SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
MISSED = "@peerbotai what is in this repository?"


@contextmanager
def cluster(directory: Path, name: str) -> Iterator[ControlPlane]:
    """A cluster of one node; at the end all of it fails at once, as when its machines lose their power."""
    if not isolation.inside():
        why = isolation.why_not() or "it was not started by `make cluster-test`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"There is no node here: {why}.")
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(directory / name, isolation.ADDRESS))
        node = stack.enter_context(Node(plane, name))
        yield plane
        node.kubelet.kill()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if "/kubepods/" in (process / "cgroup").read_text():
                    os.kill(int(process.name), signal.SIGKILL)


async def rsync(google: str, source: str, target: str) -> None:
    """Do as `gsutil -m rsync -r -d gs://SOURCE gs://TARGET`: copy changed objects, remove missing ones."""
    async with aiohttp.ClientSession() as session:
        there = {bucket: await _objects(session, google, bucket) for bucket in (source, target)}
        for name in there[target].keys() - there[source].keys():
            await _ask(session, "DELETE", _object(google, target, name))
        for name, digest in there[source].items():
            if there[target].get(name) != digest:
                to = f"rewriteTo/b/{target}/o/{quote(name, safe='')}"
                await _ask(session, "POST", f"{_object(google, source, name)}/{to}")


async def _objects(session: aiohttp.ClientSession, google: str, bucket: str) -> dict[str, str]:
    """MD5 hashes by name."""
    found: dict[str, str] = {}
    page = ""
    while True:
        parameters = {"pageToken": page} if page else {}
        async with session.get(f"{google}/storage/v1/b/{bucket}/o", params=parameters) as reply:
            listed = json.loads(await reply.read())
        found |= {item["name"]: item["md5Hash"] for item in listed.get("items", [])}
        if not (page := listed.get("nextPageToken") or ""):
            return found


def _object(google: str, bucket: str, name: str) -> str:
    return f"{google}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


async def _ask(session: aiohttp.ClientSession, method: str, url: str) -> None:
    async with session.request(method, URL(url, encoded=True)) as reply:
        assert reply.status < 300, f"{method} {url}: {await reply.text()}"


def answers(product: Product, conversation: Conversation) -> int:
    """How many answers there are in a thread."""
    thread = product.slack.thread(conversation.channel, conversation.thread_ts)
    return len([message for message in thread if answered_turn(message)])


async def test_conversations_go_on_in_another_cluster_from_a_copy_of_the_bucket(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = stack.enter_context(ExitStack())
        plane = first.enter_context(cluster(tmp_path, "first"))
        product = await stack.enter_async_context(world(plane, tmp_path))
        make_bucket(product.google, COPY)
        await asyncio.to_thread(product.install, *product.secrets())
        answered, identity = await product.say(SCRIPT)
        turn = await product.answer(answered, identity)
        assert turn.pull_request
        old = await product.slack.remember(product.slack.person, product.slack.general, MISSED, seconds_ago=3 * 3600)

        under_way = await product.say("take 60 seconds")
        await eventually(lambda: product.runs_of(under_way[0], "Running") and "take 60" in str(product.model.seen[-1]))
        await rsync(product.google, BUCKET, COPY)
        await asyncio.to_thread(first.close)
        missed = await product.say("what is in this repository?")

        product.plane = stack.enter_context(cluster(tmp_path, "second"))
        await asyncio.to_thread(product.install, *product.secrets(), "--set", f"config.gcsBucketName={COPY}")
        await product.journal.close()
        product.journal = Journal(await open_storage(f"gs://{COPY}"))
        stack.push_async_callback(product.journal.close)
        await goes_on(product, answered, turn)
        assert (await product.answer(*missed)).status == "done", "it was said while nothing ran"
        again = await product.answer(*under_way)
        assert (again.status, again.run) == ("done", 2), "what was under way goes on in another run"
        assert [answers(product, thread) for thread in (answered, missed[0], under_way[0])] == [2, 1, 1]
        assert not [m for m in product.slack.thread(product.slack.general, old) if m["user"] == product.slack.bot_user]
        verify = ("exec", "deployment/peerbot-dispatcher", "-n", "peerbot", "--", "peerbot", "verify", "--json")
        told = json.loads(await asyncio.to_thread(product.kubectl, *verify))
        assert told["findings"] == []


async def goes_on(product: Product, conversation: Conversation, before: Turn) -> None:
    """A follow-up knows the time before: the session, the repository, the branch."""
    after = await product.answer(*await product.say("what did you change?", conversation))
    assert after.status == "done", after.text
    assert before.session
    assert after.session
    assert (after.session.id, after.repository, after.branch) == (before.session.id, before.repository, before.branch)
