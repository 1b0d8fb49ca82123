"""Erasure receipts: what they say, whom they do not name, and that nobody can change them."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharedllm.errors import InvalidInput, ReceiptError, StoreError
from sharedllm.holder import Derived, Removed
from sharedllm.store.erasure import AuditHead
from sharedllm.store.evidence.receipts import make_receipt, read_receipt
from sharedllm.store.evidence.signing import public_pem, signing_key, verifying_key

KEY = Ed25519PrivateKey.generate()
REMOVED = [Removed("releases", "store", 3), Removed("events", "store", 4)]
DERIVED = [Derived("packed snapshot", "monday/", "rebuilt without them")]


@pytest.fixture
def receipt():
    return make_receipt("alice", REMOVED, DERIVED, AuditHead(7, "ab" * 32), KEY)


def as_bytes(receipt, **changes):
    return json.dumps(receipt.as_dict() | changes).encode()


def test_a_receipt_is_read_back_as_it_was_made(receipt):
    assert read_receipt(as_bytes(receipt), KEY.public_key()) == receipt
    without = make_receipt("alice", REMOVED, [], None, KEY)
    assert read_receipt(as_bytes(without), KEY.public_key()) == without


def test_the_layout_of_the_file_does_not_matter(receipt):
    turned = dict(reversed(receipt.as_dict().items()))
    turned["removed"] = [dict(reversed(each.items())) for each in turned["removed"]]
    assert read_receipt(json.dumps(turned, indent=7).encode(), KEY.public_key()) == receipt


def test_it_does_not_name_the_user_and_whoever_knows_the_id_can_tell(receipt):
    assert b"alice" not in as_bytes(receipt)
    assert receipt.is_about("alice")
    assert not any(receipt.is_about(other) for other in ("Alice", "alice ", "", "bob"))
    again = make_receipt("alice", REMOVED, DERIVED, None, KEY)
    assert (again.id, again.salt, again.person) != (receipt.id, receipt.salt, receipt.person)
    assert len({again.person, receipt.person}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "0" * 32},
        {"at": "2020-01-01T00:00:00+00:00"},
        {"salt": "00" * 16},
        {"person": "00" * 32},
        {"removed": []},
        {"removed": [{"what": "releases", "where": "store", "count": 3}]},
        {"removed": [{"what": "releases", "where": "store", "count": n} for n in (3, 4)]},
        {"derived": []},
        {"audit": None},
        {"audit": {"place": 8, "hash": "ab" * 32}},
        {"signature": "00" * 64},
    ],
)
def test_no_part_can_be_changed(receipt, changes):
    with pytest.raises(ReceiptError, match="changed since"):
        read_receipt(as_bytes(receipt, **changes), KEY.public_key())


def test_another_key_did_not_sign_it(receipt):
    with pytest.raises(ReceiptError, match="not signed with this key"):
        read_receipt(as_bytes(receipt), Ed25519PrivateKey.generate().public_key())


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b"7", b"null", b'{"audit": 7}', b"[" * 100_000])
def test_what_is_not_a_receipt_is_refused(data):
    with pytest.raises(ReceiptError, match="not an erasure receipt"):
        read_receipt(data, KEY.public_key())


@pytest.mark.parametrize(
    "changes", [{"more": 1}, {"signature": "x"}, {"removed": [{"what": 1}]}, {"audit": {"place": 1}}, {"signature": 7}]
)
def test_what_is_almost_a_receipt_is_refused(receipt, changes):
    with pytest.raises(ReceiptError):
        read_receipt(as_bytes(receipt, **changes), KEY.public_key())


# The key that signs


def test_the_signing_key_is_made_once_and_is_its_owners_alone(tmp_path, monkeypatch):
    path = tmp_path / "keys" / "signing.pem"
    monkeypatch.setenv("SHAREDLLM_SIGNING_KEY_FILE", str(path))
    with pytest.raises(InvalidInput, match="--public-key"):
        verifying_key(None)
    first = signing_key()
    assert public_pem(signing_key().public_key()) == public_pem(first.public_key())
    assert path.stat().st_mode & 0o077 == 0
    public = tmp_path / "public.pem"
    public.write_text(public_pem(first.public_key()))
    assert verifying_key(public) == verifying_key(None) == first.public_key()
    for wrong in (path, tmp_path / "missing"):
        with pytest.raises(InvalidInput, match="public key"):
            verifying_key(wrong)


def test_a_signing_key_that_others_may_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "signing.pem"
    monkeypatch.setenv("SHAREDLLM_SIGNING_KEY_FILE", str(path))
    signing_key()
    path.chmod(0o640)
    with pytest.raises(StoreError, match=f"may be read by others.*chmod 600 {path}"):
        signing_key()
    with pytest.raises(StoreError, match="may be read by others"):
        verifying_key(None)


def test_a_signing_key_that_is_none_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_SIGNING_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / "key").write_text("no key")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(StoreError, match="Ed25519"):
        signing_key()
    (tmp_path / "key").unlink()
    (tmp_path / "key").mkdir()
    with pytest.raises(StoreError, match="cannot be read or made"):
        signing_key()


@pytest.mark.parametrize("name", ["person", "removed", "what", "place"])
def test_one_that_says_anything_twice_is_refused(receipt, name):
    said = as_bytes(receipt)
    twice = said.replace(b'"%s":' % name.encode(), b'"%s": "something else", "%s":' % (name.encode(), name.encode()), 1)
    assert twice != said
    with pytest.raises(ReceiptError, match="not an erasure receipt"):
        read_receipt(twice, KEY.public_key())
