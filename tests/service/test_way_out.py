"""A dispatcher that leaves its network through a proxy alone, and trusts the company's own certificate authority."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from child_process import started
from s3_server import make_s3_bucket, s3_environment, s3_server
from system import System, eventually
from way_out_world import WayOut, way_out

HOSTS = ("slack.test", "forge.test", "model.test", "store.test")
BUCKET = "conversations"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        make_s3_bucket(url, BUCKET)
        yield url


@asynccontextmanager
async def behind(directory: Path, s3: str) -> AsyncIterator[tuple[System, WayOut, dict[str, str]]]:
    """Put Slack, GitHub, the model and the store behind the proxy; yields the settings that name them, too."""
    async with System(directory) as system, way_out(directory) as out:
        near = (system.slack.api_url, system.github.api_url, system.model.url, s3)
        slack, github, model, store = [await out.put(host, url) for host, url in zip(HOSTS, near, strict=True)]
        yield (
            system,
            out,
            {
                "SLACK_API_URL": slack,
                "GITHUB_API_URL": github,
                "ANTHROPIC_BASE_URL": model,
                "PEERBOT_STORE": f"s3://{BUCKET}",
                **s3_environment(store),
                "HTTPS_PROXY": out.url,
                "PEERBOT_CA_FILE": str(out.authority.file),
            },
        )


async def test_everything_leaves_through_the_proxy_and_is_believed_by_the_companys_authority(
    tmp_path: Path, s3: str
) -> None:
    async with behind(tmp_path, s3) as (system, out, settings):
        await system.start(**settings)
        conversation, _ = await system.say("run ```\necho done > done.txt\n```")
        await eventually(lambda: system.answers(conversation), 90)
        ((answer, _),) = system.answers(conversation)

        assert "pull" in str(answer)  # git and GitHub's API, too
        assert {host: host in out.opened for host in HOSTS} == dict.fromkeys(HOSTS, True)
        assert out.refused == []  # the gateway of the worker among them: it is on this machine
        assert system.logged("run_died") == []


async def test_a_host_that_is_excepted_is_reached_without_the_proxy(tmp_path: Path, s3: str) -> None:
    """Its name can't be looked up here, so that it is not reached at all."""
    async with behind(tmp_path, s3) as (system, out, settings):
        dispatcher = await system.launch(**settings, NO_PROXY="example.com, .test")
        assert await asyncio.wait_for(dispatcher.wait(), 60) == 1
        assert out.opened == []
        assert "did not answer" in system.log_file.read_text()


@pytest.mark.parametrize("content", ["", "no certificate", None])
async def test_authorities_that_can_not_be_read_are_named_at_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "own.crt"
    if content is not None:
        file.write_text(content)
    async with System(tmp_path) as system:
        dispatcher = await system.launch(PEERBOT_CA_FILE=str(file))
        assert await asyncio.wait_for(dispatcher.wait(), 30) == 2
        said = system.log_file.read_text()
    assert f"PEERBOT_CA_FILE: {file} " in said


async def test_a_server_of_an_unknown_authority_is_not_believed(tmp_path: Path, s3: str) -> None:
    async with behind(tmp_path, s3) as (system, out, settings):
        del settings["PEERBOT_CA_FILE"]
        dispatcher = await system.launch(**settings)
        assert await asyncio.wait_for(dispatcher.wait(), 60) == 1
        assert set(out.opened) <= set(HOSTS)
        assert system.slack.thread(system.slack.general, "") == []


async def test_the_doctor_looks_through_the_proxy_and_keeps_a_password_of_it_to_itself(tmp_path: Path, s3: str) -> None:
    async with behind(tmp_path, s3) as (system, out, settings):
        proxy = settings["HTTPS_PROXY"].replace("http://", "http://user:planted@")
        environment = {**system.environment, **settings, "HTTPS_PROXY": proxy}
        async with started(
            *(sys.executable, "-m", "peerbot", "doctor", "--model", "--json"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        ) as doctor:
            output, _ = await asyncio.wait_for(doctor.communicate(), 60)
        assert {host: host in out.opened for host in HOSTS} == dict.fromkeys(HOSTS, True)
        assert b"planted" not in output
