"""AUTH-3, AUTH-8: signatures that a careless verifier takes, in the manner of Wycheproof, for each key type and format.

RSA's and Ed25519's own forgeries are made here from the private keys, so that each differs from a right signature by
the one thing that its name says.
"""

from __future__ import annotations

import struct
from base64 import encodebytes
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA224, SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import pack_mpint, pack_string, take_string
from support.key_types import PUBLIC_TYPES, blob, costly, load

MESSAGE = b"ac1.a-challenge"
CURVES = ["ecdsa", "ecdsa384", "ecdsa521"]
ORDERS = {
    "ecdsa": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ecdsa384": 2**384 - 1388124618062372383947042015309946732620727252194336364173,
    "ecdsa521": 2**521 - 657877501894328237357444332315020117536923257219387276263472201219398408051703,
}


def accepted(public: PublicKey, signatures: dict[str, bytes]) -> list[str]:
    """The names of those that pass, SHA-1 allowed."""
    return [name for name, each in signatures.items() if public.verify(each, MESSAGE, allow_sha1=True) is not None]


# --- RSA --------------------------------------------------------------------------------------------------------------

DIGEST_INFO = {
    "SHA-256": (SHA256(), "3031300d060960864801650304020105000420"),
    "SHA-512": (SHA512(), "3051300d060960864801650304020305000440"),
    "SHA-384": (SHA384(), "3041300d060960864801650304020205000430"),
    "SHA-224": (SHA224(), "302d300d06096086480165030402040500041c"),
    "SHA-1": (SHA1(), "3021300906052b0e03021a05000414"),
    "MD5": (MD5(), "3020300c06082a864886f70d020505000410"),
}


