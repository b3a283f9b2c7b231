"""The options of a chaos run: `make chaos ARGS="--conversations 50 --seed 7"`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    chaos = parser.getgroup("chaos", "the chaos run")
    chaos.addoption("--conversations", type=int, default=500, help="how many conversations are held")
    chaos.addoption("--seed", type=int, default=1, help="the same seed makes the same plan of messages and faults")
    chaos.addoption("--minutes", type=float, default=20, help="how long it may take, all told")
    chaos.addoption("--into", default="", help="a directory for logs and reports; else a temporary one")
