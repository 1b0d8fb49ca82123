"""Keys in files."""

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import rsa

from sharedllm.errors import InvalidInput
from sharedllm.store.evidence.signing import (
    make_key,
    public_half,
    read_private,
    read_public,
    signing_key,
    verifying_key,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "snapshots.key"


def test_a_key_is_its_owners_alone_and_its_public_half_lies_beside_it(path):
    make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    ours = read_private(path).public_key()
    assert ours.public_bytes_raw() == read_public(public_half(path)).public_bytes_raw()


def test_a_key_is_never_written_over(path):
    make_key(path)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="cannot be made: File exists"):
        make_key(path)
    assert path.read_bytes() == before


def test_a_key_that_others_may_read_is_refused(path):
    make_key(path)
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match="chmod 600"):
        read_private(path)


@pytest.mark.parametrize("read", [read_private, read_public])
def test_what_is_no_such_key_is_refused(tmp_path, read):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(tmp_path / "none")
    other = tmp_path / "other"
    other.touch(0o600)
    with pytest.raises(InvalidInput, match="not an Ed25519"):
        read(other)
    key = rsa.generate_private_key(65537, 2048)
    secret = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    other.write_bytes(secret if read is read_private else public)
    with pytest.raises(InvalidInput, match="not an Ed25519"):
        read(other)


def test_a_key_that_signs_receipts_signs_snapshots_as_well_and_the_other_way_round(path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_SIGNING_KEY_FILE", str(path))
    assert signing_key().public_key() == read_private(path).public_key()
    path.unlink()
    make_key(path)
    assert signing_key().public_key() == read_private(path).public_key()
    assert verifying_key(public_half(path)) == verifying_key(None) == read_public(public_half(path))
