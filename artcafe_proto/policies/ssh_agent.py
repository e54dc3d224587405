"""One signature by an ssh-agent (AUTH-6; draft-ietf-sshm-ssh-agent), as bytes in and bytes out: no socket is opened.

    signing = SshAgentSigning(public_key, challenge, "ssh")
    to_send = signing.request
    while signing.signature is None:
        send(to_send)
        to_send = signing.receive_data(receive())

The agent is asked to sign; if it will not, which keys it holds, so that the refusal can say what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.errors import RemoteProtocolError, SigningRefusedError
from artcafe_proto.limits import MAX_SSH_AGENT_MESSAGE_BYTES
from artcafe_proto.policies.signatures import data_to_sign, shape
from artcafe_proto.policies.ssh_wire import pack_string, take_string
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from artcafe_proto.policies.public_keys import PublicKey
    from artcafe_proto.policies.signatures import SignatureFormat

__all__ = ["SshAgentSigning"]


class SshAgentSigning(Secretive):
    """A signature of `message` by the private half of `public`, which an ssh-agent holds."""

    __slots__ = ("_buffer", "_format", "_lists_keys", "_message", "_public", "signature")

    def __init__(self, public: PublicKey, message: bytes, signature_format: SignatureFormat) -> None:
        self._public = public
        self._message = message
        self._format: SignatureFormat = signature_format
        self._buffer = bytearray()
        self._lists_keys = False
        self.signature: bytes | None = None
        """The signature in the format asked for, once it has come; it has been verified."""

    @property
    def request(self) -> bytes:
        """What to send first."""
        fields = pack_string(self._public.blob) + pack_string(data_to_sign(self._message, self._format))
        flags = _RSA_SHA2_256 if self._format == "raw" else _RSA_SHA2_512  # which other keys ignore
        return _frame(_SIGN_REQUEST, fields + flags.to_bytes(4, "big"))

    @forgetful
    def receive_data(self, data: bytes) -> bytes:
        """Take bytes of the agent's; returns what to send now, which may be nothing.

        Raises SigningRefusedError if the agent does not sign, with what to do about it, and RemoteProtocolError for
        what is no answer, or a signature that is not right.
        """
        if self.signature is not None:
            raise _broken("nothing more")
        self._buffer += data
        size = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if len(self._buffer) < _LENGTH_BYTES:
            return b""
        if not 1 <= size <= MAX_SSH_AGENT_MESSAGE_BYTES:
            raise _broken(f"a message of 1 to {MAX_SSH_AGENT_MESSAGE_BYTES} bytes")
        if len(self._buffer) < _LENGTH_BYTES + size:
            return b""
        answer, self._buffer = bytes(self._buffer[_LENGTH_BYTES:]), bytearray()
        if len(answer) != size:
            raise _broken("one answer to one request")
        return self._answered(answer[0], answer[1:])

    def _answered(self, kind: int, body: bytes) -> bytes:
        if kind in _FAILURES:
            if self._lists_keys:
                raise SigningRefusedError("the ssh-agent neither signs nor says which keys it holds")
            self._lists_keys = True
            return _frame(_REQUEST_IDENTITIES, b"")
        try:
            if self._lists_keys and kind == _IDENTITIES_ANSWER:
                raise SigningRefusedError(self._refusal(_keys(body)))
            if not self._lists_keys and kind == _SIGN_RESPONSE:
                blob, rest = take_string(body)
                signature = shape(blob, self._public.blob, self._format)
                if not rest and self._public.verify(signature, self._message) is not None:
                    self.signature = signature
                    return b""
        except ValueError:
            pass
        raise _broken("a list of its keys" if self._lists_keys else "a right signature of its key")

    def _refusal(self, keys: list[bytes]) -> str:
        if not keys:
            return "the ssh-agent holds no key, or is locked: ssh-add KEY, or ssh-add -X"
        if self._public.blob not in keys:
            return f"the ssh-agent does not hold the key {self._public.fingerprint}: ssh-add KEY"
        return f"the ssh-agent holds the key {self._public.fingerprint}, but refuses to sign: was it not confirmed?"


_LENGTH_BYTES = 4
_FAILURES = (5, 102)
"""SSH_AGENT_FAILURE, and the one of SSH.COM's agents that old ones may still answer."""
_REQUEST_IDENTITIES: Final = 11
_IDENTITIES_ANSWER: Final = 12
_SIGN_REQUEST: Final = 13
_SIGN_RESPONSE: Final = 14
_RSA_SHA2_256: Final = 2
_RSA_SHA2_512: Final = 4


def _frame(kind: int, body: bytes) -> bytes:
    return pack_string(bytes([kind]) + body)


def _keys(body: bytes) -> list[bytes]:
    """The key blobs of an identities answer. Raises ValueError."""
    keys: list[bytes] = []
    rest = body[4:]
    for _ in range(min(int.from_bytes(body[:4], "big"), len(body))):
        key, rest = take_string(rest)
        _, rest = take_string(rest)
        keys.append(key)
    return keys


def _broken(expected: str) -> RemoteProtocolError:
    return RemoteProtocolError(1002, f"expected {expected} from the ssh-agent, got something else", "AUTH-6")
