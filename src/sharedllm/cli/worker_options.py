"""Options that say where work is done: by processes on this machine, or on a Ray cluster."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import with_options
from sharedllm.errors import InvalidInput
from sharedllm.extras import need

if TYPE_CHECKING:
    from sharedllm.cluster.workers.executors import Executor, WorkerJob


def worker_options(by_default: str) -> Callable[..., Any]:
    """The options; `check_executor` and `executor_of` take what they give.

    Args:
        by_default: how many workers there are if nobody says.
    """
    options = (
        click.option(
            "--executor",
            "executor_name",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Where: processes on this machine, or Ray.",
        ),
        click.option(
            "--address", metavar="URL", help="Of a Ray cluster, ray://…; without, Ray starts on this machine."
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help=f"How many train at once, each with a base of its own. {by_default}",
        ),
    )
    return partial(with_options, options)


def check_executor(name: str, address: str | None) -> None:
    """See that there can be such workers.

    Raises:
        MissingExtra: they are to be Ray's, which is not installed.
        InvalidInput: there is an address, and they are not.
    """
    if name == "ray":
        need("ray")
    elif address is not None:
        raise InvalidInput(f"An address, {address!r}, is given to local workers", remedy="Add --executor ray.")


def executor_of(name: str, job: "WorkerJob", address: str | None, workers: int | None) -> "Executor[Any, Any]":
    """The workers for a job, to be closed.

    Raises:
        MissingExtra, InvalidInput, TrainingError: see `RayExecutor`.
    """
    if name == "ray":
        from sharedllm.cluster.workers.ray import RayExecutor

        return RayExecutor(job, address, workers)
    from sharedllm.cluster.workers.local import LocalExecutor

    return LocalExecutor(job, 1 if workers is None else workers)
