"""Where the receipt of an erasure is written."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.cli.printing import print_json
from sharedllm.errors import InvalidInput, ReceiptError
from sharedllm.files import write_private

if TYPE_CHECKING:
    from sharedllm.store.evidence.receipts import Receipt


def check_receipt_place(path: Path | None, user: str) -> None:
    """Refuse, before anybody is erased, a place for the receipt that it could not be written to.

    Args:
        path: a file; None for standard output.
        user: whom the receipt will be about. One that is there already is fine: the same command has ended before.

    Raises:
        InvalidInput: there is another file, no such folder, or no standard output.
    """
    if path is None:
        if sys.stdout is None:
            raise InvalidInput(
                "Standard output is closed, and nobody was erased", remedy="Open it, or name a file with --receipt."
            )
        return
    try:
        if path.exists() and not _is_about(path.read_bytes(), user):
            raise FileExistsError(0, "File exists")
        if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
            raise PermissionError(0, "there is no folder that may be written to")
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written ({error.strerror}), and nobody was erased", remedy="Name a new file."
        ) from None


def give_receipt(receipt: "Receipt", user: str, path: Path | None) -> None:
    """Write the receipt of an erasure that is over to a file, whole or not at all, or to standard output.

    Raises:
        InvalidInput: it cannot be written. It is kept in the store, and the same command gives it again.
    """
    try:
        if path is None:
            print_json(receipt.as_dict())
            sys.stdout.flush()
        else:
            data = (json.dumps(receipt.as_dict(), indent=2) + "\n").encode("ascii")
            if not path.exists() or path.read_bytes() != data:
                write_private(path, data)
    except (OSError, ValueError) as error:
        if path is None:
            # What is left in the buffer would be tried again when the process ends, and complained of once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise InvalidInput(
            f"{user!r} is erased, and the receipt cannot be written to {path or 'standard output'}"
            f" ({getattr(error, 'strerror', None) or error})",
            remedy="Run the same command again, with --receipt and another file if need be: it gives the same receipt.",
        ) from None


def _is_about(data: bytes, user: str) -> bool:
    from sharedllm.store.evidence.receipts import read_receipt
    from sharedllm.store.evidence.signing import signing_key, signing_key_file

    try:
        return signing_key_file().exists() and read_receipt(data, signing_key().public_key()).is_about(user)
    except ReceiptError:
        return False
