"""An environment of its own for each client, made from the registry and kept beside pytest's cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 240
"""Seconds that an installation may take."""


def environment(client, folder):
    """What to run a client's examples with: environment variables that find its programs first.

    Skips the test, saying that nothing was tested, where the registry has not got it or takes too long.
    """
    node = client.packages and "@" in client.packages[0]
    if node and shutil.which("npm") is None:
        pytest.skip(f"NOT TESTED: {client.name} needs node, which is not installed")
    home = folder / "-".join([client.path.stem, *client.packages]).replace("/", "_")
    done = home / "installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _install(client, home, node=node)
        done.touch()
    programs = home / ("node_modules/.bin" if node else "bin")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return home, {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "NODE_PATH": str(home / "node_modules"),
    }


def _install(client, home, *, node):
    if node:
        commands = [["npm", "install", "--no-save", "--no-audit", "--no-fund", *client.packages]]
    else:
        commands = [[sys.executable, "-m", "venv", "."]]
        if client.packages:
            commands.append(["bin/python", "-m", "pip", "install", "-q", *client.packages])
    for command in commands:
        try:
            ran = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.skip(f"NOT TESTED: {client.name} was not installed within {PATIENCE} s")
        if ran.returncode:
            last = (ran.stderr or ran.stdout).strip().splitlines()[-1:]
            pytest.skip(f"NOT TESTED: {client.name} could not be installed: {' '.join(last)}")


def command(path, home, python="python"):
    """How a file of examples is run, a Python one by the client's own Python or by the one that is named."""
    if path.suffix == ".mjs":
        # Modules are looked for from the file on upwards.
        copy = Path(shutil.copy(path, home))
        return ["node", str(copy)]
    return {".py": [python, str(path)], ".sh": ["bash", str(path)]}[path.suffix]
