"""HTML pages that need nothing else: no network, no scripts, no other files."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sharedllm.files import refused, replacing
from sharedllm.printable import printable
from sharedllm.reporting.findings import percent, perplexity_text
from sharedllm.reporting.palette import DARK, LIGHT

_HERE = Path(__file__).parent


def write_html(page: str, path: Path) -> Path:
    """Write a page to ``path``, whole or not at all, and return the path.

    Raises:
        DiskFull: no room is left.
        InvalidInput: the path cannot be written.
    """
    try:
        with replacing(path) as part:
            part.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise refused(
            error, f"The report cannot be written to {path}", remedy="Make room there, or choose another path."
        ) from error
    return path


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
