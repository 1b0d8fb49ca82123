"""Public keys of an issuer: which algorithms they stand for, and an issuer who does not answer."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.errors import InvalidInput, NotAuthenticated, ServingError
from sharedllm.http import jwks
from sharedllm.http.jwt import JWT

WHOSE = {"issuer": "https://issuer.example", "audience": "sharedllm"}
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
PRIVATE = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "k1": ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
}


def member(name, **more):
    """The public half, as a member of a set, without ``alg``."""
    public = PRIVATE[name].public_key()
    kind = {"r": pyjwt.algorithms.RSAAlgorithm, "e": pyjwt.algorithms.OKPAlgorithm}.get(name[0])
    return (kind or pyjwt.algorithms.ECAlgorithm).to_jwk(public, as_dict=True) | {"kid": name} | more


def token(name, algorithm, **headers):
    claims = {"iss": WHOSE["issuer"], "aud": WHOSE["audience"], "sub": "alice", "exp": int(time.time()) + 60}
    return pyjwt.encode(claims, PRIVATE[name], algorithm, {"kid": name, **headers})


def tokens_of(path, *members, **allowed):
    path.write_text(json.dumps({"keys": members}))
    return JWT(**WHOSE, jwks=str(path), **allowed)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "jwks.json"


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        *(("rsa", each) for each in RSA),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("p521", "ES512"),
        ("ed25519", "EdDSA"),
        ("ed448", "EdDSA"),
    ],
)
def test_a_key_without_alg_verifies_whatever_fits_its_type_and_is_allowed(file, name, algorithm):
    everything = [member(each) for each in PRIVATE]
    assert tokens_of(file, *everything).subject(token(name, algorithm)) == "alice"
    assert tokens_of(file, *everything, algorithms=[algorithm]).subject(token(name, algorithm)) == "alice"
    other = "ES256" if algorithm != "ES256" else "RS256"
    with pytest.raises(NotAuthenticated):
        tokens_of(file, *everything, algorithms=[other]).subject(token(name, algorithm))


def test_a_key_with_alg_verifies_that_one_alone(file):
    tokens = tokens_of(file, member("rsa", alg="PS384"))
    assert tokens.subject(token("rsa", "PS384")) == "alice"
    for algorithm in set(RSA) - {"PS384"}:
        with pytest.raises(NotAuthenticated):
            tokens.subject(token("rsa", algorithm))


def test_two_keys_of_one_name_are_told_apart_by_their_types(file):
    tokens = tokens_of(file, member("rsa", kid="one"), member("p256", kid="one"))
    assert tokens.subject(token("rsa", "PS256", kid="one")) == "alice"
    assert tokens.subject(token("p256", "ES256", kid="one")) == "alice"


def test_keys_without_names_are_told_apart_by_their_types(file):
    tokens = tokens_of(file, *({**member(name), "kid": None} for name in ("rsa", "p384")))
    unnamed = pyjwt.encode(
        {"iss": WHOSE["issuer"], "aud": WHOSE["audience"], "sub": "alice", "exp": 2**40}, PRIVATE["rsa"], "RS512"
    )
    assert tokens.subject(unnamed) == "alice"


@pytest.mark.parametrize(
    "useless",
    [
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "rsa"},
        member("rsa", use="enc"),
        member("rsa", key_ops=["encrypt"]),
        member("rsa", alg="RSA-OAEP"),
        member("rsa", alg="HS256"),
        member("rsa", alg="none"),
        member("rsa", n=3),
        member("rsa", kid=7),
        member("k1"),
        {"kty": ["RSA"]},
        {},
        7,
    ],
)
def test_what_cannot_verify_a_signature_is_passed_over(file, useless):
    with pytest.raises(InvalidInput, match="no public keys"):
        tokens_of(file, useless)
    assert tokens_of(file, useless, member("p256")).subject(token("p256", "ES256")) == "alice"


def test_a_shared_algorithm_or_none_is_refused_whatever_the_set_holds(file):
    tokens = tokens_of(file, {"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, member("rsa"))
    claims = {"iss": WHOSE["issuer"], "aud": WHOSE["audience"], "sub": "alice", "exp": 2**40}
    for forged in (
        pyjwt.encode(claims, b"secret" * 8, "HS256", {"kid": "a"}),
        pyjwt.encode(claims, None, "none", {"kid": "rsa"}),
    ):
        with pytest.raises(NotAuthenticated):
            tokens.subject(forged)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("verify")
VALUES = ANYTHING | st.lists(ANYTHING, max_size=2) | st.dictionaries(st.text(max_size=3), ANYTHING, max_size=2)


@settings(max_examples=60, deadline=None)
@given(
    VALUES, st.sampled_from(["rsa", "p256", "ed25519"]), st.sampled_from([*member("rsa"), *member("p256"), "key_ops"])
)
def test_whatever_a_set_holds_it_is_keys_or_a_value_error(value, name, part):
    for whole in (value, {"keys": value}, {"keys": [value]}, {"keys": [{**member(name), part: value}]}):
        try:
            keys = jwks.parse(json.dumps(whole).encode())
        except ValueError:
            continue
        assert {type(key.kid) for key in keys} <= {str, type(None)}


class Issuer(ThreadingHTTPServer):
    """An issuer's server, which counts its answers, and answers only while it is ``there``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.members, self.asked = [member("rsa")], 0
        self.there, self.ending = threading.Event(), threading.Event()
        self.there.set()
        self.address = f"http://127.0.0.1:{self.server_port}/keys"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        while not (self.server.there.wait(0.01) or self.server.ending.is_set()):
            pass
        body = json.dumps({"keys": self.server.members}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is said."""


@pytest.fixture
def issuer(monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 1.0)
    server = Issuer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.ending.set()
    server.shutdown()
    server.server_close()
    thread.join()


def refused(tokens, forged):
    try:
        tokens.subject(forged)
    except (NotAuthenticated, ServingError) as error:
        return type(error)
    return None


@pytest.mark.slow
def test_many_tokens_with_unknown_keys_are_one_fetch_and_nobody_waits_longer_than_that(issuer):
    tokens = JWT(**WHOSE, jwks=issuer.address)
    assert tokens.subject(token("rsa", "RS256")) == "alice"
    tokens._public._ended = -float("inf")
    issuer.there.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        outcomes = set(threads.map(lambda at: refused(tokens, token("rsa", "RS256", kid=f"no {at}")), range(20)))
    assert time.monotonic() - began < 40
    assert outcomes <= {NotAuthenticated, ServingError}
    assert issuer.asked == 2


def test_the_next_fetch_for_an_unknown_key_comes_no_sooner_than_a_while_after_the_last(issuer):
    tokens = JWT(**WHOSE, jwks=issuer.address)
    assert tokens.subject(token("rsa", "RS256")) == "alice"
    assert [refused(tokens, token("rsa", "RS256", kid=str(at))) for at in range(5)] == 5 * [NotAuthenticated]
    assert issuer.asked == 1


def test_a_new_key_is_fetched_when_a_token_names_it(issuer, monkeypatch):
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    tokens = JWT(**WHOSE, jwks=issuer.address)
    assert tokens.subject(token("rsa", "RS256")) == "alice"
    issuer.members.append(member("p256"))
    assert tokens.subject(token("p256", "ES256")) == "alice"


@pytest.mark.slow
def test_known_keys_stay_good_while_the_issuer_is_away_and_go_when_it_says_so(issuer, monkeypatch):
    monkeypatch.setattr(jwks, "AGAIN_SECONDS", 0.0)
    tokens = JWT(**WHOSE, jwks=issuer.address)
    good = token("rsa", "RS256")
    assert tokens.subject(good) == "alice"
    monkeypatch.setattr(jwks, "FRESH_SECONDS", 0.0)
    issuer.there.clear()
    assert [tokens.subject(good) for _ in range(3)] == 3 * ["alice"]
    assert refused(tokens, token("rsa", "RS256", kid="unknown")) is ServingError
    issuer.members = [member("p256")]
    issuer.there.set()
    assert tokens.subject(token("p256", "ES256")) == "alice"
    assert refused(tokens, good) is NotAuthenticated


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "oct"}]}', b"[" * 100_000])
def test_an_answer_without_keys_is_no_fault_of_the_caller(monkeypatch, body):
    monkeypatch.setattr(jwks, "_read", lambda address: body)
    assert refused(JWT(**WHOSE, jwks="https://issuer.example/keys"), token("rsa", "RS256")) is ServingError


@pytest.mark.slow
def test_while_an_issuer_hangs_no_thread_is_held_and_keys_of_the_store_answer(issuer, serving):
    issuer.there.clear()
    server = serving()
    server.core.jwt = JWT(**WHOSE, jwks=issuer.address)

    async def storm():
        unknown = [server.core.jwt.subject_soon(token("rsa", "RS256", kid=str(at))) for at in range(100)]
        waiting = asyncio.gather(*unknown, return_exceptions=True)
        await asyncio.sleep(0)
        fetching = [thread for thread in threading.enumerate() if thread.name == "jwks"]
        holder = await asyncio.to_thread(server.core.keys.holder, server.secrets["alice"])
        still = not waiting.done()
        return len(fetching), holder.user, still, {type(each) for each in await waiting}

    assert asyncio.run(storm()) == (1, "alice", True, {ServingError})
    assert issuer.asked == 1


def test_a_key_set_that_says_anything_twice_is_none():
    with pytest.raises(ValueError, match="twice"):
        jwks.parse(b'{"keys": [{"kty": "RSA", "kid": "a", "kid": "b"}]}')
    with pytest.raises(ValueError, match="twice"):
        jwks.parse(b'{"keys": [], "keys": [{}]}')


@pytest.mark.parametrize(("name", "algorithm"), [("rsa", "PS256"), ("p256", "ES256"), ("ed25519", "EdDSA")])
def test_a_private_key_among_the_public_ones_verifies_as_its_public_half(file, name, algorithm):
    kind = {"r": pyjwt.algorithms.RSAAlgorithm, "e": pyjwt.algorithms.OKPAlgorithm}.get(name[0])
    private = (kind or pyjwt.algorithms.ECAlgorithm).to_jwk(PRIVATE[name], as_dict=True)
    private.pop("key_ops", None)
    tokens = tokens_of(file, private | {"kid": name})
    assert tokens.subject(token(name, algorithm)) == "alice"
    head, claims, _ = token(name, algorithm).split(".")
    with pytest.raises(NotAuthenticated):
        tokens.subject(f"{head}.{claims}.{token('rsa', 'RS256').split('.')[2]}")
