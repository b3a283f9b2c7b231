"""One cluster for all of `tests/cluster`; `make cluster-test` runs them, `make test` leaves them out."""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import isolation
import pytest
import pytest_asyncio
from control_plane import ControlPlane
from node import Node
from product import Product, released
from programs import FIGURES
from replicas import Place
from stage import StagedNode

_SECONDS = 600  # for a test; the first also waits until the cluster is up


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark them; and what needs the real node comes last: it would take the pods that a played one is to get."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.cluster)
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SECONDS))
    yield
    items.sort(key=lambda item: item in ours and "node" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the product's pods beside a failure: the pods are gone when a person looks."""
    report = yield
    product = getattr(item, "funcargs", {}).get("product")
    if report.when == "call" and report.failed and product:
        report.sections += product.seen()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for table in FIGURES:
        terminalreporter.write_line(table)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane: API server with RBAC and admission, controllers, scheduler."""
    address = isolation.ADDRESS if isolation.inside() else "127.0.0.1"
    with ControlPlane(tmp_path_factory.mktemp("cluster"), address) as running:
        yield running


@pytest.fixture(scope="session")
def node(control_plane: ControlPlane) -> Iterator[Node]:
    """A real node of that control plane, which runs pods."""
    if not isolation.inside():
        why = isolation.why_not() or "it was not started by `make cluster-test`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"There is no node here: {why}.")
    with Node(control_plane) as running:
        yield running


@pytest.fixture
def stage(control_plane: ControlPlane) -> Iterator[StagedNode]:
    """A node that nobody serves: the test plays its pods."""
    with StagedNode(control_plane) as node:
        yield node


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own, which enforces the Pod Security Standard `restricted`."""
    with control_plane.namespace() as name:
        yield name


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Place:
    """That namespace, for replicas that run Jobs there."""
    return Place(control_plane, namespace)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(
    control_plane: ControlPlane, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Product]:
    """The guide's release and the world around it, for the tests of one module."""
    async with released(control_plane, tmp_path_factory.mktemp("product")) as product:
        yield product
