"""AUTH-3, AUTH-5, AUTH-8: which public keys are taken, and which signatures."""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import example, given
from hypothesis import strategies as st

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import pack_mpint, pack_string, take_string
from support.key_types import PUBLIC_TYPES, blob

MESSAGE = b"ac1.a-challenge"
FIELD_PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493


def line(algorithm: str, *fields: bytes, named: str | None = None) -> str:
    return f"{named or algorithm} {b64encode(pack_string(algorithm.encode()) + b''.join(fields)).decode()}"


def rsa_line(*, e: int = 65537, n: int = 2**2047 + 1) -> str:
    return line("ssh-rsa", pack_mpint(e), pack_mpint(n))


def ed25519_line(point: bytes) -> str:
    return line("ssh-ed25519", pack_string(point))


P256_X = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")  # the generator's


def ecdsa_line(point: bytes, curve: str = "nistp256") -> str:
    return line("ecdsa-sha2-nistp256", pack_string(curve.encode()), pack_string(point))


class Keys:
    """An Ed25519 and an RSA key, as `cryptography` and as we know them."""

    def __init__(self, folder: Path) -> None:
        ed25519 = load_ssh_private_key((folder / "ed25519").read_bytes(), None)
        rsa = load_ssh_private_key((folder / "rsa").read_bytes(), None)
        assert isinstance(ed25519, Ed25519PrivateKey)
        assert isinstance(rsa, RSAPrivateKey)
        self.ed25519 = ed25519
        self.rsa = rsa
        self.public_ed25519 = PublicKey.parse((folder / "ed25519.pub").read_text())
        self.public_rsa = PublicKey.parse((folder / "rsa.pub").read_text())


@pytest.fixture(scope="session")
def keys(key_dir: Path) -> Keys:
    return Keys(key_dir)


# --- parsing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "algorithm"), PUBLIC_TYPES.items())
def test_auth_5_a_line_of_ssh_keygen_is_read_with_its_fingerprint(key_dir: Path, name: str, algorithm: str) -> None:
    text = (key_dir / f"{name}.pub").read_text()
    key = PublicKey.parse(text)
    assert key.algorithm == algorithm
    assert key.openssh == " ".join(text.split()[:2])
    assert key.fingerprint == (key_dir / f"{name}.fingerprint").read_text().split()[1]
    assert repr(key) == f"PublicKey({algorithm}, {key.fingerprint})"
    assert PublicKey.parse(key.openssh).openssh == key.openssh


def test_another_spelling_of_a_key_is_the_same_key() -> None:
    canonical = PublicKey.parse(rsa_line())
    number = (2**2047 + 1).to_bytes(300, "big")  # with zeros before it, which OpenSSH skips as well
    respelled = PublicKey.parse(line("ssh-rsa", pack_mpint(65537), pack_string(number)))
    assert (respelled.openssh, respelled.fingerprint) == (canonical.openssh, canonical.fingerprint)


MAKE = "make a key with: ssh-keygen -t ed25519"
NO_LINE = "expected one line 'ssh-ed25519 AAAA… comment', as in a .pub file"
WEAK = f"DSA keys are too weak: {MAKE}"
OTHER_CURVE = f"the curve is not P-256, P-384 or P-521: {MAKE}"
CERTIFICATE = "certificates are not accepted: give the key they certify, the line of the .pub file"
OPTIONS = "options before the key type are not accepted: remove what precedes it"
UNSOUND = (
    "the RSA key has an exponent or a modulus that no sound key has: expected both odd, and the exponent from 3 to 32 "
    f"bits: {MAKE}"
)


def damaged(algorithm: str) -> str:
    return f"the {algorithm} key is damaged: copy it again"


def rsa_size(bits: int) -> str:
    return f"the RSA key has {bits} bits; expected 2048 to 8192: {MAKE}"


