"""What only some jobs need: the extras of this package, and one sentence where one is missing."""

import importlib.util
from dataclasses import dataclass

from sharedllm.errors import MissingExtra


@dataclass(frozen=True)
class Extra:
    """Packages that are installed together.

    Attributes:
        purpose: what needs them, as the beginning of a sentence.
        modules: what is imported of them. Of a package that may be there without a part that it cannot do without, that
            part: to find it, Python imports the package.
    """

    purpose: str
    modules: tuple[str, ...]


# As `pyproject.toml` names them.
EXTRAS = {
    "serve": Extra(
        "Serving over HTTP",
        ("fastapi", "h11", "jwt", "llguidance", "prometheus_client", "pydantic", "starlette", "uvicorn"),
    ),
    "postgres": Extra("A store in PostgreSQL", ("psycopg.pq",)),
    "ray": Extra("Training on Ray", ("ray",)),
    "exchange": Extra("Exchange with PEFT", ("peft",)),
    "vllm": Extra("Serving with vLLM", ("vllm",)),
    "private": Extra("Differential privacy", ("opacus",)),
    "text": Extra(
        "Reading anything but plain text in UTF-8, or looking into a text,",
        (
            "chardet",
            "detect_secrets",
            "ftfy",
            "lxml",
            "phonenumbers",
            "py3langid",
            "pypdfium2",
            "rensa",
            "stdnum",
            "striprtf",
        ),
    ),
}


def need(name: str) -> None:
    """Return if all packages of an extra are installed; none but those with a part to look for is imported.

    Args:
        name: one of `EXTRAS`.

    Raises:
        MissingExtra: one or more are not.
    """
    lacking = missing(name)
    if lacking:
        raise MissingExtra(
            f"{EXTRAS[name].purpose} needs what is not installed here: {', '.join(lacking)}",
            remedy=f"Install it: pip install 'sharedllm[{name}]'",
        )


def missing(name: str) -> list[str]:
    """Packages of an extra that are not installed, for what can be done without it; see `need`."""
    return [module.partition(".")[0] for module in EXTRAS[name].modules if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
