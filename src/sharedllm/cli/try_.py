"""`sharedllm try`: the page, at one person's own place, on this machine, with nothing to set up."""

import logging
import webbrowser
from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import base_option, format_option, store_option, weights_option
from sharedllm.cli.telling import load
from sharedllm.printable import printable
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.base.loading import Weights

HOST = "127.0.0.1"
PORT = 8135
"""The page's own, so that its address stays what it was; where it is taken, the next that is free."""
_PORTS = 20
_MB = 1024**2
_BODY_BYTES = 256 * _MB
_BODY_SECONDS = 300.0
# Nobody else waits for this machine.
_TRAINING_SHARE = 0.75


@click.command()
@click.argument("user")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@format_option("Of the adapters that answer, and that are trained.")
@base_option
@weights_option
@store_option
def command(
    user: str, no_browser: bool, format: str, base_name: str | None, weights: "Weights", store: str | None
) -> None:
    """Open the page at USER's own place, on this machine.

    It serves what `sharedllm serve` does, to this machine and to USER alone, and opens a browser there: to write, drop
    files, train and go back. The address is good once; the next one is printed when it was used. Its port is 8135, or
    the next that is free. It ends on Ctrl-C.

    \b
      sharedllm try alice
    """
    check_user_id(user)
    from contextlib import ExitStack, closing

    from sharedllm.http.free_memory import bound_shapes
    from sharedllm.http.listen_address import first_free
    from sharedllm.http.visits import FRAGMENT, Visits

    bound_shapes()

    from sharedllm.http.jobs import Jobs
    from sharedllm.http.server import serve
    from sharedllm.http.service import Policy, Service
    from sharedllm.operations.default_base import default_base
    from sharedllm.serving.engine import Engine
    from sharedllm.store import open_store

    here = ""

    def address() -> str:
        return f"{here}/{FRAGMENT}{visits.code()}"

    def again() -> None:
        click.echo(f"To open it again: {address()}")

    def ready(url: str) -> None:
        nonlocal here
        here = url
        # A line for every request would bury the address.
        logging.getLogger("sharedllm.http").setLevel(logging.ERROR)
        first = address()
        click.echo(f"{printable(user)}'s place: {first}\nCtrl-C ends it.")
        if not no_browser and not webbrowser.open(first):
            click.echo("No browser could be opened; open the address in one.", err=True)

    visits = Visits(user, on_redeemed=again)
    port = first_free(HOST, range(PORT, PORT + _PORTS))
    if port != PORT:
        click.echo(f"Port {PORT} is taken, so the page is at port {port} this time.", err=True)
    with ExitStack() as open_here:
        opened = open_here.enter_context(open_store(store))
        base = load(base_name or default_base(opened), weights)
        jobs = open_here.enter_context(closing(Jobs(base.folder, store, share=_TRAINING_SHARE)))
        policy = Policy(
            body_bytes=_BODY_BYTES,
            bodies_bytes=4 * _BODY_BYTES,
            body_seconds=_BODY_SECONDS,
            notice_seconds=0,
        )
        serve(Service(Engine(base, format=format), opened, visits=visits, jobs=jobs, policy=policy), HOST, port, ready)