REFUSED_LINES = {
    "empty": ("", NO_LINE),
    "one word": ("ssh-ed25519", NO_LINE),
    "two words": ("hello world", NO_LINE),
    "unknown type": ("ssh-foo AAAA", NO_LINE),
    "a type for its data": ("ssh-ed25519 ssh-rsa\n\nx", NO_LINE),
    "dsa": ("ssh-dss AAAAB3NzaC1kc3MAAACBANftkFHkbXPN me@host", WEAK),
    "ecdsa without a point": ("ecdsa-sha2-nistp256 AAAA me@host", damaged("ecdsa-sha2-nistp256")),
    "ecdsa of another curve": ("ecdsa-sha2-1.3.132.0.10 AAAA me@host", OTHER_CURVE),
    "ecdsa of a small curve": ("ecdsa-sha2-nistp192 AAAA", OTHER_CURVE),
    "ecdsa compressed": (ecdsa_line(b"\2" + P256_X), damaged("ecdsa-sha2-nistp256")),
    "ecdsa off the curve": (ecdsa_line(b"\4" + P256_X + bytes(32)), damaged("ecdsa-sha2-nistp256")),
    "ecdsa at infinity": (ecdsa_line(b"\0"), damaged("ecdsa-sha2-nistp256")),
    "ecdsa named otherwise": (ecdsa_line(b"\4" + P256_X + bytes(32), "nistp384"), damaged("ecdsa-sha2-nistp256")),
    "sk": (
        "sk-ssh-ed25519@openssh.com AAAA me@host",
        f"keys on a security token (sk-…) make signatures of another kind: {MAKE}",
    ),
    "certificate": ("ssh-ed25519-cert-v01@openssh.com AAAA me@host", CERTIFICATE),
    "rsa certificate": ("ssh-rsa-cert-v01@openssh.com AAAA", CERTIFICATE),
    "sk certificate": ("sk-ssh-ed25519-cert-v01@openssh.com AAAA", CERTIFICATE),
    "options": ('command="/bin/true",no-pty ' + rsa_line(), OPTIONS),
    "one option": ('from="x" ssh-rsa AAAA', OPTIONS),
    "a line before it": ("a\nssh-ed25519 AAAA", OPTIONS),
    "two lines": (rsa_line() + "\n" + rsa_line(), NO_LINE),
    "private key": (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n",
        "that is a private key: keep it where it is, and give the line of its .pub file (ssh-keygen -y -f KEY)",
    ),
    "pem": (
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n",
        "that is a PEM file: give the OpenSSH line instead (ssh-keygen -i -m PKCS8 -f FILE)",
    ),
    "not base64": ("ssh-rsa AAAA!AAA", damaged("ssh-rsa")),
    "lone surrogate": ("ssh-rsa AAAA\ud800", damaged("ssh-rsa")),
    "no key": ("ssh-ed25519 AAAA", damaged("ssh-ed25519")),
    "other type inside": (line("ssh-ed25519", pack_string(bytes(32)), named="ssh-rsa"), damaged("ssh-rsa")),
    "trailing bytes": (line("ssh-ed25519", pack_string(b"\2" * 32), b"\0"), damaged("ssh-ed25519")),
    "short point": (ed25519_line(b"\2" * 31), damaged("ssh-ed25519")),
    "rsa 1024": (rsa_line(n=2**1023 + 1), rsa_size(1024)),
    "rsa 2047": (rsa_line(n=2**2046 + 1), rsa_size(2047)),
    "rsa 8193": (rsa_line(n=2**8192 + 1), rsa_size(8193)),
    "rsa e=1": (rsa_line(e=1), damaged("ssh-rsa")),
    "rsa even e": (rsa_line(e=65536), damaged("ssh-rsa")),
    "rsa long e": (rsa_line(e=2**32 + 1), UNSOUND),
    "rsa e > n": (rsa_line(e=2**2048 + 1), damaged("ssh-rsa")),
    "rsa even n": (rsa_line(n=2**2047), UNSOUND),
    "rsa zero": (rsa_line(e=0, n=0), damaged("ssh-rsa")),
    "too long": (rsa_line() + " " + "c" * 16384, "the public key line is longer than 16384 characters"),
    "just too long": ("x" * 16385, "the public key line is longer than 16384 characters"),
}


def test_auth_5_the_costliest_rsa_key_that_is_taken() -> None:
    assert PublicKey.parse(rsa_line(e=2**32 - 1, n=2**8191 + 1)).algorithm == "ssh-rsa"


@pytest.mark.parametrize("name", REFUSED_LINES)
def test_auth_5_other_lines_are_refused_with_a_reason_that_quotes_nothing(name: str) -> None:
    text, reason = REFUSED_LINES[name]
    with pytest.raises(KeyRefusedError) as refusal:
        PublicKey.parse(text)
    assert str(refusal.value) == reason
    assert not any(word in reason for word in text.split() if len(word) > 25)


def small_order_points() -> list[bytes]:
    """All encodings of points whose order divides 8, worked out here from the curve: -x² + y² = 1 + d x² y²."""
    d = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME
    root_of_minus_1 = pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME)

    def square_root(number: int) -> int | None:
        root = pow(number, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
        roots = (root, root * root_of_minus_1 % FIELD_PRIME)
        return next((each for each in roots if (each * each - number) % FIELD_PRIME == 0), None)

    ys = {0, 1, FIELD_PRIME - 1}
    root = square_root(1 + d)  # doubling a point of order 8 gives y = 0, so d y⁴ + 2 y² - 1 = 0
    assert root is not None
    for numerator in (-1 + root, -1 - root):
        y = square_root(numerator * pow(d, -1, FIELD_PRIME))
        if y is not None:
            ys |= {y, FIELD_PRIME - y}
    assert len(ys) == 5
    spellings = [y + extra for y in ys for extra in (0, FIELD_PRIME) if y + extra < 2**255]
    return [(y + sign).to_bytes(32, "little") for y in spellings for sign in (0, 2**255)]


def test_auth_5_points_of_small_order_are_refused_however_spelled() -> None:
    points = small_order_points()
    assert len(points) == 14
    for point in points:
        with pytest.raises(KeyRefusedError, match="small order"):
            PublicKey.parse(ed25519_line(point))


@pytest.mark.repeats
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: f"ssh-rsa {b64encode(data).decode()}"))
def test_parsing_raises_key_refused_error_only(text: str) -> None:
    with pytest.raises(KeyRefusedError):
        PublicKey.parse(text)


