"""What it costs to decrypt a key file, read from the file itself before anything is derived (AUTH-5).

The one who wrote the file says how often a passphrase is hashed, and may say: for a year. So the number is looked at
first. Only what OpenSSH and OpenSSL write today is read; older schemes are as good as no encryption.
"""

from __future__ import annotations

from typing import Final

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.limits import (
    MAX_BCRYPT_ROUNDS,
    MAX_PBKDF2_ITERATIONS,
    MAX_SCRYPT_MEMORY_BYTES,
    MAX_SCRYPT_PARALLELIZATION,
)
from artcafe_proto.policies.ssh_wire import take_string


def check_openssh_cost(cipher: bytes, kdf: bytes, options: bytes) -> None:
    """Judge the header of an encrypted OpenSSH key: names of cipher and KDF, the KDF's options.

    Raises KeyRefusedError, or ValueError for what is no header.
    """
    if kdf != b"bcrypt" or cipher not in OPENSSH_CIPHERS:
        raise KeyRefusedError(_OTHER_SCHEME)
    _, rest = take_string(options)
    if len(rest) != _ROUNDS_BYTES:
        raise ValueError("expected the rounds behind the salt")
    _check("bcrypt rounds", int.from_bytes(rest, "big"), MAX_BCRYPT_ROUNDS)


def check_pkcs8_cost(der: bytes) -> None:
    """Judge an EncryptedPrivateKeyInfo (RFC 5958): PBES2 with PBKDF2 (RFC 8018) or scrypt (RFC 7914).

    Raises KeyRefusedError, or ValueError for what is not such a key.
    """
    (_, info), *_ = _elements(der)
    (_, algorithm), *_ = _elements(info)
    scheme, parameters = _algorithm(algorithm)
    if scheme != _PBES2:
        raise KeyRefusedError(_OTHER_SCHEME)
    (_, derivation), *_ = _elements(parameters)
    kdf, parameters = _algorithm(derivation)
    numbers = [int.from_bytes(body, "big") for tag, body in _elements(parameters) if tag == _INTEGER]
    if kdf == _PBKDF2:
        _check("PBKDF2 iterations", numbers[0], MAX_PBKDF2_ITERATIONS)
    elif kdf == _SCRYPT:
        cost, block_size, parallelization = numbers[:3]
        _check("bytes of memory for scrypt", 128 * cost * block_size, MAX_SCRYPT_MEMORY_BYTES)
        _check("parallel computations of scrypt", parallelization, MAX_SCRYPT_PARALLELIZATION)
    else:
        raise KeyRefusedError(_OTHER_SCHEME)


OPENSSH_CIPHERS: Final = (b"aes256-ctr", b"aes256-cbc", b"aes256-gcm@openssh.com")
"""Those that `cryptography` decrypts; the first is OpenSSH's own choice."""
_ROUNDS_BYTES = 4
_INTEGER = 0x02
_PBES2 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"
_PBKDF2 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c"
_SCRYPT = b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b"
_OTHER_SCHEME = "the key is encrypted in a way that is not accepted: encrypt it again with ssh-keygen -p -f KEY"
_LONG_FORM = 0x80
_MAX_LENGTH_BYTES = 3


def _check(what: str, found: int, most: int) -> None:
    if not 1 <= found <= most:
        bounds = f"expected 1 to {most}, found {found if found <= _LARGEST_TO_SHOW else 'far more'}"
        raise KeyRefusedError(f"decrypting the key asks for too many {what}: {bounds}: ssh-keygen -p -f KEY")


_LARGEST_TO_SHOW = 2**64


def _algorithm(body: bytes) -> tuple[bytes, bytes]:
    """The object identifier of an AlgorithmIdentifier, and the content of its parameters."""
    (_, identifier), (_, parameters), *_ = _elements(body)
    return identifier, parameters


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The DER elements that `data` is made of: tags, all of one byte, and contents (X.690). Raises ValueError."""
    found: list[tuple[int, bytes]] = []
    while data:
        if len(data) < 2:
            raise ValueError("a DER element is cut short")
        tag, length, start = data[0], data[1], 2
        if length >= _LONG_FORM:
            start += length - _LONG_FORM
            if not 2 < start <= 2 + _MAX_LENGTH_BYTES:
                raise ValueError("a DER length is malformed")
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise ValueError("a DER element is cut short")
        found.append((tag, data[start : start + length]))
        data = data[start + length :]
    return found
