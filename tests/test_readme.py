"""What the documents say can be done, done."""

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.adapters.formats import registry
from sharedllm.cli.main import COMMANDS, sharedllm
from sharedllm.evaluation.gate import Gate
from sharedllm.operations import evaluate
from sharedllm.text.samples import sample_text
from sharedllm.training import vectors
from sharedllm.training.recipes import RECIPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        "docs/architecture.md",
        "docs/bases.md",
        "docs/formats.md",
        "docs/privacy.md",
        "docs/scale.md",
        "docs/serving.md",
        "docs/snapshots.md",
    )
}
ENOUGH = int(re.search(r"From about ([\d,]+) of English on", README)[1].replace(",", ""))
"""From how much text on the README says that some is held out: every file that its examples train on has just that."""

SHOWN = r"(alice|ada|carol): release \d+ passed: .*|.*'route': 'own'.*|reader .* base .* ada .* ben.*"
"""What an example prints: that somebody's release passed, that it answered, or the matrix."""


def blocks(*languages):
    return re.findall(rf"^```({'|'.join(languages)})\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the README's commands name, and training that takes a moment on the real base."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("SHAREDLLM_STORE", raising=False)
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], steps=2, check_every=2))
    monkeypatch.setattr(vectors, "VALIDATION_WINDOWS", 1)
    monkeypatch.setattr(evaluate, "WINDOWS", 2)
    monkeypatch.setattr(registry, "_registered", {})
    # Two steps need not help, and who is held back could not answer in the commands after.
    monkeypatch.setattr(Gate, "judge", lambda *_: GateOutcome(True, "passed: the test says so"))
    text = sample_text("novelist")
    notes = Path("notes")
    notes.mkdir()
    for number, name in enumerate(("a", "b", "diary")):
        (notes / f"{name}.md").write_text(text[number * ENOUGH : (number + 1) * ENOUGH])
    Path("this-week.md").write_text(text[3 * ENOUGH : 4 * ENOUGH])
    lines = [{"user": "bob", "files": ["notes/a.md"]}, {"user": "carol", "files": ["notes/b.md"]}]
    Path("users.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path


def words(command):
    """The command's arguments as a shell would give them."""
    for word in shlex.split(command):
        yield from sorted(map(str, Path().glob(word))) if "*" in word else [word]


@contextmanager
def serving(arguments):
    """The server as a process, on a port that is free; where it listens."""
    command = [sys.executable, "-m", "sharedllm", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield re.search(r"http://\S+/v1", server.stdout.readline())[0]
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    assert server.returncode == 0


@pytest.mark.rare
@pytest.mark.timeout(600)
def test_the_commands_and_the_library_examples_work_as_written_one_after_the_other(desk, capsys):
    with ExitStack() as servers:
        secret = address = None
        notebook = {}
        for language, block in blocks("sh", "python"):
            if language == "python":
                if "to_frame" in block and not find_spec("pandas"):
                    continue
                # Which key was made and which port was free differ from run to run.
                actual = {"sllm_the-key-that-was-shown": secret, "http://127.0.0.1:8000/v1": address}
                actual["steps=100"] = "steps=2, check_every=2"
                example = re.sub("|".join(actual), lambda shown, actual=actual: actual[shown[0]], block)
                exec(compile(example, "README.md", "exec"), notebook)
                out = capsys.readouterr().out
                assert re.fullmatch(SHOWN, out, flags=re.DOTALL), out
                servers.close()
                continue
            for command in block.splitlines():
                program, *arguments = words(command)
                assert program == "sharedllm"
                if arguments[0] == "serve":
                    address = servers.enter_context(serving(arguments))
                    continue
                done = CliRunner().invoke(sharedllm, arguments)
                assert done.exit_code == 0, f"{command}\n{done.output}"
                if arguments[:2] == ["keys", "create"]:
                    secret = done.stdout.strip()
    assert (desk / "alice-peft").is_dir()
    assert (desk / "alice-model").is_dir()
    assert (desk / "alice.gguf").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command):
    assert re.search(rf"(sharedllm|make) {command}\b", README)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(document):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"(?:^    |`)make ([a-z]+)", DOCUMENTS[document], flags=re.MULTILINE)
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_folder_that_is_named_exists(document):
    named = re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)*(?:/|\.py|\.toml|\.txt|\.md))`", DOCUMENTS[document])
    named += [f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m ([\w.]+)", DOCUMENTS[document])]
    roots = (ROOT, ROOT / "src" / "sharedllm", (ROOT / document).parent)
    missing = [path for path in named if not any((root / path).exists() for root in roots)]
    assert named
    assert not missing


def test_the_layers_in_the_architecture_are_the_ones_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == ["sharedllm"]]
    assert "\n".join(layers) in ARCHITECTURE