@pytest.mark.repeats
def test_auth_3_rsa_forgeries_are_refused(key_dir: Path) -> None:
    key = load_ssh_private_key((key_dir / "rsa").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    public = PublicKey(key.public_key())
    numbers = key.private_numbers()
    n, d, size = numbers.public_numbers.n, numbers.d, 256

    def digest(algorithm: HashAlgorithm) -> bytes:
        hashed = Hash(algorithm)
        hashed.update(MESSAGE)
        return hashed.finalize()

    def signed(encoded: bytes) -> bytes:
        return pow(int.from_bytes(encoded, "big"), d, n).to_bytes(size, "big")

    def padded(tail: bytes, *, block_type: int = 1, fill: bytes = b"\xff", end: bytes = b"\0") -> bytes:
        return bytes([0, block_type]) + fill * (size - 2 - len(end) - len(tail)) + end + tail

    info = bytes.fromhex(DIGEST_INFO["SHA-256"][1])
    right_digest = digest(SHA256())
    tail = info + right_digest
    right = signed(padded(tail))
    assert public.verify(right, MESSAGE) == "rsa-sha2-256"
    encodings = {
        "no digest info": padded(right_digest),
        "digest info without NULL": padded(bytes.fromhex("302f300b0609608648016503040201" + "0420") + right_digest),
        "digest info in long form": padded(b"\x30\x81\x31" + tail[2:]),
        "garbage after a short padding": b"\0\1" + b"\xff" * 8 + b"\0" + tail + bytes(size - 11 - len(tail)),
        "garbage in the padding": padded(tail).replace(b"\xff\xff", b"\xff\0", 1),
        "block type 2": padded(tail, block_type=2),
        "block type 0": padded(tail, block_type=0, fill=b"\0"),
        "no end of the padding": padded(tail, end=b"\xff"),
        "digest cut short": padded(tail[:-1]),
        "digest and a byte": padded(tail + b"\0"),
        "another message": padded(info + bytes(32)),
    }
    forged = {name: signed(encoded) for name, encoded in encodings.items()}
    forged["PSS"] = key.sign(MESSAGE, PSS(MGF1(SHA256()), 32), SHA256())
    for name, (algorithm, prefix) in DIGEST_INFO.items():
        if name != "SHA-256":
            forged[name] = signed(padded(bytes.fromhex(prefix) + digest(algorithm)))
    number = int.from_bytes(right, "big")
    forged |= {name: value.to_bytes(size, "big") for name, value in (("0", 0), ("1", 1), ("n", n), ("n-1", n - 1))}
    forged |= {"negated": (n - number).to_bytes(size, "big"), "the padded digest itself": padded(tail)}
    in_blobs = {f"{name} in a blob": blob("rsa-sha2-256", each) for name, each in forged.items()}
    around = {
        "above the modulus": (number + n).to_bytes(size + 1, "big"),
        "a zero before it": b"\0" + right,
        "a zero behind it": right + b"\0",
        "cut short": right[:-1],
        "empty": b"",
        "a blob without a signature": blob("rsa-sha2-256", b""),
        "a blob with an mpint": blob("rsa-sha2-256", b"\0" + right),
        "a blob of SHA-512's name": blob("rsa-sha2-512", right),
        "a blob of SHA-1's name": blob("ssh-rsa", right),
        "a blob and a byte": blob("rsa-sha2-256", right) + b"\0",
        "a certificate's name": blob("rsa-sha2-256-cert-v01@openssh.com", right),
        "a name in capitals": blob("RSA-SHA2-256", right),
        "an SSH-1 agent's": blob("ssh-rsa-sha256@ssh.com", right),
    }
    assert accepted(public, forged | in_blobs | around) == []


# --- ECDSA ------------------------------------------------------------------------------------------------------------


def der(tag: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes(1 + (len(body) > 255), "big")
    return bytes([tag, 0x80 + len(length)]) + length + body


def der_integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


@pytest.mark.parametrize("name", CURVES)
def test_auth_3_ecdsa_numbers_out_of_range_are_refused(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    order, algorithm = ORDERS[name], PUBLIC_TYPES[name]
    r, s = decode_dss_signature(key.sign(MESSAGE, "raw"))
    assert key.public.verify(encode_dss_signature(r, order - s), MESSAGE) == algorithm, (
        "which is the other half of the same"
    )
    pairs = {
        "r = 0": (0, s),
        "s = 0": (r, 0),
        "both 0": (0, 0),
        "both 1": (1, 1),
        "r = n": (order, s),
        "s = n": (r, order),
        "r + n": (r + order, s),
        "s + n": (r, s + order),
        "r - n": (r - order, s),
        "s - n": (r, s - order),
        "-r": (-r, s),
        "-s": (r, -s),
        "swapped": (s, r),
        "r + 1": (r + 1, s),
        "s + 1": (r, s + 1),
        "n - r": (order - r, s),
        "s = n - 1": (r, order - 1),
        "huge": (r, s + 2**300 * order),
    }
    raw = {each: der(0x30, der_integer(first) + der_integer(second)) for each, (first, second) in pairs.items()}
    mpints = {
        f"{each} in a blob": blob(algorithm, b"".join(pack_string(signed_bytes(number)) for number in pair))
        for each, pair in pairs.items()
    }
    assert accepted(key.public, raw | mpints) == []


def signed_bytes(number: int) -> bytes:
    return b"" if number == 0 else number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


@pytest.mark.parametrize("name", CURVES)
def test_auth_3_an_ecdsa_signature_has_one_spelling(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    algorithm = PUBLIC_TYPES[name]
    right = key.sign(MESSAGE, "raw")
    r, s = decode_dss_signature(right)
    body = der_integer(r) + der_integer(s)
    size = (ORDERS[name].bit_length() + 7) // 8
    long = b"\x30\x82" + struct.pack(">H", len(body)) + body
    padded_r = der(2, b"\0" + der_integer(r)[2:])
    spellings = {
        "a length in long form": b"\x30\x81" + bytes([len(body)]) + body if len(body) < 128 else long,
        "a length in longer form": long,
        "no definite length": b"\x30\x80" + body + b"\0\0",
        "a zero before r": der(0x30, padded_r + der_integer(s)),
        "a zero before s": der(0x30, der_integer(r) + der(2, b"\0" + der_integer(s)[2:])),
        "a third number": der(0x30, body + der_integer(1)),
        "one number": der(0x30, der_integer(r)),
        "no number": der(0x30, b""),
        "a NULL within": der(0x30, body + b"\5\0"),
        "a byte behind it": right + b"\0",
        "cut short": right[:-1],
        "a set": b"\x31" + right[1:],
        "strings": der(0x30, b"\4" + der_integer(r)[1:] + b"\4" + der_integer(s)[1:]),
        "IEEE P1363": r.to_bytes(size, "big") + s.to_bytes(size, "big"),
        "two mpints without a name": pack_mpint(r) + pack_mpint(s),
        "DER in a blob": blob(algorithm, right),
        "P1363 in a blob": blob(algorithm, r.to_bytes(size, "big") + s.to_bytes(size, "big")),
        "a zero before r in a blob": blob(algorithm, pack_string(b"\0\0" + signed_bytes(r)) + pack_mpint(s)),
        "a third mpint": blob(algorithm, pack_mpint(r) + pack_mpint(s) + pack_mpint(1)),
        "one mpint": blob(algorithm, pack_mpint(r)),
        "a byte behind the blob": blob(algorithm, pack_mpint(r) + pack_mpint(s)) + b"\0",
        "another curve's name": blob("ecdsa-sha2-nistp224", pack_mpint(r) + pack_mpint(s)),
        "a security key's name": blob("sk-ecdsa-sha2-nistp256@openssh.com", pack_mpint(r) + pack_mpint(s)),
        "Ed25519's name": blob("ssh-ed25519", pack_mpint(r) + pack_mpint(s)),
        "an endless one": b"\x30" + bytes(60_000),
    }
    assert accepted(key.public, spellings) == []


@pytest.mark.parametrize("name", CURVES)
def test_auth_3_an_ecdsa_signature_over_another_hash_is_wrong(key_dir: Path, name: str) -> None:
    key = load_ssh_private_key((key_dir / name).read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    right = {"ecdsa": SHA256, "ecdsa384": SHA384, "ecdsa521": SHA512}[name]
    made = {str(each.name): key.sign(MESSAGE, ECDSA(each())) for each in (SHA1, SHA224, SHA256, SHA384, SHA512)}
    assert accepted(PublicKey(key.public_key()), made) == [right.name]


# --- sshsig -----------------------------------------------------------------------------------------------------------


def sshsig(key: SigningKey, **changes: bytes) -> bytes:
    """An SSHSIG of MESSAGE (PROTOCOL.sshsig), with fields changed before it is signed."""
    fields = {
        "magic": b"SSHSIG",
        "version": b"\0\0\0\1",
        "public": key.public.blob,
        "namespace": b"artcafe-auth",
        "reserved": b"",
        "hash": b"sha512",
    } | changes
    hashes = {b"sha512": sha512, b"sha256": sha256}
    digest = hashes.get(fields["hash"], sha512)(MESSAGE).digest()
    parts = (fields["namespace"], fields["reserved"], fields["hash"], fields.get("digest", digest))
    signed = fields["magic"] + b"".join(map(pack_string, parts))
    signature = fields.get("signature", key.sign(signed, "ssh"))
    parts = (fields["public"], fields["namespace"], fields["reserved"], fields["hash"], signature)
    return fields["magic"] + fields["version"] + b"".join(map(pack_string, parts))


@pytest.mark.parametrize("name", costly(PUBLIC_TYPES, "ecdsa"))
def test_auth_3_sshsig_forgeries_are_refused(key_dir: Path, name: str) -> None:
    key, other = load(key_dir, name), load(key_dir, "rsa" if name == "ed25519" else "ed25519")
    right = sshsig(key)
    assert key.public.verify(right, MESSAGE) is not None
    begin, end = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
    armoured = begin + encodebytes(right) + end
    assert key.public.verify(armoured, MESSAGE) is not None
    forged = {
        "another namespace": sshsig(key, namespace=b"file"),
        "a namespace that begins alike": sshsig(key, namespace=b"artcafe-auth2"),
        "no namespace": sshsig(key, namespace=b""),
        "git's namespace": sshsig(key, namespace=b"git"),
        "version 0": sshsig(key, version=b"\0\0\0\0"),
        "version 2": sshsig(key, version=b"\0\0\0\2"),
        "another magic": sshsig(key, magic=b"SSHSIX"),
        "another's key": sshsig(key, public=other.public.blob),
        "no key": sshsig(key, public=b""),
        "signed by another": sshsig(key, signature=other.sign(MESSAGE, "ssh")),
        "something reserved": sshsig(key, reserved=b"x"),
        "SHA-1": sshsig(key, hash=b"sha1"),
        "MD5": sshsig(key, hash=b"md5"),
        "no hash": sshsig(key, hash=b""),
        "another digest": sshsig(key, digest=bytes(64)),
        "the message in the digest's place": sshsig(key, digest=MESSAGE),
        "the message signed bare": sshsig(key, signature=key.sign(MESSAGE, "ssh")),
        "a raw signature within": sshsig(key, signature=key.sign(MESSAGE, "raw")),
        "an sshsig within": sshsig(key, signature=right),
        "no signature": sshsig(key, signature=b""),
        "a byte behind it": right + b"\0",
        "cut short": right[:-1],
        "the magic alone": b"SSHSIG",
        "armour that is not closed": begin + encodebytes(right),
        "armour around nothing": begin + end,
        "armour of another kind": armoured.replace(b"SSH SIGNATURE", b"PGP SIGNATURE"),
        "armour around what is not base64": begin + b"???\n" + end,
        "two of them": armoured + armoured,
        "text before the armour": b"x\n" + armoured,
    }
    for at in range(0, len(right), 7):
        forged[f"a bit of byte {at}"] = right[:at] + bytes([right[at] ^ 1 << at % 8]) + right[at + 1 :]
    assert accepted(key.public, forged) == []


def test_auth_3_an_sshsig_with_ssh_rsa_is_none_even_if_sha1_is_allowed(key_dir: Path) -> None:
    private = load_ssh_private_key((key_dir / "rsa").read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    parts = (b"artcafe-auth", b"", b"sha512", sha512(MESSAGE).digest())
    signed = b"SSHSIG" + b"".join(map(pack_string, parts))
    signature = blob("ssh-rsa", private.sign(signed, PKCS1v15(), SHA1()))
    key = load(key_dir, "rsa")
    assert key.public.verify(sshsig(key, signature=signature), MESSAGE, allow_sha1=True) is None


# --- RSA with the exponent 3 ------------------------------------------------------------------------------------------


def cube_root(number: int) -> int:
    """The largest integer whose cube is at most `number`."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


def cube_root_modulo_power_of_2(number: int, bits: int) -> int:
    """The odd number below 2**bits whose cube ends with the bits of an odd `number`."""
    root = 1
    for bit in range(1, bits):
        if (root**3 ^ number) >> bit & 1:
            root |= 1 << bit
    return root


@pytest.mark.repeats
def test_auth_3_rsa_forgeries_for_the_exponent_3_are_refused() -> None:
    """Bleichenbacher 2006 and its kin: numbers whose cube looks like a padded digest, made without the private key."""
    private = generate_private_key(3, 2048)
    public = PublicKey(private.public_key())
    assert public.verify(private.sign(MESSAGE, PKCS1v15(), SHA256()), MESSAGE) == "rsa-sha2-256"
    message = next(each for number in range(99) if sha256(each := MESSAGE + b"%d" % number).digest()[-1] & 1)
    digest_info = bytes.fromhex(DIGEST_INFO["SHA-256"][1]) + sha256(message).digest()
    size = 256

    def garbage_behind(beginning: bytes) -> int:
        root = cube_root(int.from_bytes(beginning + b"\xff" * (size - len(beginning)), "big"))
        assert (root**3).to_bytes(size, "big").startswith(beginning)
        return root

    def garbage_between(beginning: bytes, end: bytes) -> int:
        bits = 8 * len(end)
        low = cube_root_modulo_power_of_2(int.from_bytes(end, "big"), bits)
        high = cube_root(int.from_bytes(beginning + b"\x80" * (size - len(beginning)), "big"))
        root = high >> bits << bits | low
        cube = (root**3).to_bytes(size, "big")
        assert cube.startswith(beginning)
        assert cube.endswith(end)
        return root

    object_identifier = bytes.fromhex("0609608648016503040201")
    gap = size - 11 - 4 - 4 - len(object_identifier) - 4 - 34
    sequences = b"\x30\x82" + struct.pack(">H", size - 11 - 4) + b"\x30\x82" + struct.pack(">H", 11 + 4 + gap)
    parameters = sequences + object_identifier + b"\x05\x82" + struct.pack(">H", gap)
    forged = {
        "garbage behind a short padding": garbage_behind(b"\0\1\xff\xff\xff\xff\xff\xff\xff\xff\0" + digest_info),
        "garbage behind no padding": garbage_behind(b"\0\1\0" + digest_info),
        "garbage in the padding's place": garbage_between(b"\0\1\xff", b"\0" + digest_info),
        "garbage in the parameters": garbage_between(
            b"\0\1" + b"\xff" * 8 + b"\0" + parameters, b"\x04\x20" + sha256(message).digest()
        ),
        "a cube of nothing": 0,
        "a cube of one": 1,
    }
    for name, root in forged.items():
        for signature in (root.to_bytes(size, "big"), blob("rsa-sha2-256", root.to_bytes(size, "big"))):
            assert public.verify(signature, message) is None, name


# --- Ed25519 ----------------------------------------------------------------------------------------------------------

ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ED25519_PRIME = 2**255 - 19


def test_auth_3_ed25519_forgeries_are_refused_bare_in_a_blob_and_in_an_sshsig(key_dir: Path) -> None:
    key = load(key_dir, "ed25519")
    private = load_ssh_private_key((key_dir / "ed25519").read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    secret = bytearray(sha512(private.private_bytes_raw()).digest()[:32])
    secret[0] &= 248
    secret[31] = secret[31] & 127 | 64
    point = private.public_key().public_bytes_raw()

    def with_r(encoded_r: bytes, message: bytes) -> bytes:
        """What the equation holds for, with R the neutral element in whatever spelling: only the key's holder can."""
        k = int.from_bytes(sha512(encoded_r + point + message).digest(), "little")
        scalar = k * int.from_bytes(secret, "little") % ED25519_ORDER
        return encoded_r + scalar.to_bytes(32, "little")

    def number(value: int) -> bytes:
        return value.to_bytes(32, "little")

    def forgeries(message: bytes) -> dict[str, bytes]:
        right = private.sign(message)
        r, s = right[:32], int.from_bytes(right[32:], "little")
        return {
            "S + L": r + number(s + ED25519_ORDER),
            "S + 2 L": r + number(s + 2 * ED25519_ORDER),
            "S with its top bit": r + number(s | 1 << 255),
            "S = 0": r + number(0),
            "S = L": r + number(ED25519_ORDER),
            "L - S": r + number(ED25519_ORDER - s),
            "R = 0 and S = 0": bytes(64),
            "R of small order and S = 0": number(1) + number(0),
            "all ones": b"\xff" * 64,
            "-R": r[:31] + bytes([r[31] ^ 0x80]) + right[32:],
            "R and S swapped": right[32:] + r,
            "R the neutral element, as 1 + p": with_r(number(1 + ED25519_PRIME), message),
            "R the neutral element, with a sign": with_r(number(1 | 1 << 255), message),
            "R = p": with_r(number(ED25519_PRIME), message),
            "S of 31 bytes": right[:63],
            "S of 33 bytes": right + b"\0",
            "R alone": r,
            "the key for R": point + right[32:],
            "prehashed": private.sign(sha512(message).digest()),
        }

    assert key.public.verify(with_r(number(1), MESSAGE), MESSAGE) is not None, "the one spelling of it"
    signed = sshsig_data(MESSAGE)
    bare = forgeries(MESSAGE)
    in_blobs = {f"{name}, in a blob": blob("ssh-ed25519", each) for name, each in bare.items()}
    in_sshsigs = {
        f"{name}, in an sshsig": sshsig(key, signature=blob("ssh-ed25519", each))
        for name, each in forgeries(signed).items()
    }
    assert key.public.verify(sshsig(key, signature=blob("ssh-ed25519", private.sign(signed))), MESSAGE) is not None
    names = ("ssh-ed448", "ssh-rsa", "sk-ssh-ed25519@openssh.com", "")
    others = {f"as {name}": blob(name, private.sign(MESSAGE)) for name in names}
    assert accepted(key.public, bare | in_blobs | in_sshsigs | others) == []


def sshsig_data(message: bytes) -> bytes:
    """What is signed for `message` (PROTOCOL.sshsig)."""
    return b"SSHSIG" + b"".join(map(pack_string, (b"artcafe-auth", b"", b"sha512", sha512(message).digest())))


@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_auth_3_a_right_signature_under_the_name_of_another_type_is_refused(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    signed_as, rest = take_string(key.sign(MESSAGE, "ssh"))
    algorithm = signed_as.decode()
    names = {*PUBLIC_TYPES.values(), "rsa-sha2-256", "rsa-sha2-512", "ssh-dss"} - {algorithm}
    names |= {"", "none", "sk-ssh-ed25519@openssh.com", f"{algorithm}\0", f"{algorithm} ", algorithm.upper()}
    assert accepted(key.public, {each: pack_string(each.encode()) + rest for each in names}) == []
