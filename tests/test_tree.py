"""The tree is the architecture: small files, ideas for names, and a layer for everything."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sharedllm"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
LINES = 420


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
