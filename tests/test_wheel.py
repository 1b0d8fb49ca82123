"""The wheel as strangers have it: installed into an empty environment, without extras and then with one."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from openai import OpenAI

from sharedllm.cache_folder import cache_dir
from sharedllm.extras import EXTRAS
from sharedllm.text.samples import sample_text

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.rare, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    source = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "sharedllm").rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(opened.read(metadata).decode())
    assert held == {name for name in source if "__pycache__" not in name}
    assert "sharedllm/py.typed" in held
    assert told["Name"] == "sharedllm"
    assert set(told.get_all("Provides-Extra")) >= {*EXTRAS, "report", "all"}
    assert told["Author"]
    assert told["Keywords"]
    assert "Typing :: Typed" in told.get_all("Classifier")


class Installed:
    """An environment in which nothing is but what the wheel brings, and a machine of its own."""

    def __init__(self, folder, wheel):
        self.folder, self.wheel = folder, wheel
        (folder / "cache").mkdir(parents=True)
        (folder / "cache" / "packages").symlink_to(cache_dir() / "packages")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.environment |= {
            "SHAREDLLM_CACHE": str(folder / "cache"),
            "SHAREDLLM_STORE": str(folder / "store.db"),
            "XDG_DATA_HOME": str(folder / "data"),
        }
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)

    def install(self, extra=""):
        pip = [self.folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
        pinned = ["-c", ROOT / "constraints.txt"]
        subprocess.run([*pip, *pinned, f"{self.wheel}{extra}"], check=True, env=self.environment)

    def command(self, *arguments):
        return [self.folder / "venv" / "bin" / "sharedllm", *arguments]

    def run(self, *arguments):
        command = self.command(*arguments)
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=self.environment, check=False
        )


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    installed = Installed(tmp_path_factory.mktemp("empty") / "machine", wheel)
    installed.install()
    return installed


def test_the_core_trains_gates_stores_and_asks_and_with_an_extra_serves(installed, folder_of):
    base = ("--base", str(folder_of()))
    (installed.folder / "notes.md").write_text(sample_text("novelist")[:60_000])

    trained = installed.run("train", "alice", "notes.md", "--steps", "60", "--learning-rate", "0.02", "--json", *base)
    assert trained.returncode == 0, trained.stderr
    (release,) = json.loads(trained.stdout)
    assert release["gate"]["passed"], trained.stdout
    asked = installed.run("ask", "alice", "The", "--continue", "--max-tokens", "8", "--seed", "1", "--json", *base)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["route"]["kind"] == "own"
    built_in = installed.run("base", "info", "smollm2-135m")
    assert built_in.returncode == 0, built_in.stderr

    lacking = {
        "serve": ("serve",),
        "postgres": ("users", "list", "--store", "postgresql://somebody@localhost/nothing"),
        "ray": ("fleet", "train", "--manifest", "none.jsonl", "--executor", "ray"),
        "exchange": ("export", "alice", "--to", "peft", "alice-peft"),
        "text": ("text", "inspect", "notes.md", "--mask"),
        "private": ("base", "adapt", "smollm2-135m", "--people", "none.jsonl", "--name", "ours", "--private"),
    }
    assert {*lacking, "vllm"} == EXTRAS.keys()
    for extra, arguments in lacking.items():
        refused = installed.run(*arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert re.fullmatch(rf"error: .*pip install 'sharedllm\[{extra}\]'\n", refused.stderr), refused.stderr

    installed.install("[serve]")
    refused = installed.run("serve", "--engine", "vllm", "--port", "0", *base)
    assert refused.returncode == 2, refused.stderr
    assert "pip install 'sharedllm[vllm]'" in refused.stderr
    key = installed.run("keys", "create", "--user", "alice").stdout.strip()
    serving = installed.command("serve", "--port", "0", *base)
    with subprocess.Popen(
        serving, stdout=subprocess.PIPE, text=True, cwd=installed.folder, env=installed.environment
    ) as server:
        try:
            address = re.search(r"http://\S+/v1", server.stdout.readline())[0]
            client = OpenAI(base_url=address, api_key=key)
            answer = client.completions.create(model=client.models.list().data[0].id, prompt="The", max_tokens=8)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=120)
    assert answer.sharedllm["route"] == "own"
    assert server.returncode == 0
