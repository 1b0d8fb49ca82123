"""`sharedllm formats`: what of a base can be adapted, and which package brings it."""

import click

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT, brought_by, format_named, format_names
from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import FormatError


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the adapter formats, ours and those of installed packages.

    One of another package is there once the package is installed; docs/formats.md says how to write one.
    """
    formats = [(name, brought_by(name) or "this process", _about(name)) for name in format_names()]
    if as_json:
        print_json([dict(zip(("name", "package", "about"), each, strict=True)) for each in formats])
    else:
        print_table(("NAME", "FROM", "WHAT OF THE BASE IS ADAPTED"), formats)


def _about(name: str) -> str:
    try:
        return format_named(name).about + (" (default)" if name == DEFAULT_FORMAT else "")
    except FormatError as error:
        return f"unusable: {error.message}"
