"""Where the checkout is whose experiments are no part of the package."""

from pathlib import Path

from sharedllm.errors import InvalidInput

_COMMAND = Path("experiments") / "cli.py"


def checkout() -> Path:
    """The root of the checkout around the current folder.

    Raises:
        InvalidInput: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / _COMMAND).is_file():
            return folder
    raise InvalidInput(
        f"The experiments are no part of the package, and there is no {_COMMAND} in {here} or above it",
        remedy="Change into a checkout of SharedLLM, and run this there.",
    )
