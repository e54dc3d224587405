"""What a wire makes of the bytes it receives: inputs for a machine.

A list of them is complete up to `Failed`, which is always the last: after it the wire ignores whatever comes.
"""

from __future__ import annotations

import msgspec

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import HttpRequest, HttpResponse


class _Input(msgspec.Struct, frozen=True, gc=False):
    pass


class RequestReceived(_Input, frozen=True, gc=False):
    """A whole HTTP request. `upgrade`: it is a sound WebSocket opening handshake (RFC 6455 section 4.2.1)."""

    request: HttpRequest
    upgrade: bool


class ResponseReceived(_Input, frozen=True, gc=False):
    """A whole HTTP response to the request under way."""

    response: HttpResponse


class Upgraded(_Input, frozen=True, gc=False):
    """The opening handshake succeeded: messages follow (RFC 6455 section 4.1)."""


class TextReceived(_Input, frozen=True, gc=False):
    """One whole TEXT message, as the UTF-8 bytes that were checked to be UTF-8 (MSG-6)."""

    payload: bytes

    def __repr__(self) -> str:
        return f"TextReceived({len(self.payload)} bytes)"


class BinaryReceived(_Input, frozen=True, gc=False):
    """One whole binary message, of a wire that was told to accept them; others refuse it (MSG-7)."""

    payload: bytes

    def __repr__(self) -> str:
        return f"BinaryReceived({len(self.payload)} bytes)"


class PingReceived(_Input, frozen=True, gc=False):
    """A ping (RFC 6455 section 5.5.2)."""

    payload: bytes


class PongReceived(_Input, frozen=True, gc=False):
    """A pong (RFC 6455 section 5.5.3)."""

    payload: bytes


class CloseReceived(_Input, frozen=True, gc=False):
    """A close frame; `code` is 1005 if it named none (RFC 6455 section 7.1.5)."""

    code: int
    reason: str


class Failed(msgspec.Struct, frozen=True):
    """The peer broke the framing: `error.code` is the HTTP status or the close code to answer with."""

    error: RemoteProtocolError


class Ended(_Input, frozen=True, gc=False):
    """The peer ended its side of the connection where it may, or before anything of an answer came (LINK-2)."""


Input = (
    RequestReceived
    | ResponseReceived
    | Upgraded
    | TextReceived
    | BinaryReceived
    | PingReceived
    | PongReceived
    | CloseReceived
    | Failed
    | Ended
)
