"""The chart's tests need helm; where it is not there they are left out, but not in CI."""

import os
from pathlib import Path

import pytest
from rendering import HELM

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="helm is missing: `make tools` gets it")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chart)
            if not HELM.exists() and not os.environ.get("CI"):
                item.add_marker(missing)
