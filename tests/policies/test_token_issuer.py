"""TOK-5: tokens of one algorithm, and what else is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.limits import MAX_TOKEN_BYTES
from artcafe_proto.policies.token_issuer import Claims, TokenIssuer

SEED = bytes(range(32))
WALL = 1_700_000_000.25  # long ago: were PyJWT to look at the clock, every token would have expired
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
ISSUER = TokenIssuer(SEED, issuer="artcafe-platform", life_s=900.0)


def issued() -> str:
    return ISSUER.issue(agent_id="agent-1", tenant_id="tenant-1", key_id="key-1", jti="0" * 32, wall=WALL)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(header: object, payload: object, key: Ed25519PrivateKey = KEY) -> str:
    """A token of our own key with any header and payload, written without PyJWT."""
    text = ".".join(
        encoded(value if isinstance(value, bytes) else json.dumps(value).encode()) for value in (header, payload)
    )
    return f"{text}.{encoded(key.sign(text.encode()))}"


GOOD_HEADER = {"alg": "EdDSA", "typ": "JWT"}
GOOD: dict[str, Any] = json.loads(base64.urlsafe_b64decode(issued().split(".")[1] + "=="))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_tok_5_a_token_carries_its_claims_and_lives_as_configured() -> None:
    token = issued()
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT"}
    assert ISSUER.check(token, WALL) == Claims(
        agent_id="agent-1",
        tenant_id="tenant-1",
        key_id="key-1",
        issued_at=1_700_000_000,
        expires_at=1_700_000_900,
        jti="0" * 32,
    )
    assert set(GOOD) == {"sub", "tenant_id", "key_id", "iat", "exp", "iss", "aud", "jti"}
    assert ISSUER.check(token, WALL + 899)
    with pytest.raises(RemoteProtocolError, match="has expired"):
        ISSUER.check(token, WALL + 900)


def test_tok_5_a_token_is_verified_once_and_its_times_are_looked_at_each_time() -> None:
    issuer, token = TokenIssuer(SEED, issuer="artcafe-platform", life_s=900.0), issued()
    with patch("jwt.decode", side_effect=jwt.decode) as decode:
        assert issuer.check(token, WALL) == issuer.check(token, WALL + 899.0)
        with pytest.raises(RemoteProtocolError, match="expired"):
            issuer.check(token, WALL + 900.0)
        with pytest.raises(RemoteProtocolError, match="future"):
            issuer.check(token, WALL - 60.0)
        assert decode.call_count == 1
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="not made by this platform"):
                issuer.check(f"{token[:-4]}AAAA", WALL)
        assert decode.call_count == 3, "what was refused is not remembered"


def test_tok_5_of_very_many_tokens_only_the_latest_are_remembered() -> None:
    issuer = TokenIssuer(SEED, issuer="artcafe-platform", life_s=900.0)
    tokens = [
        issuer.issue(agent_id="agent-1", tenant_id="tenant-1", key_id="key-1", jti=f"{number}", wall=WALL)
        for number in range(1025)
    ]
    for token in tokens:
        issuer.check(token, WALL)
    with patch("jwt.decode", side_effect=jwt.decode) as decode:
        issuer.check(tokens[-1], WALL)
        issuer.check(tokens[1], WALL)
        assert decode.call_count == 0
        issuer.check(tokens[0], WALL)
        assert decode.call_count == 1


def test_tok_5_the_same_seed_makes_the_same_token_and_takes_it_after_a_restart() -> None:
    again = TokenIssuer(SEED, issuer="artcafe-platform", life_s=60.0)
    assert again.check(issued(), WALL).agent_id == "agent-1"
    assert issued() == issued()
    assert signed(GOOD_HEADER, GOOD) != issued()  # other order and blanks, and yet
    assert ISSUER.check(signed(GOOD_HEADER, GOOD), WALL) == ISSUER.check(issued(), WALL)


def test_tok_5_a_token_counts_from_its_nbf_on() -> None:
    token = signed(GOOD_HEADER, GOOD | {"nbf": WALL + 0.5})
    assert ISSUER.check(token, WALL + 0.5).agent_id == "agent-1"
    with pytest.raises(RemoteProtocolError, match="not valid yet"):
        ISSUER.check(token, WALL + 0.4)


def attacks() -> dict[str, str]:
    header, payload, signature = issued().split(".")
    raw_key = KEY.public_key().public_bytes_raw()
    pem_key = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ssh_key = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    tokens: dict[str, str] = {}
    for alg in ("none", "None", "NONE", "", None, 0, [], ["EdDSA"], {"alg": "EdDSA"}, "eddsa", "Ed25519", "ES256"):
        head = encoded(json.dumps({"alg": alg, "typ": "JWT"}).encode())
        tokens[f"alg {alg!r}, our signature"] = signed({"alg": alg, "typ": "JWT"}, GOOD)
        tokens[f"alg {alg!r}, none"] = f"{head}.{payload}."
        tokens[f"alg {alg!r}, any"] = f"{head}.{payload}.AAAA"
    for name, secret in (("raw", raw_key), ("PEM", pem_key), ("SSH", ssh_key), ("empty", b"")):
        for alg, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            text = f"{encoded(json.dumps({'alg': alg}).encode())}.{payload}"
            tokens[f"{alg} with the {name} key"] = f"{text}.{encoded(hmac.digest(secret, text.encode(), digest))}"
    rsa_key = rsa.generate_private_key(65537, 2048)
    text = f"{encoded(json.dumps({'alg': 'RS256'}).encode())}.{payload}"
    tokens["RS256"] = f"{text}.{encoded(rsa_key.sign(text.encode(), PKCS1v15(), SHA256()))}"
    numbers = rsa_key.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": encoded(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    text = f"{encoded(json.dumps({'alg': 'RS256', 'jwk': jwk}).encode())}.{payload}"
    tokens["a key in the header"] = f"{text}.{encoded(rsa_key.sign(text.encode(), PKCS1v15(), SHA256()))}"
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other_jwk = {"kty": "OKP", "crv": "Ed25519", "x": encoded(other.public_key().public_bytes_raw())}
    tokens["another key"] = signed(GOOD_HEADER, GOOD, other)
    tokens["another key, in the header"] = signed({**GOOD_HEADER, "jwk": other_jwk}, GOOD, other)
    tokens["no alg"] = signed({"typ": "JWT"}, GOOD)
    tokens["RFC 7797"] = signed({**GOOD_HEADER, "b64": False, "crit": ["b64"]}, GOOD)
    tokens["RFC 7797, detached"] = signed({**GOOD_HEADER, "b64": False, "crit": ["b64"]}, b"")
    crits: list[object] = [[], ["x"], [[]], "b64", None, {}, [{}]]
    for crit in crits:
        tokens[f"crit {crit!r}"] = signed({**GOOD_HEADER, "crit": crit}, GOOD)
    bads: list[object] = [
        [],
        "x",
        1,
        None,
        b"",
        b"{",
        b"\xff",
        b"[" * 5000,
        b'{"a":' * 999,
        b'{"a":%b}' % (b"9" * 5000),
    ]
    for bad in bads:
        tokens[f"header {str(bad)[:20]}"] = signed(bad, GOOD)
        tokens[f"payload {str(bad)[:20]}"] = signed(GOOD_HEADER, bad)
    for name in GOOD:
        tokens[f"no {name}"] = signed(GOOD_HEADER, without(name))
        for value in (None, True, [], {}, [GOOD[name]], {"": GOOD[name]}, 1.5):
            tokens[f"{name} {value!r}"] = signed(GOOD_HEADER, {**GOOD, name: value})
    for name in ("exp", "iat"):
        for value in (str(GOOD[name]), "NaN", float("nan"), float("inf")):
            tokens[f"{name} {value!r}"] = signed(GOOD_HEADER, {**GOOD, name: value})
    for name in ("sub", "tenant_id", "key_id", "jti"):
        tokens[f"{name} a number"] = signed(GOOD_HEADER, {**GOOD, name: 7})
    tokens["wrong iss"] = signed(GOOD_HEADER, {**GOOD, "iss": "artcafe-platform2"})
    tokens["wrong aud"] = signed(GOOD_HEADER, {**GOOD, "aud": "artcafe-tenant"})
    tokens["several aud"] = signed(GOOD_HEADER, {**GOOD, "aud": [GOOD["aud"], "other"]})
    tokens["expired"] = signed(GOOD_HEADER, {**GOOD, "exp": int(WALL)})
    tokens["negative exp"] = signed(GOOD_HEADER, {**GOOD, "exp": -(10**30)})
    tokens["from the future"] = signed(GOOD_HEADER, {**GOOD, "iat": 10**30, "exp": 10**31})
    tokens["other payload"] = f"{header}.{encoded(json.dumps({**GOOD, 'sub': 'agent-2'}).encode())}.{signature}"
    tokens["no signature"] = f"{header}.{payload}."
    tokens["zero signature"] = f"{header}.{payload}.{encoded(bytes(64))}"
    tokens["short signature"] = f"{header}.{payload}.{signature[:-4]}"
    tokens["padded"] = issued() + "=="
    tokens["two parts"] = f"{header}.{payload}"
    tokens["four parts"] = issued() + "." + signature
    tokens["blank"] = " " + issued()
    tokens["newline"] = issued() + "\n"
    tokens["not ASCII"] = issued() + "é"
    tokens["lone surrogate"] = issued() + "\ud800"
    tokens["empty"] = ""
    tokens["dots"] = "..."
    tokens["1 MB"] = signed({**GOOD_HEADER, "x": "x" * 1_000_000}, GOOD)
    tokens["just too large"] = issued() + "A" * (MAX_TOKEN_BYTES + 1 - len(issued()))
    return tokens


ATTACKS = attacks()


@pytest.mark.parametrize("name", ATTACKS)
def test_tok_5_every_other_token_is_refused_unquoted(name: str) -> None:
    token = ATTACKS[name]
    with pytest.raises(RemoteProtocolError) as refusal:
        ISSUER.check(token, WALL)
    assert (refusal.value.code, refusal.value.clause) == (401, "TOK-5")
    assert len(str(refusal.value)) < 120
    assert refusal.value.__cause__ is None
    assert not any(piece in str(refusal.value) for piece in token.split(".") if len(piece) > 8)


def test_tok_5_no_header_field_is_followed_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("it opened a socket")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    url = "http://127.0.0.1:1/keys"
    header = {**GOOD_HEADER, "jku": url, "x5u": url, "kid": "../../etc/passwd", "x5c": ["x"], "typ": "at+jwt"}
    assert ISSUER.check(signed(header, GOOD), WALL).agent_id == "agent-1"


@pytest.mark.repeats
@given(st.text(max_size=80) | st.lists(st.binary(max_size=60).map(encoded), min_size=1, max_size=4).map(".".join))
def test_tok_5_checking_any_text_raises_remote_protocol_error_only(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        ISSUER.check(text, WALL)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
header_names = st.sampled_from(["alg", "typ", "crit", "b64", "kid", "jku", "jwk", "cty", "zip"])


@pytest.mark.repeats
@given(
    header=st.dictionaries(header_names, json_values, max_size=3),
    payload=st.dictionaries(st.sampled_from(sorted(GOOD) + ["nbf"]), json_values, min_size=1, max_size=3),
)
def test_tok_5_even_what_our_key_signed_raises_remote_protocol_error_only(
    header: dict[str, Any], payload: dict[str, Any]
) -> None:
    with suppress(RemoteProtocolError):
        assert ISSUER.check(signed({**GOOD_HEADER, **header}, {**GOOD, **payload}), WALL).expires_at > WALL


def test_a_mistake_in_a_program_is_never_called_a_bad_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_our_arguments(token: str, key: object) -> None: ...

    monkeypatch.setattr("jwt.decode", without_our_arguments)
    with pytest.raises(TypeError, match="keyword"):
        TokenIssuer(bytes(32), issuer="x", life_s=1.0).check(signed(GOOD_HEADER, GOOD), WALL)
