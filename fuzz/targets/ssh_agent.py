"""Whatever an ssh-agent answers, the signature is the right one, or none and a documented error says why (AUTH-6).

The bytes: which key and format, how the answers are cut, the answers.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto.errors import RemoteProtocolError, SigningRefusedError
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.signatures import SignatureFormat
from artcafe_proto.policies.ssh_agent import SshAgentSigning
from artcafe_proto.policies.ssh_wire import pack_string
from decoding import SIZES_BYTES, Reader
from mutants.planted import Mutant
from splicing import splice

PLANTED: Final = Mutant(
    "a signature of the ssh-agent is not verified",
    "artcafe_proto/policies/ssh_agent.py",
    "if not rest and self._public.verify(signature, self._message) is not None:",
    "if not rest:",
    "fuzz/targets/ssh_agent.py::check",
)
_MESSAGE: Final = b"ac1.a-challenge"
_KEYS: Final = (
    SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32)))),
    SigningKey(derive_private_key(7, SECP256R1())),
)
_FORMATS: Final[tuple[SignatureFormat, ...]] = ("ssh", "raw")
DICTIONARY: Final = (
    pack_string(b"\5"),
    pack_string(b"\x66"),
    pack_string(b"\x0c\0\0\0\0"),
    *(pack_string(b"\x0c\0\0\0\1" + pack_string(key.public.blob) + pack_string(b"comment")) for key in _KEYS),
    *(pack_string(b"\x0e" + pack_string(key.sign(_MESSAGE, "ssh"))) for key in _KEYS),
    b"\x0c\0\0\0\1\0\0\0\x01",
    b"\0\4\0\1",
)
_REQUEST_IDENTITIES: Final = pack_string(b"\x0b")


def _ends(stream: bytes) -> list[int]:
    """Where answers end, if they are what they seem."""
    ends: list[int] = []
    place = 0
    while place < len(stream):
        place += 4 + int.from_bytes(stream[place : place + 4])
        ends.append(min(place, len(stream)))
    return ends


mutate: Final = partial(splice, words=DICTIONARY, head=2 + SIZES_BYTES, ends=_ends)


def check(data: bytes) -> None:
    """One signature asked for."""
    reader = Reader(data)
    key, signature_format = reader.pick(_KEYS), reader.pick(_FORMATS)
    signing = SshAgentSigning(key.public, _MESSAGE, signature_format)
    assert signing.request
    _, chunks = reader.stream()
    asked = 0
    for chunk in chunks:
        try:
            sent = signing.receive_data(chunk)
        except (RemoteProtocolError, SigningRefusedError) as error:
            assert str(error)
            break
        assert sent in (b"", _REQUEST_IDENTITIES)
        asked += sent != b""
        assert asked <= 1
    if signing.signature is not None:
        assert key.public.verify(signing.signature, _MESSAGE) is not None
        assert asked == 0
