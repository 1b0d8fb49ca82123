"""Ed25519 keys in files, as PEM: the one that signs receipts and the audit log, and those that sign snapshots."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sharedllm.cache_folder import data_dir
from sharedllm.errors import InvalidInput, StoreError
from sharedllm.files import write_private

# What reading a file that holds no key, or one of another kind, ends in.
_NO_KEY = (ValueError, TypeError, UnsupportedAlgorithm)

ENVIRONMENT_VARIABLE = "SHAREDLLM_SIGNING_KEY_FILE"


def signing_key_file() -> Path:
    """The file that ``SHAREDLLM_SIGNING_KEY_FILE`` names, else ``signing-key.pem`` in the data folder."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else data_dir() / "signing-key.pem"


def snapshot_key_file() -> Path:
    """Where the key that signs snapshots is kept unless another is named; its public half is beside it."""
    return data_dir() / "snapshots.key"


def public_half(path: Path) -> Path:
    """The file of the public key that belongs to the private key in ``path``."""
    return path.with_name(path.name + ".pub")


def signing_key() -> Ed25519PrivateKey:
    """The key that signs receipts and the audit log, in `signing_key_file`; made where there is none.

    Raises:
        StoreError: the file cannot be read or made, may be read by others, or does not hold such a key.
    """
    path = signing_key_file()
    try:
        # Whoever comes second takes the first one's.
        with suppress(FileExistsError):
            if not path.exists():
                _make_private(path)
        return _private(path)
    except OSError as error:
        raise StoreError(
            f"The signing key {path} cannot be read or made: {error.strerror}",
            remedy=f"Name a file that can with {ENVIRONMENT_VARIABLE}.",
        ) from None
    except InvalidInput as error:
        raise StoreError(error.message, remedy=error.remedy) from None


def check_signing_key() -> None:
    """Refuse what `signing_key` would; a key that is not there is not made, as far as its folder can be written.

    Raises:
        StoreError: as for `signing_key`.
    """
    path = signing_key_file()
    if path.exists():
        signing_key()
        return
    folder = next(each for each in path.absolute().parents if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"The signing key {path} cannot be made: {folder} may not be written to",
            remedy=f"Name a file that can with {ENVIRONMENT_VARIABLE}.",
        )


def verifying_key(path: Path | None) -> Ed25519PublicKey:
    """The public key in a PEM file; for None, the one that belongs to this machine's signing key, which must be there.

    Raises:
        InvalidInput: there is none.
    """
    if path is not None:
        return read_public(path)
    if not signing_key_file().exists():
        raise InvalidInput(
            f"There is no signing key here to verify with: {signing_key_file()}",
            remedy="Name the public key with --public-key; `sharedllm receipts key` prints it where receipts are made.",
        )
    return signing_key().public_key()


def make_key(path: Path) -> None:
    """Make a private key that only its owner may read, and its public half beside it.

    Raises:
        InvalidInput: the file is there already, or cannot be written.
    """
    try:
        public_half(path).write_text(public_pem(_make_private(path).public_key()), encoding="ascii")
    except OSError as error:
        raise InvalidInput(
            f"The signing key {path} cannot be made: {error.strerror}", remedy="Name another file with --key."
        ) from None


def read_private(path: Path) -> Ed25519PrivateKey:
    """The key in a file.

    Raises:
        InvalidInput: it cannot be read, is no Ed25519 private key, or others may read it.
    """
    try:
        return _private(path)
    except OSError as error:
        raise InvalidInput(
            f"The signing key {path} cannot be read: {error.strerror}",
            remedy="Name the file that `sharedllm fleet pack` made.",
        ) from None


def read_public(path: Path) -> Ed25519PublicKey:
    """The public half of a key in a file.

    Raises:
        InvalidInput: it cannot be read, or is no Ed25519 public key.
    """
    remedy = (
        "Name what `sharedllm receipts key` printed, or for a snapshot the .pub that `sharedllm fleet pack` made beside"
        " its key."
    )
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"The public key {path} cannot be read: {error.strerror}", remedy=remedy) from None
    except _NO_KEY:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(f"{path} is not an Ed25519 public key in PEM", remedy=remedy)
    return key


def public_pem(key: Ed25519PublicKey) -> str:
    """A public key as the text of a PEM file, to hand to whoever checks signatures."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _make_private(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _private(path: Path) -> Ed25519PrivateKey:
    data = path.read_bytes()
    if path.stat().st_mode & 0o077:
        raise InvalidInput(
            f"The signing key {path} may be read by others", remedy=f"If nobody has: chmod 600 {path}; else replace it."
        )
    try:
        key = load_pem_private_key(data, password=None)
    except _NO_KEY:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(
            f"{path} is not an Ed25519 private key in PEM", remedy="Restore it, or name the file of another key."
        )
    return key
