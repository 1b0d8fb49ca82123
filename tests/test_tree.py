"""The tree is the architecture: small files, ideas for names, and a layer for everything."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sharedllm"
EXPERIMENTS = ROOT / "experiments"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
LINES = 420

ONE_THING = {
    # What each report finds, draws, and puts on its page.
    "charts",
    "findings",
    "page",
    # The job, and the files that it reads and writes.
    "exchange",
    # The command, and that of the experiments.
    "cli",
    # What people said in turn, as a base reads it and as exports hold it.
    "conversations",
}
"""Names of modules and folders that several have, each of which says the same wherever it stands."""

ONE_TYPE = {
    # Of a conversation, as it comes over HTTP and as a chat template takes it.
    "Message",
    # A user's values.
    "Row",
}
"""The same of types."""


def name(path):
    return str(path.relative_to(PACKAGE))


def test_no_file_has_grown_into_two_ideas():
    long = {name(path): count for path in MODULES if (count := len(path.read_text().splitlines())) > LINES}
    assert not long


def test_no_file_is_named_for_having_no_idea():
    nameless = {"utils", "util", "common", "misc", "helpers"}
    assert not [name(path) for path in PACKAGE.rglob("*") if path.stem in nameless]


def test_everything_at_the_top_has_a_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == ["sharedllm"]]
    layered = {module for layer in layers for module in layer.split(" | ")}
    top = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert top - {"__init__", "__main__"} == layered


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is(path):
    if "migrations" not in path.parts and path.name != "__main__.py":
        assert path.read_text().startswith('"""')


def commands():
    """The files of the command line that hold commands."""
    return {
        path.stem
        for path in (PACKAGE / "cli").glob("*.py")
        if ".command(" in (text := path.read_text()) or ".group(" in text
    }


@pytest.mark.parametrize("command", sorted(commands()))
def test_no_command_imports_another_but_to_have_it_among_its_own(command):
    tree = ast.parse((PACKAGE / "cli" / f"{command}.py").read_text())
    own = {
        call.args[0].id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_command"
    }
    siblings = {f"sharedllm.cli.{each}" for each in commands()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not siblings & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in siblings:
            assert {alias.name for alias in node.names} <= own
        elif isinstance(node, ast.ImportFrom) and node.module == "sharedllm.cli":
            assert not commands() & {alias.name for alias in node.names}


def named(paths):
    found = defaultdict(set)
    for path in paths:
        found[path.stem].add(str(path.relative_to(ROOT)))
    return found


def test_no_two_modules_of_one_name_hold_different_things():
    # A command is named for its operation, or for what it shows: `cli/users.py` and `http/users.py` are one thing.
    commands = {
        path
        for path in (PACKAGE / "cli").glob("*.py")
        if "@click.command" in (text := path.read_text()) or "@click.group" in text
    }
    packages = [path.parent for top in (PACKAGE, EXPERIMENTS) for path in top.rglob("__init__.py")]
    bets = [path for path in EXPERIMENTS.rglob("*.py") if path.name != "__init__.py"]
    found = named([*(path for path in MODULES if path not in commands), *packages, *bets])
    alike = {stem: places for stem, places in found.items() if len(places) > 1}
    assert alike.keys() == ONE_THING, alike


def types(path):
    """Public classes of a module, and the names that it gives to types."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and "TypeVar" not in ast.unparse(node.value):
            yield from (
                target.id
                for target in node.targets
                if isinstance(target, ast.Name) and re.match("[A-Z][a-z]", target.id)
            )


def test_no_two_types_of_one_name_mean_different_things():
    found = defaultdict(set)
    for path in [*MODULES, *EXPERIMENTS.rglob("*.py")]:
        for each in types(path):
            if not each.startswith("_"):
                found[each].add(str(path.relative_to(ROOT)))
    alike = {each: places for each, places in found.items() if len(places) > 1}
    assert alike.keys() == ONE_TYPE, alike