@pytest.mark.repeats
@given(
    st.sampled_from(["ssh-ed25519", "ssh-rsa"]),
    st.lists(st.binary(max_size=40).map(pack_string) | st.integers(0, 2**2100).map(pack_mpint), max_size=4),
)
def test_parsing_well_framed_nonsense_gives_a_key_or_key_refused_error(algorithm: str, fields: list[bytes]) -> None:
    with suppress(KeyRefusedError):
        assert PublicKey.parse(line(algorithm, *fields)).verify(bytes(64), b"") is None


# --- signatures -------------------------------------------------------------------------------------------------------


def test_auth_8_raw_signatures_made_by_cryptography_are_told_apart_by_shape(keys: Keys) -> None:
    assert keys.public_ed25519.verify(keys.ed25519.sign(MESSAGE), MESSAGE) == "ssh-ed25519"
    assert keys.public_rsa.verify(keys.rsa.sign(MESSAGE, PKCS1v15(), SHA256()), MESSAGE) == "rsa-sha2-256"
    assert keys.public_rsa.verify(keys.rsa.sign(MESSAGE, PKCS1v15(), SHA512()), MESSAGE) is None
    assert keys.public_rsa.verify(keys.rsa.sign(MESSAGE, PKCS1v15(), SHA1()), MESSAGE, allow_sha1=True) is None


def test_auth_8_sha1_is_refused_unless_the_operator_allows_it(keys: Keys) -> None:
    signature = blob("ssh-rsa", keys.rsa.sign(MESSAGE, PKCS1v15(), SHA1()))
    assert keys.public_rsa.verify(signature, MESSAGE) is None
    assert keys.public_rsa.verify(signature, MESSAGE, allow_sha1=True) == "ssh-rsa"


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_no_damaged_signature_is_right(keys: Keys, kind: str) -> None:
    if kind == "ed25519":
        public, name, raw = keys.public_ed25519, "ssh-ed25519", keys.ed25519.sign(MESSAGE)
    else:
        public, name, raw = keys.public_rsa, "rsa-sha2-256", keys.rsa.sign(MESSAGE, PKCS1v15(), SHA256())
    for whole in (raw, blob(name, raw)):
        assert public.verify(whole, MESSAGE) == name
        damaged = [whole[:size] for size in range(len(whole))]
        damaged += [whole + b"\0", b"\0" + whole, whole * 2, bytes(len(whole)), b"\xff" * len(whole)]
        damaged += [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
        assert [each for each in damaged if public.verify(each, MESSAGE, allow_sha1=True) is not None] == []
    for body in (b"", raw[:-1], raw + b"\0", b"\0" + raw, bytes(len(raw))):
        assert public.verify(blob(name, body), MESSAGE) is None
    assert public.verify(pack_string(name.encode()) + struct.pack(">I", 2**32 - 1) + raw, MESSAGE) is None


def test_points_of_small_order_in_a_signature_prove_nothing(keys: Keys) -> None:
    for point in small_order_points():
        for scalar in (0, 1, ORDER, 2**256 - 1):
            assert keys.public_ed25519.verify(point + scalar.to_bytes(32, "little"), MESSAGE) is None


names = st.sampled_from(["ssh-ed25519", "ssh-rsa", "rsa-sha2-256", "rsa-sha2-512", "", "é"])
signatures = (
    st.binary(max_size=300)
    | st.binary(min_size=64, max_size=64)
    | st.binary(min_size=256, max_size=256)
    | st.builds(blob, names, st.binary(max_size=64))
    | st.builds(blob, names, st.binary(min_size=64, max_size=64) | st.binary(min_size=256, max_size=256))
)


@pytest.mark.repeats
@given(signature=signatures, message=st.binary(max_size=80))
@example(signature=b"", message=b"")
def test_auth_8_verify_never_raises_and_takes_nothing_made_up(keys: Keys, signature: bytes, message: bytes) -> None:
    assert keys.public_ed25519.verify(signature, message, allow_sha1=True) is None
    assert keys.public_rsa.verify(signature, message, allow_sha1=True) is None


# --- framing ----------------------------------------------------------------------------------------------------------


def test_the_canonical_line_is_what_its_fingerprint_is_of(keys: Keys) -> None:
    assert take_string(b64decode(keys.public_rsa.openssh.split()[1]))[0] == b"ssh-rsa"
    with pytest.raises(binascii.Error):
        b64decode(keys.public_rsa.fingerprint.removeprefix("SHA256:"))  # unpadded
