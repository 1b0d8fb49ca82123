"""Options that several commands share."""

import click

store_option = click.option(
    "--store",
    metavar="FILE",
    envvar="SHAREDLLM_STORE",
    show_envvar=True,
    default=None,
    help="Where adapters are kept. By default a file in your own data folder.",
)
