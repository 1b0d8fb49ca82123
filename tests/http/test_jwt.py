"""Tokens of another issuer: only those that are signed, current and meant for this server."""

import base64
import json
import time
from urllib.error import URLError

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sharedllm.errors import InvalidInput, NotAuthenticated, ServingError
from sharedllm.http.jwt import JWT

SECRET = "0123456789abcdef0123456789abcdef"
WHOSE = {"issuer": "https://issuer.example", "audience": "sharedllm"}


def claims(**changed):
    now = int(time.time())
    whole = {"iss": WHOSE["issuer"], "aud": WHOSE["audience"], "sub": "alice", "exp": now + 60, **changed}
    return {name: value for name, value in whole.items() if value is not None}


def signed(secret=SECRET, algorithm="HS256", headers=None, **changed):
    return pyjwt.encode(claims(**changed), secret, algorithm, headers)


@pytest.fixture
def shared():
    return JWT(**WHOSE, secret=SECRET)


@pytest.fixture(scope="module")
def pair():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def jwks(tmp_path, pair):
    """A file of one public key, named ``one``."""
    key = pyjwt.algorithms.RSAAlgorithm.to_jwk(pair.public_key(), as_dict=True) | {"kid": "one", "use": "sig"}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [key]}))
    return str(path)


def test_a_valid_token_speaks_for_its_subject(shared):
    assert shared.subject(signed()) == "alice"
    assert shared.subject(signed(aud=["else", "sharedllm"])) == "alice"


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": "f" * 32},
        {"algorithm": "HS512", "secret": 2 * SECRET},
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"exp": 1},
        {"nbf": 2**40},
        {"sub": ""},
        {"sub": "a\0b"},
        {"sub": None},
        {"iss": None},
        {"aud": None},
        {"exp": None},
    ],
)
def test_any_other_is_refused_with_one_message(shared, changed):
    with pytest.raises(NotAuthenticated, match="The token is not valid"):
        shared.subject(signed(**changed))


@pytest.mark.parametrize("token", ["", "a.b.c", "..", "é.é.é", "a" * 9000, None])
def test_what_is_no_token_is_refused(shared, token):
    nested = base64.urlsafe_b64encode(b"[" * 5000).decode()
    with pytest.raises(NotAuthenticated):
        shared.subject(f"{nested}.e30.x" if token is None else token)


def test_an_unsigned_token_is_refused(shared):
    with pytest.raises(NotAuthenticated):
        shared.subject(pyjwt.encode(claims(), None, "none"))


def test_public_keys_verify_what_their_private_key_signed(jwks, pair):
    tokens = JWT(**WHOSE, jwks=jwks)
    assert tokens.subject(signed(pair, "RS256", {"kid": "one"})) == "alice"
    for refused in (
        signed(pair, "RS256", {"kid": "two"}),
        signed(pair, "RS256"),
        signed(ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "one"}),
    ):
        with pytest.raises(NotAuthenticated):
            tokens.subject(refused)


def test_a_public_key_is_never_taken_for_a_shared_secret(jwks, pair):
    public = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NotAuthenticated):
        JWT(**WHOSE, jwks=jwks).subject(signed(public.hex(), "HS256", {"kid": "one"}))


def test_keys_that_cannot_be_fetched_are_no_fault_of_the_caller(monkeypatch):
    tokens = JWT(**WHOSE, jwks="https://issuer.example/keys")

    def unreachable(*_, **__):
        raise URLError("no route to 10.0.0.7")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", unreachable)
    with pytest.raises(ServingError, match="cannot be fetched") as refusal:
        tokens.subject(signed(headers={"kid": "one"}))
    assert "10.0.0.7" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "exactly one"),
        ({"secret": SECRET, "jwks": "keys.json"}, "exactly one"),
        ({"secret": "short"}, "at least 32"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "RS256"),
        ({"secret": SECRET, "algorithms": ["none"]}, "none"),
        ({"jwks": "keys.json", "algorithms": ["HS256"]}, "HS256"),
        ({"jwks": "http://issuer.example/keys"}, "https"),
        ({"jwks": "/nowhere/keys.json"}, "no public keys"),
    ],
)
def test_settings_that_would_let_others_in_are_refused(settings, expected):
    with pytest.raises(InvalidInput, match=expected):
        JWT(**WHOSE, **settings)


def test_over_http_a_token_is_its_user(serving):
    server = serving()
    server.core.jwt = JWT(**WHOSE, secret=SECRET)
    body = {"model": server.model, "prompt": "hi"}

    def ask(token, **asked):
        headers = {"Authorization": f"Bearer {token}"}
        return server.nobody.post("/v1/completions", json=body | asked, headers=headers).status_code

    assert ask(signed()) == 200
    assert ask(signed(), user="bob") == 403
    assert ask(signed(exp=1)) == 401
    assert server.alice.post("/v1/completions", json=body).status_code == 200
    server.core.keys = None
    assert ask(signed(sub="bob")) == 200
    assert ask("no-token") == 401
    assert [request.owner for request in server.engine.requests] == ["alice", "alice", "bob"]
