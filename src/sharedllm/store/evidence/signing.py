"""Ed25519 keys in files: the one that signs receipts and the audit log, and those that sign snapshots."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

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
from sharedllm.errors import InvalidInput, SnapshotError, StoreError
from sharedllm.files import write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


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


# So that no signature made for anything else is valid here.
_PURPOSE = b"sharedllm packed snapshot\n"


def default_key() -> Path:
    """Where the key that signs snapshots is kept unless another is named; its public half is beside it."""
    return data_dir() / "snapshots.key"


def public_half(path: Path) -> Path:
    """The file of the public key that belongs to the private key in ``path``."""
    return path.with_name(path.name + ".pub")


def make_key(path: Path) -> None:
    """Make a private key that only its owner may read, and its public half beside it, both as PEM.

    Raises:
        InvalidInput: the file is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    try:
        write_private(path, secret)
        public_half(path).write_bytes(public)
    except OSError as error:
        raise InvalidInput(
            f"The signing key {path} cannot be made: {error.strerror}", remedy="Name another file with --key."
        ) from None


def read_private(path: Path) -> "Ed25519PrivateKey":
    """The key that `make_key` wrote.

    Raises:
        InvalidInput: it cannot be read, is no Ed25519 private key, or others may read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    if path.stat().st_mode & 0o077:
        raise InvalidInput(
            f"The signing key {path} may be read by others", remedy=f"If nobody has: chmod 600 {path}; else replace it."
        )
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(
            f"{path} is not an Ed25519 private key in PEM", remedy="Name the file that `sharedllm fleet pack` made."
        )
    return key


def read_public(path: Path) -> "Ed25519PublicKey":
    """The public half that `make_key` wrote.

    Raises:
        InvalidInput: it cannot be read, or is no Ed25519 public key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(
            f"{path} is not an Ed25519 public key in PEM",
            remedy="Name the .pub file that `sharedllm fleet pack` made beside its key.",
        )
    return key


def signed(text: bytes, key: "Ed25519PrivateKey") -> bytes:
    """A line of text, and a line with its signature."""
    return text + b"\n" + key.sign(_PURPOSE + text).hex().encode() + b"\n"


def verified(data: bytes, key: "Ed25519PublicKey", name: Path) -> bytes:
    """The text that `signed` signed.

    Raises:
        SnapshotError: it is not signed with the other half of this key, or was changed since.
    """
    from cryptography.exceptions import InvalidSignature

    text, _, rest = data.partition(b"\n")
    try:
        key.verify(bytes.fromhex(rest.decode("ascii")), _PURPOSE + text)
    except (InvalidSignature, ValueError):
        raise SnapshotError(
            f"{name} is not signed with this key, or was changed since",
            remedy="Check that the public key is the packer's, and copy the snapshot again.",
        ) from None
    return text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"The key {path} cannot be read: {error.strerror}",
            remedy="Name the file that `sharedllm fleet pack` made, or its .pub beside it.",
        ) from None
