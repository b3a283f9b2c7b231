"""The program of the doctor's probe pod runs wherever a worker's image has a Python."""

import ast
import sys
from pathlib import Path

from peerbot.doctor import inside


def test_it_needs_the_standard_library_alone() -> None:
    tree = ast.parse(Path(inside.__file__).read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert imported
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
