"""The key that signs erasure receipts and the audit log, made when it is first needed."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sharedllm.cache import data_dir
from sharedllm.errors import InvalidInput, StoreError
from sharedllm.files import write_private

ENVIRONMENT_VARIABLE = "SHAREDLLM_SIGNING_KEY_FILE"


def signing_key() -> Ed25519PrivateKey:
    """The key in the file that ``SHAREDLLM_SIGNING_KEY_FILE`` names, else in ``signing-key.pem`` in the data folder.

    Raises:
        StoreError: the file cannot be read or made, may be read by others, or does not hold such a key.
    """
    path = signing_key_file()
    try:
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            # Whoever comes second takes the first one's.
            with suppress(FileExistsError):
                write_private(path, pem)
        mode = path.stat().st_mode
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise StoreError(
            f"The signing key {path} cannot be read or made: {error.strerror}",
            remedy=f"Name a file that can with {ENVIRONMENT_VARIABLE}.",
        ) from None
    except (ValueError, TypeError):
        key = None
    if mode & 0o077:
        raise StoreError(
            f"The signing key {path} may be read by others", remedy=f"Keep it to yourself: chmod 600 {path}"
        )
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{path} does not hold an Ed25519 key", remedy="Restore it, or name another file.")
    return key


def verifying_key(path: Path | None) -> Ed25519PublicKey:
    """The public key in a PEM file; for None, the one that belongs to this machine's signing key, which must be there.

    Raises:
        InvalidInput: there is none.
    """
    if path is not None:
        return _read_public_key(path)
    if not signing_key_file().exists():
        raise InvalidInput(
            f"There is no signing key here to verify with: {signing_key_file()}",
            remedy="Name the public key with --public-key; `sharedllm receipts key` prints it where receipts are made.",
        )
    return signing_key().public_key()


def signing_key_file() -> Path:
    """Where the signing key is, or will be made."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else data_dir() / "signing-key.pem"


def public_pem(key: Ed25519PublicKey) -> str:
    """A public key as the text of a PEM file, to hand to whoever checks signatures."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _read_public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(
            f"{path} does not hold an Ed25519 public key", remedy="Name a file that `sharedllm receipts key` printed."
        )
    return key
