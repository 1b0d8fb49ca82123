"""The master key: a file of its own, which wraps the key of every user."""

import os
from pathlib import Path
from secrets import token_bytes

from sharedllm.errors import MasterKeyError
from sharedllm.files import write_private

ENVIRONMENT_VARIABLE = "SHAREDLLM_MASTER_KEY_FILE"
KEY_BYTES = 32


def master_key_file() -> Path:
    """The file that ``SHAREDLLM_MASTER_KEY_FILE`` names; nothing else may, so that no list of processes shows it.

    Raises:
        MasterKeyError: the variable is not set.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        raise MasterKeyError(
            "No master key is named, and what is encrypted cannot be read or written without one",
            remedy=f"Set {ENVIRONMENT_VARIABLE} to its file; `sharedllm store init-key` makes one.",
        )
    return Path(named).expanduser()


def coming(path: Path) -> Path:
    """Where the master key lies that is about to be put in the place of the one in ``path``."""
    path = path.resolve()
    return path.with_name(path.name + ".new")


def write_master_key(path: Path) -> None:
    """Make a random key and write it where nothing is yet, readable by its owner alone.

    Raises:
        MasterKeyError: there is a file already, or it cannot be written.
    """
    try:
        write_private(path, token_bytes(KEY_BYTES).hex().encode() + b"\n")
    except FileExistsError:
        raise MasterKeyError(
            f"{path} exists, and overwriting a master key loses all that it wraps",
            remedy="Name another file, or use the key that is there.",
        ) from None
    except OSError as error:
        raise MasterKeyError(
            f"{path} cannot be written: {error.strerror}", remedy="Name a file in a folder of your own."
        ) from None


def read_master_key(path: Path) -> bytes:
    """The key in a file, 32 bytes.

    Raises:
        MasterKeyError: there is no such file, others may read it, or it does not hold a key, and is not quoted.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise MasterKeyError(
            f"The master key {path} cannot be read: {error.strerror}",
            remedy=f"Set {ENVIRONMENT_VARIABLE} to its file; `sharedllm store init-key` makes one.",
        ) from None
    except UnicodeDecodeError:
        text = ""
    if mode & 0o077:
        raise MasterKeyError(
            f"The master key {path} may be read by others", remedy=f"Keep it to yourself: chmod 600 {path}"
        )
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyError(
            f"{path} does not hold a master key, which is {2 * KEY_BYTES} hexadecimal digits",
            remedy="Name the file that `sharedllm store init-key` wrote, or restore it.",
        )
    return key
