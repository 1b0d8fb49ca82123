"""Environments of their own for peers that want other versions than ours, made once, in a folder outside the tree.

``SHAREDLLM_PEERS`` names the folder; by default it is ``peers`` in the cache.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from sharedllm.cache_folder import cache_dir

_WHOLE = "READY"
"""A file in an environment in which everything was installed."""


def peers_folder() -> Path:
    """Where they are, and what is made for them."""
    chosen = os.environ.get("SHAREDLLM_PEERS")
    return Path(chosen) if chosen else cache_dir() / "peers"


def python_with(name: str, packages: Sequence[str], *, without: Sequence[str] = ()) -> Path | None:
    """The interpreter of an environment with these packages; None, and a word, where they cannot be installed.

    Args:
        name: of the environment.
        packages: with their versions.
        without: what they bring along that is taken out again.
    """
    folder = peers_folder() / name
    python = folder / "bin" / "python"
    if (folder / _WHOLE).exists():
        return python
    print(f"installing {', '.join(packages)} into {folder} …", file=sys.stderr)
    try:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        if without:
            subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *without], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"left out: {name}, which cannot be installed here ({error})", file=sys.stderr)
        return None
    (folder / _WHOLE).touch()
    return python
