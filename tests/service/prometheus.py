"""A real Prometheus (Debian's package `prometheus`) that reads dispatchers at work, each second."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml
from system import System

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
NEEDS_PROMETHEUS = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL) and not os.environ.get("CI"),
    reason="prometheus is missing: apt-get install prometheus",
)
"""In CI the tests fail where it is missing."""

FILES = Path(__file__).parents[2] / "charts" / "peerbot" / "files"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def alerts() -> dict[str, str]:
    """The expressions of the alerts, by name."""
    rules = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"][0]["rules"]
    return {rule["alert"]: rule["expr"] for rule in rules}


def queries(within: str) -> dict[str, str]:
    """The queries of the dashboard by their panels' titles, as Grafana sends them."""
    found = {}
    for panel in json.loads((FILES / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$namespace", ".*").replace("$__rate_interval", within)
            found[f"{panel['title']}, {target['refId']}"] = query
    return found


class Prometheus:
    """Reads `targets` (ports on this machine); it stops at the end."""

    def __init__(self, directory: Path, *targets: int) -> None:
        self._directory = directory
        self._targets = targets

    async def __aenter__(self) -> Self:
        assert PROMETHEUS, "prometheus is missing: apt-get install prometheus"
        self._stack = AsyncExitStack()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        self._directory.mkdir()
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "peerbot",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{each}" for each in self._targets], "labels": {"namespace": "a"}}
                    ],
                }
            ],
        }
        (self._directory / "prometheus.yml").write_text(json.dumps(config))
        log = self._stack.enter_context((self._directory / "log").open("wb"))
        self._process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
        self._stack.push_async_callback(self._end)
        self._http = await self._stack.enter_async_context(aiohttp.ClientSession())
        try:
            await self.until("peerbot_build_info", bool)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _end(self) -> None:
        self._process.terminate()
        await self._process.wait()

    async def query(self, query: str) -> list[dict[str, Any]]:
        """Ask for the series of a query, now. Raises `AssertionError` if Prometheus does not take it."""
        async with self._http.get(f"{self._url}/api/v1/query", params={"query": query}) as reply:
            said = await reply.json()
        assert said["status"] == "success", f"{query}: {said.get('error')}"
        result = said["data"]["result"]
        return result if said["data"]["resultType"] == "vector" else [{"value": result}]

    async def until(self, query: str, right: Any, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Ask again until `right(series)`; returns the series."""
        found: list[dict[str, Any]] = []
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                found = await self.query(query)
                if right(found):
                    return found
            except aiohttp.ClientError:
                pass  # it begins
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{query}: {found}\n{(self._directory / 'log').read_text()[-2000:]}")
            await asyncio.sleep(0.1)

    async def fires(self, alert: str, seconds: float = 60.0) -> None:
        """Wait until an alert's condition holds."""
        await self.until(alerts()[alert], bool, seconds)


async def page(port: int) -> str:
    """Read the metrics of a dispatcher."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as reply:
        assert reply.status == 200
        return await reply.text()


def samples(text: str) -> Samples:
    """Read a page of metrics."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return {
        (name, frozenset(LABEL.findall(labels or ""))): float(value) for name, labels, value in SAMPLE.findall(lines)
    }


def summed(pages: list[Samples], name: str, **labels: str) -> float:
    """Add up a metric of several dispatchers, over the series that have these labels."""
    wanted = set(labels.items())
    return sum(value for each in pages for (found, has), value in each.items() if found == name and wanted <= has)


async def ports(system: System) -> list[int]:
    """The metrics' ports of the dispatchers, in the order of their starts."""
    return [int(line["metrics_port"]) for line in system.logged("dispatcher_started")]


def check_metrics(text: str) -> str:
    """What `promtool check metrics` has to say; empty: nothing."""
    assert PROMTOOL, "promtool is missing: apt-get install prometheus"
    done = subprocess.run(
        (PROMTOOL, "check", "metrics"), input=text, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr
