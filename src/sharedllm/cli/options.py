"""Options that several commands share."""

import click

from sharedllm.base.resolve import DEFAULT_BASE

store_option = click.option(
    "--store",
    metavar="FILE",
    envvar="SHAREDLLM_STORE",
    show_envvar=True,
    default=None,
    help="Where adapters are kept. By default a file in your own data folder.",
)

base_option = click.option(
    "--base",
    "base_name",
    metavar="NAME",
    default=DEFAULT_BASE,
    show_default=True,
    help="The shared model: a built-in name, a folder, a .gguf file or a hub id.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
