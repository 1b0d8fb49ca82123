"""Erasure receipts: what was removed and from where, signed, and without the id of whom it was about."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from secrets import token_bytes, token_hex
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sharedllm.errors import ReceiptError
from sharedllm.holder import Derived, Removed
from sharedllm.store.erasure import AuditHead
from sharedllm.store.sql.protection import canonical
from sharedllm.strict_json import read_strictly

_CONTEXT = b"sharedllm erasure receipt 1\0"
# Ids are guessed sooner than keys, so that each guess is to take a moment and 16 MB.
_SLOW: dict[str, Any] = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


@dataclass(frozen=True)
class Receipt:
    """An erasure receipt.

    Attributes:
        id: 32 random hexadecimal digits.
        at: when, in UTC.
        salt, person: in hexadecimal; `person` is a slow hash of the id with that salt, see `is_about`.
        removed: what there was of theirs.
        derived: what was made from it among others' adapters.
        audit: how far the store's audit log went then; None where it has none.
        signature: by the store's operator over all of that, in hexadecimal.
    """

    id: str
    at: str
    salt: str
    person: str
    removed: tuple[Removed, ...]
    derived: tuple[Derived, ...]
    audit: AuditHead | None
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """The receipt as JSON."""
        return asdict(self)

    @property
    def counts(self) -> dict[str, int]:
        """How many of what were removed."""
        return {each.what: each.count for each in self.removed}

    def is_about(self, user: str) -> bool:
        """Whether it was made for the erasure of a user with this very id."""
        return _person(user, self.salt) == self.person


def make_receipt(
    user: str,
    removed: Sequence[Removed],
    derived: Sequence[Derived],
    audit: AuditHead | None,
    key: Ed25519PrivateKey,
) -> Receipt:
    """A receipt for an erasure that has happened."""
    salt = token_bytes(16).hex()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    parts = (token_hex(16), at, salt, _person(user, salt), tuple(removed), tuple(derived), audit)
    unsigned = Receipt(*parts, signature="")
    return Receipt(*parts, signature=key.sign(_signed(unsigned)).hex())


def read_receipt(data: bytes, key: Ed25519PublicKey) -> Receipt:
    """A receipt from its JSON.

    Raises:
        ReceiptError: it is not one, or not as it was signed with the other half of this key.
    """
    try:
        receipt = receipt_of(read_strictly(data))
        key.verify(bytes.fromhex(receipt.signature), _signed(receipt))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ReceiptError("This is not an erasure receipt", remedy="Give the whole file, as it was written.") from None
    except InvalidSignature:
        raise ReceiptError(
            "The receipt was not signed with this key, or was changed since",
            remedy="Check that the key is that of whoever made it, and ask them for the receipt again.",
        ) from None
    return receipt


def receipt_of(found: Mapping[str, Any]) -> Receipt:
    """A receipt that `Receipt.as_dict` gave. Its signature is not checked."""
    parts = dict(found)
    audit = parts.pop("audit")
    return Receipt(
        removed=tuple(Removed(**each) for each in parts.pop("removed")),
        derived=tuple(Derived(**each) for each in parts.pop("derived")),
        audit=None if audit is None else AuditHead(**audit),
        **parts,
    )


def _signed(receipt: Receipt) -> bytes:
    parts = asdict(receipt)
    del parts["signature"]
    return _CONTEXT + canonical([[name, _listed(value)] for name, value in parts.items()])


def _listed(value: Any) -> Any:
    # Lists keep their order wherever they are read, and objects need not.
    if isinstance(value, dict):
        return [[name, value[name]] for name in sorted(value)]
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _person(user: str, salt: str) -> str:
    return hashlib.scrypt(user.encode(errors="surrogatepass"), salt=bytes.fromhex(salt), **_SLOW).hex()
