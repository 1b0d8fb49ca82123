"""Options that several commands share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT, check_format
from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.cli.hints import noted
from sharedllm.errors import InvalidInput
from sharedllm.extras import need

if TYPE_CHECKING:
    from sharedllm.training.recipes import Recipe


def _store(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value.startswith("postgresql://"):
        need("postgres")
    noted(context, parameter, value)
    return value


store_option = click.option(
    "--store",
    metavar="FILE",
    envvar="SHAREDLLM_STORE",
    show_envvar=True,
    default=None,
    callback=_store,
    help="Where adapters are kept. By default a file in your own data folder.",
)

base_option = click.option(
    "--base",
    "base_name",
    metavar="NAME",
    default=None,
    callback=noted,
    help="The shared model: a built-in name, one of `base adapt`, a folder, a .gguf file or a hub id. By default the"
    f" one that the store's adapters are for, and {DEFAULT_BASE} in a new store.",
)

weights_option = click.option(
    "--weights",
    type=click.Choice(["plain", "bfloat16", "int8"]),
    default="plain",
    show_default=True,
    help="How the base holds its weights, on a CPU. bfloat16, where that is not what it computes in anyway: faster,"
    " in less memory, and all but as good. int8: faster still, and answers are a little worse (docs/speed.md).",
)

_RECIPE_OPTIONS = (
    click.option(
        "--recipe",
        "recipe_name",
        default="default",
        show_default=True,
        help="How to train. default: at most 256 steps of 256 tokens along the natural gradient; the best check by"
        " validation text is kept. adamw: 200 steps by AdamW at a rate of 5e-3. documented: what the source documents"
        " did, 100 steps of 512 tokens at 5e-5, and the last one is kept; far gentler, it is there to compare with and"
        " often does not clearly help.",
    ),
    click.option("--steps", type=int, metavar="N", help="Take N steps instead of the recipe's."),
    click.option("--learning-rate", type=float, metavar="RATE", help="Another rate than the recipe's, such as 0.01."),
    click.option(
        "--format",
        "format",
        metavar="FORMAT",
        help=f"What of the base is adapted: one of what `sharedllm formats` lists. [default: {DEFAULT_FORMAT}]",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which the text is read."),
)


def format_option(help: str) -> Callable[..., Any]:
    """The option that says which format a command is about, where it is about one."""
    return click.option(
        "--format", "format", metavar="FORMAT", default=DEFAULT_FORMAT, show_default=True, callback=_known, help=help
    )


def _known(context: click.Context, option: click.Parameter, name: str) -> str:
    check_format(name)
    return name


def with_options(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with options, which its help shows in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how to train; `chosen_recipe` makes a recipe of them."""
    return with_options(_RECIPE_OPTIONS, command)


def chosen_recipe(
    recipe_name: str, steps: int | None, learning_rate: float | None, format: str | None, seed: int
) -> "Recipe":
    """The recipe that `recipe_options` say.

    Raises:
        UnknownName: there is no such recipe or format.
        InvalidInput: a number of steps or a rate that cannot be used.
    """
    from sharedllm.training.recipes import recipe_named, tuned

    recipe = recipe_named(recipe_name)
    if steps is not None and steps < 1:
        raise InvalidInput(f"--steps {steps} is no training", remedy="Use a whole number of at least 1.")
    return tuned(recipe, format=format, steps=steps, learning_rate=learning_rate, seed=seed)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
