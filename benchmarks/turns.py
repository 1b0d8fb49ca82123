"""Contenders that take turns: each is a process of its own, and whichever is not asked does nothing.

A machine that others share slows down and speeds up by the minute. Contenders that run one after the other see
different machines; those that take turns see the same.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

Ask = Callable[..., Any]
"""From the name of an order and what it takes, all of it JSON, to what the process made of it."""


@contextmanager
def contender(
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    python: Path | None = None,
) -> Iterator[Ask]:
    """``python -m module arguments``, which is to call `take_orders`, until the block is left.

    Args:
        module: what is run.
        arguments: what it is given.
        env: its whole environment; by default this process's.
        folder: the checkout whose code it is; by default the one of this process.
        python: of another environment; by default the one of this process.
    """
    if folder is not None:
        env = {**(os.environ if env is None else env), "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
    command = [str(python or sys.executable), "-m", module, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=folder
    ) as process:
        orders, tells = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

        def ask(*order: Any) -> Any:
            line = ""
            with suppress(BrokenPipeError):
                orders.write(json.dumps(order) + "\n")
                orders.flush()
                line = tells.readline()
            if not line:
                raise SystemExit(f"{' '.join(command)} ended before its time")
            return json.loads(line)

        try:
            yield ask
        finally:
            with suppress(BrokenPipeError):
                orders.close()


def take_orders(does: Mapping[str, Callable[..., Any]]) -> None:
    """The process's side: do what comes in by name, until nothing does."""
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(does[name](*given)), flush=True)
