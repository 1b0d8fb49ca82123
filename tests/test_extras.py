"""What is installed with what: the core stands alone, and what is missing is one sentence that says what to type."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sharedllm.cli.main import COMMANDS
from sharedllm.errors import MissingExtra
from sharedllm.extras import EXTRAS, need

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sharedllm"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
MODULES = {module.partition(".")[0]: name for name, extra in EXTRAS.items() for module in extra.modules}

# Runs the command line as if some packages had never been installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from sharedllm.cli.main import main
main()
"""


def names(requirements):
    """The normal names of what is required, without extras and versions."""
    return {re.match(r"[\w.-]+", each)[0].lower().replace("_", "-") for each in requirements}


CORE = names(PROJECT["dependencies"])
APART = {"vllm"}
"""What other packages' pins keep out of one environment with everything else; its extra is not in `all`."""
PARTS = {"anyio": "starlette", "markupsafe": "jinja2", "pydantic-core": "pydantic"}
"""Packages that are made for one other and come with it."""


@pytest.fixture
def without(tmp_path, monkeypatch):
    """Run a command without some packages, in an empty folder and with empty folders for data and cache."""
    (tmp_path / "here").mkdir()
    for name in ("XDG_DATA_HOME", "SHAREDLLM_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("SHAREDLLM_STORE", raising=False)

    def run(missing, *arguments):
        script = WITHOUT.format(missing=set(missing))
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "here", check=False)

    return run


def made(folder):
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


POSTGRES = "postgresql://somebody@127.0.0.1:1/nothing"
NEEDING = {
    "serve": [["serve"], ["serve", "--insecure-no-auth", "--port", "0"]],
    "postgres": [
        ["users", "list", "--store", POSTGRES],
        ["ask", "alice", "Hello", "--store", POSTGRES],
        ["train", "alice", "notes.md", "--store", POSTGRES],
        ["fleet", "train", "--manifest", "fleet.jsonl", "--store", POSTGRES],
        ["serve", "--store", POSTGRES],
    ],
    "ray": [["fleet", "train", "--manifest", "fleet.jsonl", "--executor", "ray"]],
    "private": [["base", "adapt", "smollm2-135m", "--people", "people.jsonl", "--name", "ours", "--private"]],
    "text": [["text", "inspect", "notes.md", "--mask"], ["train", "alice", "notes.md", "--mask"]],
    "vllm": [["serve", "--engine", "vllm"]],
    "exchange": [["export", "alice", "--to", "peft", "out"], ["import", "alice", "."]],
}


@pytest.mark.parametrize(("module", "extra"), MODULES.items())
def test_a_command_without_what_it_needs_says_in_a_sentence_what_to_install_and_does_nothing(
    module, extra, without, tmp_path
):
    for arguments in NEEDING[extra][:1]:
        ran = without([module], *arguments)
        said = f"error: {EXTRAS[extra].purpose} needs what is not installed here: {module}."
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == f"{said} Install it: pip install 'sharedllm[{extra}]'\n"
    assert made(tmp_path) == []


@pytest.mark.parametrize(
    ("extra", "arguments"), [(extra, each) for extra, more in NEEDING.items() for each in more[1:]], ids=" ".join
)
def test_every_way_in_says_so_before_it_does_anything(extra, arguments, without, tmp_path):
    missing = [module for module, brought_by in MODULES.items() if brought_by == extra]
    ran = without(missing, *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(rf"error: .*: {', '.join(missing)}\. .*'sharedllm\[{extra}\]'\n", ran.stderr), ran.stderr
    assert made(tmp_path) == []


def test_the_address_of_a_store_may_come_from_the_environment(without, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_STORE", POSTGRES)
    assert "pip install 'sharedllm[postgres]'" in without(["psycopg"], "users", "list").stderr
    assert without(["psycopg"], "users", "list", "--help").returncode == 0


@pytest.mark.parametrize("command", ["", *sorted(COMMANDS.keys() - {"bets"})])
def test_help_needs_no_extra(command, without):
    ran = without(MODULES, *command.split(), "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: ")


def test_a_library_that_lacks_a_part_it_cannot_do_without_is_missing_too(monkeypatch):
    # As psycopg is where neither its own copy of libpq nor the system's is found.
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "psycopg.pq", raising=False)
    with pytest.raises(MissingExtra, match="psycopg") as caught:
        need("postgres")
    assert caught.value.remedy == "Install it: pip install 'sharedllm[postgres]'"


@pytest.mark.parametrize("entry", ["server", "app", "service", "jwt", "protocol.chat"])
def test_whoever_imports_the_server_without_its_extra_is_told_the_same(entry):
    script = (
        "import sys\nsys.modules['uvicorn'] = None\nfrom sharedllm.errors import MissingExtra\n"
        f"try:\n    import sharedllm.http.{entry}\nexcept MissingExtra as error:\n    print(error.remedy)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "Install it: pip install 'sharedllm[serve]'\n"


def imports():
    """Every import of another's package in the source: the file, and the package's name."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found = [node.module]
            else:
                continue
            for name in found:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "sharedllm":
                    yield path, top


def test_every_package_that_is_imported_is_required_and_the_other_way_round():
    """But for what transformers reads a GGUF file with, and SQLAlchemy PostgreSQL."""
    made_by = packages_distributions()
    required = {
        name.lower().replace("_", "-") for _, top in imports() for name in ([top] if top in APART else made_by[top])
    }
    named = CORE | set().union(*(names(OPTIONAL[extra]) for extra in EXTRAS))
    assert required - PARTS.keys() == named - {"accelerate", "psycopg"}
    assert {PARTS[part] for part in required & PARTS.keys()} <= named


def test_no_optional_package_is_imported_but_where_its_extra_was_asked_for():
    for path, top in imports():
        if top in MODULES:
            asked = f'need("{MODULES[top]}")'
            guards = [path, *(folder / "__init__.py" for folder in path.relative_to(SOURCE).parents)]
            assert any(asked in (SOURCE / guard).read_text() for guard in guards), f"{path} imports {top}"


def test_the_extras_bring_what_the_code_asks_for_and_all_brings_every_extra():
    made_by = packages_distributions()
    for name, extra in EXTRAS.items():
        brought = names(OPTIONAL[name])
        for module in extra.modules:
            top = module.partition(".")[0]
            found = [top] if top in APART else made_by[top]
            (distribution,) = {each.lower().replace("_", "-") for each in found}
            assert distribution in brought
            assert distribution not in CORE
    everything = re.fullmatch(r"sharedllm\[(.*)\]", *OPTIONAL["all"])[1].split(",")
    assert set(everything) == OPTIONAL.keys() - {"all", "dev"} - APART
