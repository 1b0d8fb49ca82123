"""`sharedllm` itself: help, version, exit statuses and how fast it comes up."""

import json
import subprocess
import sys

import click
import pytest

from sharedllm import __version__
from sharedllm.cli.main import COMMANDS, sharedllm
from sharedllm.errors import SharedLLMError
from sharedllm.training.recipes import RECIPES

HEAVY = ["torch", "transformers", "sqlalchemy", "numpy", "rich"]


def commands():
    """Every command and subcommand, with the words that run it."""
    for name in COMMANDS:
        command = sharedllm.get_command(click.Context(sharedllm), name)
        yield (name,), command
        for sub in getattr(command, "commands", {}).values():
            yield (name, sub.name), sub


ALL = {" ".join(words): (words, command) for words, command in commands()}


def test_the_main_help_lists_every_command_with_its_own_summary(run):
    shown = run("--help")
    assert shown.code == 0
    for name, (_, summary) in COMMANDS.items():
        assert ALL[name][1].get_short_help_str(100) == summary
        assert summary in " ".join(shown.out.split())


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_that_explains_it_and_its_arguments(name, run):
    words, command = ALL[name]
    shown = run(*words, "--help")
    assert (shown.code, shown.err) == (0, "")
    _, _, explanation = shown.out.partition("\n\n")
    explanation, _, options = explanation.partition("Options:")
    assert len(explanation.split()) >= 5
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert parameter.name.upper() in explanation
        else:
            assert parameter.opts[0] in options
            assert parameter.help, f"{parameter.opts[0]} is not explained"


@pytest.mark.parametrize("name", ALL)
def test_what_a_program_would_read_comes_as_json(name):
    _, command = ALL[name]
    groups = {"base", "cache", "users", "keys", "store", "receipts", "audit", "bets", "fleet", "text"}
    changing = {f"users {verb}" for verb in ("rollback", "reset", "revoke", "restore", "erase")}
    changing |= {"store init-key", "store encrypt", "store accept", "store rotate-key", "receipts key"}
    writes_only = groups | changing | {"demo", "serve", "try", "bets run", "bets report", "keys create", "keys revoke"}
    assert ("as_json" in {parameter.name for parameter in command.params}) != (name in writes_only)


def test_the_help_of_train_names_every_recipe(run):
    shown = " ".join(run("train", "--help").out.split())
    assert all(name in shown for name in RECIPES)


def test_help_imports_nothing_heavy():
    script = (
        "import json, sys\nfrom sharedllm.cli.main import sharedllm\nsharedllm(['--help'], standalone_mode=False)\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout.splitlines()[-1]) == []


@pytest.mark.slow
def test_what_only_asks_a_store_waits_for_no_library_of_models(tmp_path):
    script = (
        "import json, sys\nfrom sharedllm.cli.main import sharedllm\n"
        f"sharedllm(['users', 'list', '--store', {str(tmp_path / 'store.db')!r}], standalone_mode=False)\n"
        "print(json.dumps([name for name in ['torch', 'transformers'] if name in sys.modules]))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout.splitlines()[-1]) == []


def test_version(run):
    assert run("--version") == (0, f"sharedllm, version {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["users", "list"]])
def test_success_exits_with_0(arguments, run):
    assert run(*arguments).code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trian", "alice"], "trian"),
        (["train", "--no-such-option"], "--no-such-option"),
        (["ask", "alice"], "PROMPT"),
        (["ask", "alice", "hello", "--max-tokens", "0"], "--max-tokens"),
        (["base", "pull"], "NAME"),
    ],
)
def test_a_misspelt_command_exits_with_2_and_names_what_was_wrong(arguments, named, run):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert named in ran.err


def test_an_error_of_ours_is_one_line_with_its_remedy(run):
    assert run("users", "show", "nobody").code == 2
    line = run("users", "show", "nobody").err
    assert line.startswith("error: ")
    assert "'nobody'" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_exits_with_130(interrupt, run, monkeypatch):
    def interrupted(*_):
        raise interrupt

    monkeypatch.setattr("sharedllm.store.open_store", interrupted)
    ran = run("users", "list")
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted" in ran.err


def test_what_an_error_quotes_cannot_steer_the_terminal(run, monkeypatch):
    def refused(*_):
        raise SharedLLMError("No \x1b[2J\udcff in here", remedy="Look away.")

    monkeypatch.setattr("sharedllm.store.open_store", refused)
    assert run("users", "list").err == "error: No \\x1b[2J\\udcff in here. Look away.\n"


def test_output_that_nobody_reads_to_the_end_is_no_error(machine):
    command = [sys.executable, "-m", "sharedllm", "base", "list"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()
