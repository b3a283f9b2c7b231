"""The documents are true: the things that they name exist, and the code has the shape that they promise."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from peerbot.certificates import VARIABLES
from peerbot.errors import SettingsError
from peerbot.settings import Settings, load

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "peerbot"
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LIMITS = re.search(r"at\s+most (\d+) lines, and a function at most (\d+)\.", (ROOT / "CONTRIBUTING.md").read_text())

GUIDE = {
    "SLACK_TRIGGER_PHRASE": "@peerbotai",
    "GITHUB_ORGANIZATION": "peerbot-community",
    "GCS_BUCKET_NAME": "peerbot-conversations-prod",
    "SESSION_TIMEOUT_MINUTES": 5,
    "WORKER_CPU": "2000m",
    "WORKER_MEMORY": "4Gi",
    "SLACK_ALLOW_DIRECT_MESSAGES": True,
    "SLACK_ALLOW_PRIVATE_CHANNELS": False,
    "SLACK_ENABLE_STATUS_REACTIONS": True,
    "SLACK_ENABLE_PROGRESS_UPDATES": True,
}
"""The deployment guide's settings with its defaults."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    relative = [link.partition("#")[0] for link in links if not link.startswith(("http:", "https:", "#"))]

    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_every_protection_in_the_table_of_security_names_a_test_that_is_there() -> None:
    table = (ROOT / "SECURITY.md").read_text().partition("## What attackers try")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    missing = []
    for row in rows:
        cell = row.split(" | ")[3]
        file = ""
        for place, test in re.findall(r"`([\w./]*)(?:::(\w+))?`", cell):
            file = place or file
            source = (ROOT / (file if "/" in file else f"tests/service/{file}")).read_text()
            missing += [f"{file}::{test}"] if test and f"def {test}(" not in source else []
        assert file, row
    assert len(rows) > 20
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    prose = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(), flags=re.M | re.S)
    code = re.findall(r"`([^`\n]+)`", prose)
    files = [name for name in code if re.fullmatch(r"[\w./-]+\.(py|sh|toml|yml|md)", name)]

    theirs = ("CLAUDE.md", "AGENTS.md")  # of the repository that the agent works in
    tests = {path.name for path in ROOT.glob("tests/*/test_*.py")}

    def exists(name: str) -> bool:
        return (ROOT / name).exists() or (PACKAGE / name).exists() or name in tests

    assert [name for name in files if name not in theirs and not exists(name)] == []


def section(title: str) -> str:
    """A section of the page on the architecture."""
    return (ROOT / "docs/architecture.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_ways_through_the_code_name_functions_that_their_files_have() -> None:
    rows = re.findall(r"^\| (.*`.*) \| (.*`.*) \| .* \|$", section("Ways through the code"), re.M)
    assert len(rows) > 20
    for files, functions in rows:
        code = "".join((PACKAGE / file).read_text() for file in re.findall(r"`([\w/]+\.py)`", files))
        names = {name for function in re.findall(r"`([\w.]+)`", functions) for name in function.split(".")}
        assert {name for name in names if not re.search(rf"(?:def|class) {name}\b", code)} == set(), files


def test_the_architecture_names_every_folder_in_the_order_of_the_layers() -> None:
    rows = re.findall(r"^\| `([\w/.]+)` \|", section("The folders"), re.M)
    folders = {f"{module.parent.relative_to(PACKAGE)}/" for module in MODULES if module.parent != PACKAGE}
    assert folders == {row for row in rows if row.endswith("/")}

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    ranks = [rank[re.match(r"\w+", row)[0]] for row in rows]  # type: ignore[index]
    assert ranks == sorted(ranks)
    assert {re.match(r"\w+", row)[0] for row in rows} == set(rank)  # type: ignore[index]


@pytest.mark.parametrize("module", ["dispatcher/app.py", "worker/app.py"])
def test_every_module_that_a_main_path_draws_exists(module: str) -> None:
    drawing = ast.get_docstring(ast.parse((PACKAGE / module).read_text())) or ""
    drawn = set(re.findall(r"[\w/]+\.py", drawing))

    assert drawn
    assert {name for name in drawn if not list(PACKAGE.rglob(name))} == set()


def test_every_setting_that_a_page_names_is_one() -> None:
    settings = {name.upper() for name in Settings.model_fields} | set(VARIABLES)
    written = {name for page in PAGES for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", page.read_text())}

    assert written - settings == set()
    assert {"SLACK_BOT_TOKEN", "ANTHROPIC_API_KEY"} <= written


def test_every_test_that_a_page_names_exists() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    written = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}

    assert {name for name in written if f"def {name}(" not in tests} == set()


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()

    assert [page.name for page in folder.glob("0*.md") if f"({page.name})" not in index] == []


def test_a_decision_is_named_by_a_page_that_exists() -> None:
    files = [*MODULES, *ROOT.glob("tests/*/*.py"), *ROOT.glob("bench/*.py"), *PAGES]
    texts = {path: path.read_text() for path in files}
    named = {
        page
        for text in texts.values()
        for numbers in re.findall(r"\b[Dd]ecisions? (\d{4}(?:(?:,| and| to) \d{4})*)", text)
        for page in re.findall(r"\d{4}", numbers)
    }
    pages = {path.name[:4] for path in (ROOT / "docs/decisions").glob("0*.md")}

    assert len(named) > 5
    assert named <= pages
    assert [str(path) for path, text in texts.items() if re.search(r"\(D\d+[,)–]", text)] == []


def test_the_guides_settings_keep_their_defaults() -> None:
    defaults = {name: Settings.model_fields[name.lower()].default for name in GUIDE}

    assert defaults == GUIDE


def test_what_the_guide_leaves_out_is_asked_for_at_start() -> None:
    with pytest.raises(SettingsError) as caught:
        load(slack_bot_token="xoxb-of-the-guide", github_token="ghp-of-the-guide")

    assert "SLACK_APP_TOKEN is missing" in str(caught.value)
    assert "ANTHROPIC_API_KEY is missing" in str(caught.value)
    assert "of-the-guide" not in str(caught.value)


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_module_is_read_in_one_sitting_and_says_why_it_is_there(module: Path) -> None:
    assert LIMITS, "CONTRIBUTING.md names no limits"
    most_module_lines, most_function_lines = map(int, LIMITS.groups())
    text = module.read_text()
    tree = ast.parse(text)
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= most_module_lines
    assert {name: lines for name, lines in lengths.items() if lines > most_function_lines} == {}
