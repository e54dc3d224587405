"""AUTH-2: what a lying platform would have signed, and what the signature would have been good for elsewhere.

Each attack is carried out first, with a key that signs anything: a challenge that is refused for nothing shows nothing.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode, urlsafe_b64encode
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt import PyJWS

from artcafe_proto import RemoteProtocolError, SigningKey
from artcafe_proto.policies.challenges import check_challenge
from artcafe_proto.policies.ssh_wire import pack_string

ED25519: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RSA: Final = generate_private_key(65537, 2048)
KEYS: Final[dict[str, Any]] = {"EdDSA": ED25519, "RS256": RSA}
CLAIMS: Final = {"sub": "admin", "exp": 4_000_000_000}


def refusal_of(challenge: str) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        check_challenge(challenge)
    assert refused.value.clause == "AUTH-2"
    return refused.value.reason


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


# --- tokens (RFC 7515) ------------------------------------------------------------------------------------------------


def spellings(header: bytes, payload: bytes) -> dict[str, str]:
    """Ways to write `HEADER.PAYLOAD`. PyJWT takes three of them; other readers skip what is not base64."""
    head, body = base64url(header), base64url(payload)
    padded = urlsafe_b64encode(header).decode()
    return {
        "as it should be": f"{head}.{body}",
        "with padding": f"{padded}.{body}",
        "with more padding": f"{padded}==.{body}",
        "in the standard alphabet": f"{b64encode(header).decode().rstrip('=')}.{body}",
        "with characters of neither alphabet": f"{head[:4]}!~$*{head[4:]}.{body}",
        "with a star before it": f"*{head}.{body}",
        "with a blank within": f"{head[:4]}    {head[4:]}.{body}",
        "with a line end within": f"{head[:4]}\r\n\r\n{head[4:]}.{body}",
        "with a tab before it": f"\t{head}.{body}",
        "with a soft hyphen within": f"{head[:4]}\u00ad{head[4:]}.{body}",
        "with a zero width space within": f"{head[:4]}\u200b{head[4:]}.{body}",
        "with a byte order mark": f"\ufeff{head}.{body}",
        "in full width": f"{head.translate({ord(each): ord(each) + 0xFEE0 for each in 'eyJhbGciOi'})}.{body}",
        "with a payload in blanks": f"{head}. {body} ",
    }


def headers(algorithm: str) -> dict[str, bytes]:
    """Ways to write a header that says `alg`."""
    plain: dict[str, Any] = {"alg": algorithm, "typ": "JWT"}
    return {
        "plain": json.dumps(plain, separators=(",", ":")).encode(),
        "with blanks around it": b" \r\n\t" + json.dumps(plain, indent=2).encode() + b" \n",
        "escaped": json.dumps(plain).replace("a", "\\u0061", 1).encode(),
        "with a key twice": b'{"alg":"none",' + json.dumps(plain).encode()[1:],
        "in UTF-16": json.dumps(plain).encode("utf-16"),
        "with other text": json.dumps(plain | {"kid": "é\u2028"}, ensure_ascii=False).encode(),
    }


def is_taken_for_a_token(signing_input: str, algorithm: str) -> bool:
    """Whether PyJWT, given a signature of exactly these bytes, takes them for claims."""
    raw = signing_input.encode()
    signature = SigningKey(KEYS[algorithm]).sign(raw, "raw")
    try:
        claims = jwt.decode(raw + b"." + base64url(signature).encode(), KEYS[algorithm].public_key(), [algorithm])
    except jwt.PyJWTError:
        return False
    return claims == CLAIMS


@pytest.mark.parametrize("algorithm", KEYS)
def test_auth_2_what_would_have_been_a_token_is_refused_in_every_spelling(algorithm: str) -> None:
    taken: set[str] = set()
    payload = json.dumps(CLAIMS).encode()
    for how, header in headers(algorithm).items():
        for spelling, signing_input in spellings(header, payload).items():
            reason = refusal_of(signing_input)
            assert "JSON Web Token" in reason or "visible ASCII" in reason, (how, spelling)
            if is_taken_for_a_token(signing_input, algorithm):
                taken |= {how, spelling}
    assert {"as it should be", "with padding", "in the standard alphabet"} <= taken
    assert {"plain", "with blanks around it", "escaped", "in UTF-16", "with other text"} <= taken


@pytest.mark.parametrize("algorithm", KEYS)
def test_auth_2_an_unencoded_payload_of_rfc_7797_is_refused(algorithm: str) -> None:
    payload = b"$.02"
    for header in (
        {"alg": algorithm, "b64": False, "crit": ["b64"]},
        {"crit": ["b64"], "b64": False, "alg": algorithm},
    ):
        head = base64url(json.dumps(header).encode())
        signing_input = f"{head}.{payload.decode()}"
        signature = SigningKey(KEYS[algorithm]).sign(signing_input.encode(), "raw")
        read = PyJWS().decode(
            f"{head}..{base64url(signature)}", KEYS[algorithm].public_key(), [algorithm], detached_payload=payload
        )
        assert read == payload, "had it been signed, it would have been a signature of the payload"
        assert "JSON Web Token" in refusal_of(signing_input)
        assert "JSON Web Token" in refusal_of(f"{head}.a.payload.with.dots.of.its.own")


# --- SSH and others ---------------------------------------------------------------------------------------------------


def user_authentication(key: SigningKey, session_id: bytes) -> bytes:
    """What a client signs to log in (RFC 4252 section 7)."""
    parts = (b"root", b"ssh-connection", b"publickey")
    end = b"\1" + pack_string(key.public.algorithm.encode()) + pack_string(key.public.blob)
    return pack_string(session_id) + b"\x32" + b"".join(map(pack_string, parts)) + end


@pytest.mark.parametrize("size", [20, 32, 64, 0x21])
def test_auth_2_an_ssh_login_is_not_signed(size: int) -> None:
    key = SigningKey(ED25519)
    blob = user_authentication(key, b"s" * size)
    assert key.public.verify(key.sign(blob, "ssh"), blob) == "ssh-ed25519", "had it been signed, it would log in"
    for text in (blob.decode("latin-1"), blob.decode("utf-8", "surrogateescape")):
        assert "visible ASCII" in refusal_of(text)
    assert blob[:1] == b"\0", "no server's session id is 16 MiB long: the first byte is never visible"


SIGNED_ELSEWHERE: Final[dict[str, bytes]] = {
    "an SSH certificate": pack_string(b"ssh-ed25519-cert-v01@openssh.com") + pack_string(bytes(32)),
    "a file, as ssh-keygen -Y signs it": b"SSHSIG" + b"".join(map(pack_string, (b"file", b"", b"sha512", bytes(64)))),
    "a Git commit": b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b> 0 +0000\n\nmessage\n",
    "TLS 1.3's CertificateVerify (RFC 8446 section 4.4.3)": b" " * 64
    + b"TLS 1.3, client CertificateVerify\0"
    + bytes(32),
    "TLS 1.2's key exchange": bytes(64) + b"\3\0\x1d\x20" + bytes(32),
    "an X.509 certificate": b"\x30\x82\x01\x0a\xa0\x03\x02\x01\x02\x02\x01\x01" + b"0" * 32,
    "a short certificate request": b"\x30\x40\x02\x01\x00" + b"0" * 61,
    "an S/MIME or CMS attribute set": b"\x31\x69\x30\x18\x06\x09" + b"*" * 32,
    "a COSE signature (RFC 9052 section 4.4)": b"\x84\x6aSignature1\x43\xa1\x01\x26\x40\x54" + b"x" * 20,
    "an SSH key exchange's hash": bytes(range(0x80, 0xA0)),
    "a DNSSEC record set": struct.pack(">HBBIIIH", 1, 15, 2, 3600, 0, 0, 1) + b"\x07example\0",
    "an HTTP message (RFC 9421)": b'"@method": POST\n"@signature-params": ("@method");created=1',
    "a canonical AWS-like request": b"AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/eu/iam/aws4_request\n" + b"a" * 64,
}


@pytest.mark.parametrize("name", SIGNED_ELSEWHERE)
def test_auth_2_what_other_protocols_sign_is_no_challenge(name: str) -> None:
    assert len(SIGNED_ELSEWHERE[name]) >= 16
    assert "visible ASCII" in refusal_of(SIGNED_ELSEWHERE[name].decode("latin-1"))
