"""HTML pages that need nothing else: no network, no scripts, no other files."""

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sharedllm.errors import InvalidInput
from sharedllm.files import make_folder, make_private
from sharedllm.printable import printable
from sharedllm.reporting.findings import percent, perplexity_text
from sharedllm.reporting.palette import DARK, LIGHT

_HERE = Path(__file__).parent


def write_whole(page: str, path: Path) -> Path:
    """Write a page to ``path``, whole or not at all, and return the path.

    Raises:
        InvalidInput: the path cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent)
        try:
            make_private(partial, anew=True)
            partial.write_text(page, encoding="utf-8", newline="\n")
            return partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The report cannot be written to {path}: {error.strerror}",
            remedy="Make room there, or choose another path.",
        ) from error


def templates(folder: Path = _HERE) -> Environment:
    """The templates of a folder and the style of every page: nothing that they are given becomes markup by itself."""
    environment = Environment(
        loader=FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda value: percent(value).replace("-", "−"),
        "perplexity": perplexity_text,
        "printable": printable,
    }
    environment.globals |= {"light": LIGHT, "dark": DARK}
    return environment
