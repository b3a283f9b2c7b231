"""One cluster for all of `tests/cluster`; `make cluster-test` runs them, `make test` leaves them out."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import isolation
import pytest
from control_plane import ControlPlane
from node import Node
from stage import StagedNode

_SECONDS = 600  # for a test; the first also waits until the cluster is up


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the product's pods logged stands beside a failure: they are gone when one looks."""
    report = yield
    product = getattr(item, "funcargs", {}).get("product")
    if report.when == "call" and report.failed and product:
        report.sections += product.seen()
    return report


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
