"""AUTH-5: passphrases, and what decrypting a key may cost, judged before it is paid."""

from __future__ import annotations

import struct
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import KeyRefusedError, PassphraseNeededError
from artcafe_proto.policies import private_keys
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import pack_string
from support.key_types import PASSPHRASE, costly, pem

ENCRYPTED = ["ed25519.enc", "ed25519.gcm.enc"] + [
    f"{name}{container}.enc" for name in ("rsa", "ecdsa", "ecdsa384", "ecdsa521") for container in ("", ".pem", ".pk8")
]
SECRET = PASSPHRASE.encode()
POINT = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
PUBLIC = pack_string(b"ssh-ed25519") + pack_string(POINT)


@pytest.fixture
def expensive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be derived or loaded."""
    for name in ("load_ssh_private_key", "load_der_private_key", "load_pem_private_key"):
        monkeypatch.setattr(private_keys, name, Mock(side_effect=AssertionError("the check is to prevent this")))


@pytest.mark.parametrize("name", costly(ENCRYPTED, "ecdsa", "rsa.enc"))
def test_auth_5_an_encrypted_key_of_ssh_keygen_is_loaded_with_its_passphrase(key_dir: Path, name: str) -> None:
    data = (key_dir / name).read_bytes()
    public = PublicKey.parse((key_dir / f"{name.partition('.')[0]}.pub").read_text())
    assert SigningKey.load(data, SECRET).public.openssh == public.openssh
    for wrong in (b"wrong", b"", SECRET + b"\n"):
        with pytest.raises(KeyRefusedError, match=r"^the passphrase is wrong, or the key file is damaged$"):
            SigningKey.load(data, wrong)


@pytest.mark.parametrize("name", ENCRYPTED)
def test_auth_5_without_a_passphrase_it_is_asked_for_before_anything_is_derived(
    key_dir: Path, name: str, expensive: None
) -> None:
    with pytest.raises(PassphraseNeededError, match=r"^the key is encrypted: give its passphrase, or take it off"):
        SigningKey.load((key_dir / name).read_bytes())


def test_auth_5_a_key_that_is_not_encrypted_needs_none_whatever_is_given(key_dir: Path) -> None:
    for name in ("ed25519", "rsa.pem", "ecdsa.pk8"):
        SigningKey.load((key_dir / name).read_bytes(), b"anything")


def openssh(rounds: int, cipher: bytes = b"aes256-ctr", kdf: bytes = b"bcrypt", options: bytes | None = None) -> bytes:
    if options is None:
        options = pack_string(bytes(16)) + struct.pack(">I", rounds)
    header = b"openssh-key-v1\0" + b"".join(map(pack_string, (cipher, kdf, options))) + struct.pack(">I", 1)
    return pem("OPENSSH PRIVATE KEY", header + pack_string(PUBLIC) + pack_string(bytes(160)))


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag]) + (bytes([len(body)]) if len(body) < 128 else struct.pack(">BH", 0x82, len(body))) + body


def integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def object_id(text: str) -> bytes:
    return der(6, bytes.fromhex(text))


PBES1 = "2a864886f70d010503"
PBES2 = "2a864886f70d01050d"
PBKDF2 = "2a864886f70d01050c"
SCRYPT = "2b06010401da47040b"
AES = der(0x30, object_id("60864801650304012a"), der(4, bytes(16)))


def pkcs8(kdf: str, *parameters: bytes, scheme: str = PBES2) -> bytes:
    derivation = der(0x30, object_id(kdf), der(0x30, *parameters))
    algorithm = der(0x30, object_id(scheme), der(0x30, derivation, AES))
    return pem("ENCRYPTED PRIVATE KEY", der(0x30, algorithm, der(4, bytes(64))))


SALT = der(4, bytes(16))
COSTLY = {
    "bcrypt": (openssh(1025), "too many bcrypt rounds: expected 1 to 1024, found 1025"),
    "bcrypt for years": (openssh(2**32 - 1), "too many bcrypt rounds: expected 1 to 1024, found 4294967295"),
    "bcrypt not at all": (openssh(0), "bcrypt rounds: expected 1 to 1024, found 0"),
    "PBKDF2": (pkcs8(PBKDF2, SALT, integer(10**7 + 1)), "PBKDF2 iterations: expected 1 to 10000000, found 10000001"),
    "PBKDF2 for ever": (pkcs8(PBKDF2, SALT, integer(2**800)), "PBKDF2 iterations: expected 1 to 10000000, found far"),
    "scrypt's N": (pkcs8(SCRYPT, SALT, integer(2**21), integer(8), integer(1)), "bytes of memory for scrypt"),
    "scrypt's r": (pkcs8(SCRYPT, SALT, integer(2), integer(2**30), integer(1)), "bytes of memory for scrypt"),
    "scrypt's p": (pkcs8(SCRYPT, SALT, integer(2**14), integer(8), integer(17)), "parallel computations of scrypt"),
    "OpenSSH with another cipher": (openssh(16, cipher=b"3des-cbc"), "a way that is not accepted"),
    "OpenSSH with another KDF": (openssh(16, kdf=b"pbkdf2"), "a way that is not accepted"),
    "OpenSSH without a KDF": (openssh(16, kdf=b"none"), "a way that is not accepted"),
    "OpenSSH without a cipher": (openssh(16, cipher=b"none"), "a way that is not accepted"),
    "PBES1": (pkcs8(PBKDF2, SALT, integer(2048), scheme=PBES1), "a way that is not accepted"),
    "an unknown KDF": (pkcs8("2a03", SALT, integer(2048)), "a way that is not accepted"),
    "options cut short": (openssh(16, options=pack_string(bytes(16)) + b"\0\0"), "damaged"),
    "no options": (openssh(16, options=b""), "damaged"),
    "no parameters": (pkcs8(PBKDF2), "damaged"),
    "half the parameters": (pkcs8(SCRYPT, SALT, integer(2)), "damaged"),
    "no DER": (pem("ENCRYPTED PRIVATE KEY", b"hello"), "damaged"),
    "a DER length of four bytes": (pem("ENCRYPTED PRIVATE KEY", b"\x30\x84\0\0\0\1\0"), "damaged"),
    "a DER length without an end": (pem("ENCRYPTED PRIVATE KEY", b"\x30\x80\0\0"), "damaged"),
    "DER cut short": (pem("ENCRYPTED PRIVATE KEY", b"\x30\x03\x30\x01\x06"), "damaged"),
    "nothing": (pem("ENCRYPTED PRIVATE KEY", b""), "damaged"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_auth_5_what_decrypting_costs_is_capped_before_anything_is_derived(name: str, expensive: None) -> None:
    data, reason = COSTLY[name]
    with pytest.raises(KeyRefusedError, match=reason):
        SigningKey.load(data, SECRET)


def test_auth_5_the_caps_themselves_are_accepted() -> None:
    """Nothing is derived here either: what is loaded is looked at in the place of `cryptography`."""
    at_the_cap = {
        openssh(1024): "load_ssh_private_key",
        pkcs8(PBKDF2, SALT, integer(10**7)): "load_der_private_key",
        pkcs8(SCRYPT, SALT, integer(2**18), integer(8), integer(16)): "load_der_private_key",
    }
    for data, loader in at_the_cap.items():
        with (
            patch.object(private_keys, loader, side_effect=ValueError) as called,
            pytest.raises(KeyRefusedError, match="the passphrase is wrong"),
        ):
            SigningKey.load(data, SECRET)
        called.assert_called_once()


def test_auth_5_openssl_s_scrypt_and_its_default_are_decrypted() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET))
    assert SigningKey.load(data, SECRET).public.openssh == PublicKey(private.public_key()).openssh


def test_auth_5_without_bcrypt_it_says_what_to_install(key_dir: Path) -> None:
    missing = UnsupportedAlgorithm("Need bcrypt module")
    with (
        patch.object(private_keys, "load_ssh_private_key", side_effect=missing),
        pytest.raises(KeyRefusedError, match=r"pip install 'artcafe-proto\[passphrase\]', or ssh-keygen -p -m PKCS8"),
    ):
        SigningKey.load((key_dir / "ed25519.enc").read_bytes(), SECRET)
    unknown = UnsupportedAlgorithm("curve")
    with (
        patch.object(private_keys, "load_der_private_key", side_effect=unknown),
        pytest.raises(KeyRefusedError, match="damaged"),
    ):
        SigningKey.load((key_dir / "ecdsa.pk8").read_bytes())


@pytest.mark.repeats
@given(
    name=st.sampled_from(["rsa.pk8.enc", "ecdsa.pk8.enc", "ecdsa.pem.enc"]),
    at=st.floats(0, 1, exclude_max=True),
    piece=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_auth_5_a_damaged_encrypted_file_gives_a_key_or_key_refused_error(
    key_dir: Path, name: str, at: float, piece: bytes, cut: int
) -> None:
    lines = (key_dir / name).read_bytes().splitlines(keepends=True)
    head = 3 if lines[1].startswith(b"Proc-Type") else 1
    data = b"".join(lines[head:])
    offset = int(at * min(len(data), 200))
    try:
        key = SigningKey.load(b"".join(lines[:head]) + data[:offset] + piece + data[offset + cut :], SECRET)
    except KeyRefusedError:
        return
    assert key.public.openssh == PublicKey.parse((key_dir / f"{name.partition('.')[0]}.pub").read_text()).openssh


@pytest.mark.parametrize("name", ["ed25519", "rsa", "ecdsa.pem", "ecdsa.pk8", "ed25519.enc", "ecdsa.pem.enc"])
def test_a_mistake_in_a_program_is_never_called_a_damaged_file_or_a_wrong_passphrase(
    key_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when `cryptography` does not know an argument, or a callback gives no bytes."""
    data = (key_dir / name).read_bytes()
    if name.endswith(".enc"):
        with pytest.raises(TypeError):
            SigningKey.load(data, 1234)  # pyright: ignore[reportArgumentType]
    for loader in ("load_ssh_private_key", "load_der_private_key", "load_pem_private_key"):
        monkeypatch.setattr(private_keys, loader, Mock(side_effect=TypeError("an unexpected keyword argument")))
    with pytest.raises(TypeError, match="keyword"):
        SigningKey.load(data, SECRET)


@pytest.mark.parametrize("kind", ["4,CLEAR", "4,MIC-ONLY", "4,ENCRYPTEDX", "5,ENCRYPTED", ""])
@pytest.mark.parametrize("name", ["ecdsa.pem", "ecdsa.pem.enc"])
def test_auth_5_a_header_that_says_something_else_than_encrypted(key_dir: Path, name: str, kind: str) -> None:
    data = (key_dir / name).read_bytes().replace(b"Proc-Type: 4,ENCRYPTED\n", b"")
    data = data.replace(
        b"KEY-----\n", b"KEY-----\nProc-Type: %b\n%b" % (kind.encode(), b"" if ".enc" in name else b"\n"), 1
    )
    for passphrase in (SECRET, b"", b"x"):
        with pytest.raises(KeyRefusedError):
            SigningKey.load(data, passphrase)
