"""AUTH-3, AUTH-5: which key files are loaded, and what they sign."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.policies import private_keys
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import pack_string
from support.key_types import pem

MAKE = "make a key with: ssh-keygen -t ed25519"


def openssh_pem(public: bytes, secret: bytes, *, cipher: bytes = b"none", kdf: bytes = b"none", keys: int = 1) -> bytes:
    secret = bytes(8) + secret + pack_string(b"comment")
    secret += bytes(range(1, 1 + -len(secret) % 8))
    header = b"openssh-key-v1\0" + pack_string(cipher) + pack_string(kdf) + pack_string(b"") + struct.pack(">I", keys)
    return pem("OPENSSH PRIVATE KEY", header + pack_string(public) + pack_string(secret))


def pk8(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- loading ----------------------------------------------------------------------------------------------------------


MANGLINGS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "all of Windows": lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n").rstrip(),
    "no final newline": lambda data: data.rstrip(b"\n"),
    "text around it": lambda data: b"Bag Attributes\n\n" + data + b"\nanother line\n",
    "trailing spaces": lambda data: data.replace(b"\n", b" \n"),
}


@pytest.mark.parametrize("container", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
@pytest.mark.parametrize("mangling", MANGLINGS)
def test_auth_5_what_editors_do_to_a_file_is_tolerated(container: PrivateFormat, mangling: str) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    data = private.private_bytes(Encoding.PEM, container, NoEncryption())
    assert SigningKey.load(MANGLINGS[mangling](data)).public.openssh == PublicKey(private.public_key()).openssh


_DSA_P = (
    "ae6efe43997751e063f771b4866ff7ef1b7180ec623650e703a8109d317348975ab362a72d1a3793b9074b43d0ba2b5a33ea"
    "846baf89a3dfd89e229e5abba31c8a693fef50c3247901d712175ad8ce756e43d9e130538dae756d9655ce030ca0a715021b"
    "4458ac67ea2dbcb08c59025dcc2cf1d4c89d9e99204e9ad3d8fd2e79"
)
_DSA_G = (
    "772d64fe7f4d64379f344856c978b60e734bf633cc9274e5212abcf87b31b0092be3bde140400a32f93761066c7057ff7f20"
    "3a9bba48cea35e808e9eaeb4a16fd3be5f75533a4f8317d1420504f90bcb7f92b2bbfb4b52bf2413539fc9f55f20b0205c54"
    "fd544e7fd46fa7a30baa5b20d4298f77f7f979b931cde529d467679b"
)


def dsa_key() -> dsa.DSAPrivateKey:
    """A small one, always the same."""
    p, q, g = int(_DSA_P, 16), 0xFD2DB12014E8EE3525DF8FE884BB0E50AAF0299F, int(_DSA_G, 16)
    return dsa.DSAPrivateNumbers(7, dsa.DSAPublicNumbers(pow(g, 7, p), dsa.DSAParameterNumbers(p, q, g))).private_key()


def refused_files() -> dict[str, tuple[bytes, str]]:
    """Name to file and reason."""
    plain = NoEncryption()
    dsa_public = pack_string(b"ssh-dss")
    dsa_pem = dsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, plain)
    secp256k1 = ec.derive_private_key(7, ec.SECP256K1())
    sec1 = ec.derive_private_key(7, ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, plain)
    foreign_curve = secp256k1.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, plain)
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    public_pem = ed.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    no_key_file = "expected a private key file, which begins with -----BEGIN, as ssh-keygen makes it"
    damaged = f"the key file is damaged: restore it, or {MAKE}"
    public = "expected a private key, found a public one: give the file without .pub"

    def found(what: str) -> str:
        return f"expected an Ed25519, ECDSA or RSA key, found {what}: {MAKE}"

    def other_curve(name: str) -> str:
        return f"expected the curve P-256, P-384 or P-521, found {name}: {MAKE}"

    others = (
        (ed448.Ed448PrivateKey.from_private_bytes(bytes(57)), found("an Ed448 key")),
        (x25519.X25519PrivateKey.from_private_bytes(bytes(32)), found("an X25519 key, which cannot sign")),
        (x448.X448PrivateKey.from_private_bytes(bytes(56)), found("an X448 key, which cannot sign")),
        (secp256k1, other_curve("secp256k1")),
        (ec.derive_private_key(7, ec.BrainpoolP256R1()), other_curve("brainpoolP256r1")),
    )
    files = {
        reason.removesuffix(f": {MAKE}"): (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain), reason)
        for key, reason in others
    }
    return files | {
        "empty": (b"", no_key_file),
        "text": (b"hello", no_key_file),
        "utf-16": ("-----BEGIN PRIVATE KEY-----".encode("utf-16"), no_key_file),
        "too large": (bytes(64 * 1024 + 1), "the key file is larger than 65536 bytes: is it a key at all?"),
        "half": (b"-----BEGIN PRIVATE KEY-----\nMC4CAQ", damaged),
        "not base64": (b"-----BEGIN PRIVATE KEY-----\n???\n-----END PRIVATE KEY-----\n", damaged),
        "not DER": (pem("PRIVATE KEY", b"hello"), damaged),
        "short seed": (pem("PRIVATE KEY", bytes.fromhex("302d020100300506032b65700421041f") + bytes(31)), damaged),
        "long seed": (pem("PRIVATE KEY", bytes.fromhex("3047020100300506032b6570043b0439") + bytes(57)), damaged),
        "not PKCS#8": (pem("PRIVATE KEY", b"\x30\x03\x02\x01\x00"), damaged),
        "encrypted without anything": (pem("ENCRYPTED PRIVATE KEY", b"\0\0\0"), damaged),
        "sec1 without anything": (pem("EC PRIVATE KEY", b"\0\0\0"), damaged),
        "openssh dsa": (openssh_pem(dsa_public, dsa_public), f"DSA keys are too weak: {MAKE}"),
        "openssh ecdsa": (
            openssh_pem(pack_string(b"ecdsa-sha2-nistp192"), b""),
            f"the curve is not P-256, P-384 or P-521: {MAKE}",
        ),
        "openssh ecdsa without a point": (
            openssh_pem(pack_string(b"ecdsa-sha2-nistp256"), b""),
            "the ecdsa-sha2-nistp256 key is damaged: copy it again",
        ),
        "openssh sk": (
            openssh_pem(pack_string(b"sk-ssh-ed25519@openssh.com"), b""),
            f"keys on a security token (sk-…) make signatures of another kind: {MAKE}",
        ),
        "openssh unknown": (openssh_pem(pack_string(b"ssh-foo"), b""), found("another type")),
        "openssh not ascii": (openssh_pem(pack_string(b"\xff"), b""), damaged),
        "openssh empty": (pem("OPENSSH PRIVATE KEY", b""), damaged),
        "dsa pem": (pem("DSA PRIVATE KEY", b""), found("a DSA key")),
        "sec1 of another curve": (foreign_curve, other_curve("secp256k1")),
        "sec1 with parameters": (
            pem("EC PARAMETERS", b"x") + sec1,
            "a block EC PARAMETERS comes before the key: remove it from the file",
        ),
        "dsa mislabelled": (dsa_pem.replace(b"DSA PRIVATE", b"RSA PRIVATE"), found("another type")),
        "unknown algorithm": (pem("PRIVATE KEY", bytes.fromhex("3008020100300306012a")), found("another type")),
        "public pem": (public_pem, public),
        "public line": (PublicKey(ed.public_key()).openssh.encode(), public),
        "public rsa line": (b"ssh-rsa AAAA", public),
        "public ecdsa line": (b"ecdsa-sha2-nistp256 AA", public),
        "public sk line": (b"sk-ssh-ed25519", public),
        "certificate": (pem("CERTIFICATE", b"x"), public),
        "other pem": (pem("PGP MESSAGE", b"x"), found("another kind of PEM file")),
        "putty": (
            b"PuTTY-User-Key-File-3: ssh-ed25519\r\n",
            "that is a PuTTY key: convert it with puttygen KEY.ppk -O private-openssh -o KEY",
        ),
    }


REFUSED_FILES = refused_files()


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_auth_5_other_files_are_refused_and_told_what_to_do(name: str) -> None:
    data, reason = REFUSED_FILES[name]
    with pytest.raises(KeyRefusedError) as refused:
        SigningKey.load(data)
    assert str(refused.value) == reason


def test_auth_5_short_rsa_keys_are_refused_in_every_container() -> None:
    key = rsa.generate_private_key(65537, 1024)
    for container in (PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        with pytest.raises(KeyRefusedError, match="1024 bits; expected 2048 to 8192"):
            SigningKey.load(key.private_bytes(Encoding.PEM, container, NoEncryption()))


def test_auth_5_an_rsa_pss_key_is_refused_although_it_would_load(key_dir: Path) -> None:
    text = (key_dir / "rsa.pk8").read_bytes()
    key = private_keys.load_der_private_key(private_keys._body(text), None)  # pyright: ignore[reportPrivateUsage]
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    rsa_encryption = bytes.fromhex("06092a864886f70d010101")
    assert der.count(rsa_encryption) == 1
    pss = der.replace(rsa_encryption, bytes.fromhex("06092a864886f70d01010a"))
    for label in ("PRIVATE KEY", "RSA PRIVATE KEY"):
        with pytest.raises(KeyRefusedError, match="an RSA-PSS key"):
            SigningKey.load(pem(label, pss))


def test_auth_5_a_huge_rsa_key_is_refused_before_it_is_validated() -> None:
    """Validating one would take minutes."""
    p, q = 2**9000 + 1, 2**9001 + 3
    fields = [0, p * q, 65537, p * q - 2, p, q, p - 2, q - 2, p - 2]
    body = b"".join(b"\x02\x82" + struct.pack(">H", len(raw)) + raw for raw in map(der_integer, fields[1:]))
    body = b"\x02\x01\x00" + body.replace(b"\x02\x82\x00\x03\x01\x00\x01", b"\x02\x03\x01\x00\x01")
    with pytest.raises(KeyRefusedError, match="18002 bits; expected 2048 to 8192"):
        SigningKey.load(pem("RSA PRIVATE KEY", b"\x30\x82" + struct.pack(">H", len(body)) + body))


def der_integer(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def test_auth_5_a_public_half_that_belongs_to_another_key_is_refused() -> None:
    seed, other = bytes(32), bytes(range(32))
    point = ed25519.Ed25519PrivateKey.from_private_bytes(other).public_key().public_bytes_raw()
    public = pack_string(b"ssh-ed25519") + pack_string(point)
    with pytest.raises(KeyRefusedError, match="damaged"):
        SigningKey.load(openssh_pem(public, public + pack_string(seed + point)))


@pytest.mark.repeats
def test_auth_5_a_damaged_rsa_key_is_refused(key_dir: Path) -> None:
    """One wrong prime, and signatures would give the other away."""
    key = private_keys.load_ssh_private_key((key_dir / "rsa").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    n, e = numbers.public_numbers.n, numbers.public_numbers.e

    def mpint(number: int) -> bytes:
        return pack_string(der_integer(number))

    def file(p: int, q: int) -> bytes:
        public = pack_string(b"ssh-rsa") + mpint(e) + mpint(n)
        secret = pack_string(b"ssh-rsa") + b"".join(map(mpint, (n, e, numbers.d, numbers.iqmp, p, q)))
        return openssh_pem(public, secret)

    assert SigningKey.load(file(numbers.p, numbers.q)).public.algorithm == "ssh-rsa"
    for p, q in ((numbers.p + 2, numbers.q), (0, 0), (1, n), (n, 1), (2, 2), (numbers.q, numbers.p)):
        with pytest.raises(KeyRefusedError, match="damaged"):
            SigningKey.load(file(p, q))


@pytest.mark.repeats
@given(
    st.binary(max_size=200)
    | st.builds(
        pem,
        st.sampled_from(["OPENSSH PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "X"]),
        st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"openssh-key-v1\0" + data),
    )
)
def test_loading_any_bytes_raises_key_refused_error_only(data: bytes) -> None:
    with pytest.raises(KeyRefusedError):
        SigningKey.load(data)


@pytest.mark.repeats
@given(
    name=st.sampled_from(["ed25519", "rsa.pk8", "rsa.pem", "ecdsa", "ecdsa.pem", "ecdsa.pk8"]),
    at=st.floats(0, 1, exclude_max=True),
    piece=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_loading_a_damaged_file_gives_a_key_or_key_refused_error(
    key_dir: Path, name: str, at: float, piece: bytes, cut: int
) -> None:
    body = private_keys._body((key_dir / name).read_bytes())  # pyright: ignore[reportPrivateUsage]
    offset = int(at * min(len(body), 120))
    containers = {".pk8": "PRIVATE KEY", ".pem": f"{'EC' if 'ec' in name else 'RSA'} PRIVATE KEY"}
    label = containers.get(Path(name).suffix, "OPENSSH PRIVATE KEY")
    with suppress(KeyRefusedError):
        SigningKey.load(pem(label, body[:offset] + piece + body[offset + cut :]))


# --- signing ----------------------------------------------------------------------------------------------------------
