"""Bases that were made here, such as one with a prior: folders by their names, in the user's own data folder."""

import re
from pathlib import Path

from sharedllm.base.frames import PRIOR
from sharedllm.cache_folder import data_dir
from sharedllm.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def made_folder(name: str) -> Path:
    """Where a base of that name is kept, or would be.

    Raises:
        InvalidInput: nothing can have that name.
    """
    if not _NAME.fullmatch(name) or name.endswith(".gguf"):
        raise InvalidInput(
            f"{name[:100]!r} cannot name a base",
            remedy="Use up to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit.",
        )
    return _all() / name


def made_base(name: str) -> Path | None:
    """The folder of a base that was made here, by its name; None where there is none."""
    return made_bases().get(name)


def made_bases() -> dict[str, Path]:
    """The folders of all bases that were made here, by their names, in the order of these."""
    try:
        found = sorted(_all().iterdir())
    except OSError:
        return {}
    return {path.name: path for path in found if _NAME.fullmatch(path.name) and (path / PRIOR).exists()}


def _all() -> Path:
    return data_dir() / "bases"
