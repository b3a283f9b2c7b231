"""Who may see a session: people who signed in with Slack, and whom Slack lets read the channel. Nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from session_viewers import viewing, with_page
from system import System

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.web.browsers import Browser, Cookies

pytestmark = pytest.mark.asyncio(loop_scope="module")

Claims = dict[str, Any]
BOB, GUEST, STRANGER, GONE, BOSS = "U0BOB000001", "U0GUEST0001", "U0ALIEN0001", "U0GONE00001", "U0BOSS00001"
PRIVATE, OURS = "C0PRIVATE01", "C0GENERAL01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("sign-in")) as system:
        with_page(system).settings["PEERBOT_SESSION_OPERATORS"] = BOSS
        slack = system.slack
        slack.add_user(BOB, "Bob")
        slack.add_user(BOSS, "The boss")
        slack.add_user(GUEST, "Gus", kind="guest")
        slack.add_user(STRANGER, "Stranger", kind="external")
        slack.add_user(GONE, "Gone", kind="deactivated")
        slack.add_channel(PRIVATE, "secret", kind="private", members=[slack.person, slack.bot_user, GUEST])
        await system.start()
        yield system


async def planted(system: System, channel: str) -> Conversation:
    """A conversation in the journal, as another replica recorded it."""
    ts = f"{time.time():.6f}"
    item = Input(
        team=system.slack.team, channel=channel, thread_ts=ts, ts=ts, user=system.slack.person, text="hi", event_id="E1"
    )
    await system.journal.record(item)
    return item.conversation


async def test_one_sees_it_after_one_has_signed_in(system: System) -> None:
    conversation = await planted(system, OURS)
    async with viewing(system) as viewer:
        status, body = await viewer.get(f"/sessions/{conversation}/overview")
        assert (status, body["error"]) == (401, "sign_in")
        shell = await viewer.get(f"/sessions/{conversation}")
        assert shell[0] == 200
        assert shell == await viewer.get(f"/sessions/{conversation.team}/C0OTHER/1.000000"), "the shell holds nothing"
        assert await viewer.sign_in(BOB, f"/sessions/{conversation}") == (303, f"/sessions/{conversation}")
        status, body = await viewer.get(f"/sessions/{conversation}/overview")
        assert status == 200
        assert body["turns"][0]["inputs"][0]["text"] == "hi"
        assert (await viewer.get(f"/sessions/{conversation}/me"))[1]["name"] == "Bob"
        async with viewer.http.post(f"{viewer.base}/sessions/sign-out") as reply:
            assert reply.status == 204
        assert await viewer.sees(conversation) == 401


async def test_whoever_may_read_the_channel_sees_it_and_nobody_else(system: System) -> None:
    public, private = await planted(system, OURS), await planted(system, PRIVATE)
    direct = await planted(system, system.slack.direct)
    unknown = Conversation(system.slack.team, OURS, "1.000000")
    expected = {
        system.slack.person: (200, 200, 200),
        BOB: (200, 404, 404),
        BOSS: (200, 200, 200),
        GUEST: (404, 404, 404),
        STRANGER: (404, 404, 404),
        GONE: (404, 404, 404),
    }
    refusals = set()
    for user, statuses in expected.items():
        async with viewing(system, None) as viewer:
            status, _ = await viewer.sign_in(user)
            if user == STRANGER:
                assert status == 403, "of another workspace"
                continue
            assert status == 303
            found = tuple([await viewer.sees(conversation) for conversation in (public, private, direct)])
            assert found == statuses, user
            for conversation in (private, unknown):
                status, body = await viewer.get(f"/sessions/{conversation}/overview")
                refusals |= {str(body)} if status == 404 else set()
    assert len(refusals) == 1, "unknown and forbidden look the same"


async def test_every_address_of_a_planted_session_refuses_whoever_may_not_read_it(system: System) -> None:
    private = await planted(system, PRIVATE)
    below = ("overview", "me", "events", "turns/1/steps", "turns/1/steps/1.1.0.0", "turns/1/transcript.jsonl",
             "turns/1/session.zip")  # fmt: skip
    async with viewing(system, BOB) as bob, viewing(system) as nobody:
        for path in below:
            assert (await bob.get(f"/sessions/{private}/{path}"))[0] == 404, path
            assert (await nobody.get(f"/sessions/{private}/{path}"))[0] == 401, path
        other = Conversation("T0OTHER0001", OURS, private.thread_ts)
        assert await bob.sees(other) == 404


async def test_slack_that_does_not_answer_lets_nobody_in(tmp_path: Path) -> None:
    from peerbot.local.slack import Fault

    async with System(tmp_path) as system:
        with_page(system)
        await system.start()
        conversation = await planted(system, OURS)
        async with viewing(system, system.slack.person) as viewer:
            system.slack.faults.add("conversations.info", Fault(error="internal_error"), times=1)
            assert await viewer.sees(conversation) == 404
            assert await viewer.sees(conversation) == 200


def _of(system: System, **changes: Any) -> Callable[[Claims], str]:
    def sign(claims: Claims) -> str:
        return system.slack.page.openid.signed({k: v for k, v in (claims | changes).items() if v is not None})

    return sign


def _signed_otherwise(algorithm: str, key: Any, kid: str | None) -> Callable[[Claims], str]:
    return lambda claims: jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


async def test_a_token_that_proves_nothing_signs_nobody_in(system: System) -> None:
    openid = system.slack.page.openid
    kid = jwt.get_unverified_header(openid.signed({}))["kid"]
    another = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    past = int(time.time()) - 3600
    forged: dict[str, Callable[[Claims], str]] = {
        "aud": _of(system, aud="1.2"),
        "auds": _of(system, aud=[openid.client_id, "1.2"]),
        "no aud": _of(system, aud=None),
        "iss": _of(system, iss="https://slack.com"),
        "expired": _of(system, exp=past, iat=past - 300),
        "no exp": _of(system, exp=None),
        "nonce": _of(system, nonce="another"),
        "empty nonce": _of(system, nonce=""),
        "no nonce": _of(system, nonce=None),
        "no user": _of(system, **{"https://slack.com/user_id": None}),
        "team": _of(system, **{"https://slack.com/team_id": "T0OTHER0001"}),
        "none": _signed_otherwise("none", None, kid),
        "HS256 by the secret": _signed_otherwise("HS256", openid.client_secret * 2, kid),
        "another key by Slack's name": _signed_otherwise("RS256", another, kid),
        "an unknown key": _signed_otherwise("RS256", another, "other"),
        "no key": _signed_otherwise("RS256", another, None),
        "garbage": lambda _: "a.b.c",
    }
    try:
        for name, sign in forged.items():
            openid.sign = sign
            async with viewing(system) as viewer:
                status, said = await viewer.sign_in(BOB)
                assert status == 403, name
                assert "location" not in said.lower(), name
                assert (await viewer.get(f"/sessions/{await planted(system, OURS)}/overview"))[0] == 401, name
    finally:
        openid.sign = openid.signed
    async with viewing(system, BOB):
        pass


async def test_a_sign_in_belongs_to_the_browser_that_began_it_and_works_once(system: System) -> None:
    async with viewing(system) as mine, viewing(system) as other:
        asked = await mine.begin()
        code = system.slack.page.openid.approve(BOB, asked["redirect_uri"], asked["nonce"])
        assert (await other.back(asked, code=code, state=asked["state"]))[0] == 403, "no cookie"
        await other.begin()
        assert (await other.back(asked, code=code, state=asked["state"]))[0] == 403, "another's state"
        assert (await mine.back(asked, error="access_denied", state=asked["state"]))[0] == 403
        assert (await mine.back(asked, code=code, state=asked["state"]))[0] == 403, "the sign-in is over"
        asked = await mine.begin()
        code = system.slack.page.openid.approve(BOB, asked["redirect_uri"], asked["nonce"])
        assert (await mine.back(asked, code=code, state=asked["state"]))[0] == 303
        assert (await mine.back(asked, code=code, state=asked["state"]))[0] == 403, "the code is used"


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/sessions//evil.example", "/sessions/../x", "/\\evil", "/x"]
)
async def test_a_sign_in_leads_back_to_a_page_of_ours_alone(system: System, to: str) -> None:
    async with viewing(system) as viewer:
        assert await viewer.sign_in(BOB, to) == (303, "/sessions/")


async def test_foreign_pages_and_names_are_refused(system: System) -> None:
    conversation = await planted(system, OURS)
    async with viewing(system, BOB) as viewer:
        path = f"/sessions/{conversation}/overview"
        assert (await viewer.get(path, Host="rebound.example"))[0] == 421
        assert (await viewer.get(path, Origin="http://evil.example"))[0] == 403
        assert (await viewer.get(path, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
        async with viewer.http.post(
            f"{viewer.base}/sessions/sign-out", headers={"Origin": "http://evil.example"}
        ) as reply:
            assert reply.status == 403
        assert await viewer.sees(conversation) == 200
        assert (await viewer.get("/health", Host="10.0.0.7:3000"))[0] == 200, "probes come by any name"


async def test_a_cookie_that_was_changed_is_nobodys(system: System) -> None:
    conversation = await planted(system, OURS)
    async with viewing(system, BOB) as viewer:
        name, value = next((c.key, c.value) for c in viewer.http.cookie_jar if "session" in c.key)
        body, _, seal = value.partition(".")
        for forged in (body, f"{body}.", f"{body}.{seal[:-2]}AA", f"{body[:-4]}AAAA.{seal}", f".{seal}", "x" * 3000):
            async with aiohttp.ClientSession(cookies={name: forged}) as http:
                reply = await http.get(f"{viewer.base}/sessions/{conversation}/overview")
                assert reply.status == 401, forged[:40]


async def test_a_stream_ends_with_its_sign_in(system: System) -> None:
    conversation, given = await planted(system, OURS), web.Response()
    soon = Browser(until=time.time() + 5, team=system.slack.team, user=BOB)
    Cookies(system.slack.page.openid.client_secret, secure=False).put(given, soon)
    (cookie,) = given.cookies.values()
    address = f"http://127.0.0.1:{await system.port()}/sessions/{conversation}"
    async with aiohttp.ClientSession(cookies={cookie.key: cookie.value}) as http, asyncio.timeout(90):
        async with http.get(f"{address}/events") as reply:
            assert reply.status == 200
            assert b"event: over\n" in await reply.read()
        async with http.get(f"{address}/events") as reply:
            assert reply.status == 401


async def test_a_new_client_secret_signs_everybody_out(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        with_page(system)
        first = await system.start()
        conversation = await planted(system, OURS)
        async with viewing(system, system.slack.person) as viewer:
            assert await viewer.sees(conversation) == 200
            await system.end(first)
            await system.start()
            viewer.base = f"http://127.0.0.1:{await system.port()}"
            assert await viewer.sees(conversation) == 200, "any replica takes it"
            system.slack.page.openid.client_secret = "another"
            await system.start(SLACK_CLIENT_SECRET="another")
            viewer.base = f"http://127.0.0.1:{await system.port()}"
            assert await viewer.sees(conversation) == 401
