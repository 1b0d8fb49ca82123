"""What lies beside a base's weights in its folder, and goes with every folder that is made from it."""

import shutil
from collections.abc import Set
from pathlib import Path

_PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "NOTICE*")


def copy_beside_weights(source: Path, target: Path, *, without: Set[str] = frozenset()) -> None:
    """Copy configuration, tokenizer, chat template and licences from a base's folder into another.

    Args:
        source: the base's folder.
        target: a folder that is there.
        without: names of files that are left out.

    Raises:
        OSError: one cannot be copied.
    """
    for pattern in _PATTERNS:
        for path in source.glob(pattern):
            if path.name not in without:
                shutil.copyfile(path, target / path.name)
