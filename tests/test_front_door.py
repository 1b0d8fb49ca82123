"""What `import sharedllm` gives: little, on purpose, and for nothing."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from docs import api

import sharedllm
from sharedllm import errors

SURFACE = Path(__file__).with_name("front_door.txt")
DEFINITIONS = api.definitions()


def run(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_it_loads_nothing_of_ours_and_nothing_of_others():
    new = run(
        "import json, sys, typing; before = set(sys.modules)\n"
        "import sharedllm; dir(sharedllm); print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert new == ["sharedllm"]


def test_a_name_loads_no_more_than_it_needs():
    heavy = ["numpy", "sqlalchemy", "torch", "transformers"]
    loaded = run(
        "import json, sys, sharedllm; sharedllm.Recipe, sharedllm.errors.TextError\n"
        f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    )
    assert loaded == []


def test_every_name_is_there_and_type_checkers_find_it_where_it_is_imported_from():
    (block,) = [
        node
        for node in ast.parse(inspect.getsource(sharedllm)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    lazy = {name: f"sharedllm.{home}" for home, names in sharedllm._HOMES.items() for name in names}
    assert lazy | {"errors": "sharedllm"} == seen
    assert {*seen, "__version__"} == set(sharedllm.__all__)
    for name in seen.keys() - {"errors"}:
        assert getattr(sharedllm, name) is getattr(sys.modules[seen[name]], name)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'trian'"):
        _ = sharedllm.trian


def test_every_kind_of_error_below_the_root_can_be_caught_by_its_name():
    # What other modules keep to themselves below the root is there only where they were imported.
    kinds = {kind.__name__ for kind in errors.SharedLLMError.__subclasses__() if kind.__module__ == errors.__name__}
    assert kinds <= set(sharedllm.__all__)


def test_what_is_public_changes_on_purpose_only():
    """Names, arguments, defaults and types. Whoever means to change them changes the list beside this file, too."""
    said = [name for name in sharedllm.__all__ if name not in DEFINITIONS]
    for name, (_, each) in DEFINITIONS.items():
        said += [api.signature(each), *(f"    {name}.{api.signature(part)}" for part in api.methods(name))]
    assert said == SURFACE.read_text().splitlines()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_is_public_says_what_it_is_and_what_its_arguments_are(name):
    _, each = DEFINITIONS[name]
    for part in (each, *api.methods(name)):
        said = ast.get_docstring(part)
        assert said, part.name
    documented = ast.get_docstring(each)
    if isinstance(each, ast.FunctionDef):
        arguments = [each.args.posonlyargs, each.args.args, each.args.kwonlyargs]
        missing = [one.arg for some in arguments for one in some if f"{one.arg}: " not in documented]
        assert not missing


def test_the_reference_is_what_the_code_says():
    assert api.REFERENCE.read_text() == api.reference(), "run `make docs`"
