"""Effects: what the core asks of the world.

The first group is the contract of the façades `AgentProtocol` and `PlatformProtocol`: a driver of sockets carries out
these and nothing else. The second group is the contract of the machines below the façades: a transport that frames
messages by itself carries out these instead of `Write`.

No `repr` shows a payload, and what holds one is not for pickling: tokens, challenges and signatures travel in them
(TOK-4).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from artcafe_proto.exchanges import HttpRequest, HttpResponse
from artcafe_proto.messages import read_name
from artcafe_proto.records import Record
from artcafe_proto.secrecy import Secretive

__all__ = [
    "Effect", "PlatformEffect", "AgentMachineEffect", "PlatformSessionEffect", "Connect", "Write", "Disconnect",
    "PauseReading", "ResumeReading", "Sign", "CancelSign", "SendRequest", "SendUpgrade", "SendResponse",
    "SendBody", "AcceptUpgrade", "SendText", "SendPing", "SendPong", "SendClose", "ConnectFailure", "ConnectPurpose",
    "Persist", "PersistFailure",
]  # fmt: skip

ConnectFailure = Literal["dns", "refused", "timeout", "tls", "proxy", "other"]
"""Why a connection could not be opened."""
ConnectPurpose = Literal["link", "renewal", "call"]
"""What a connection is for: a link and the login before it, the next token, or the calls of the application."""


PersistFailure = Literal["full", "unavailable"]
"""Why a batch could not be stored: there is no room, or for any other reason."""


class _Effect(msgspec.Struct, frozen=True, gc=False):
    pass


# --- for drivers ------------------------------------------------------------------------------------------------------


class Connect(_Effect, frozen=True, gc=False):
    """Open a TCP connection, with verified TLS if `tls`, by `deadline` (monotonic seconds, LINK-8).

    Answer with exactly one `connected` or `connect_failed` for `conn`.
    """

    conn: int
    host: str
    port: int
    tls: bool
    deadline: float
    purpose: ConnectPurpose


class Write(Secretive, _Effect, frozen=True, gc=False):
    """Send `data` on `conn`, after everything written before."""

    conn: int
    data: bytes

    def __repr__(self) -> str:
        return f"Write(conn={self.conn}, {len(self.data)} bytes)"


class Disconnect(_Effect, frozen=True, gc=False):
    """Close `conn`: at once and without flushing if `abort`, else after what was written, within the close deadline.

    Nothing about `conn` is expected afterwards.
    """

    conn: int
    abort: bool


class PauseReading(_Effect, frozen=True, gc=False):
    """Stop reading from `conn` until `ResumeReading`."""

    conn: int


class ResumeReading(_Effect, frozen=True, gc=False):
    """Read from `conn` again."""

    conn: int


class Sign(Secretive, _Effect, frozen=True, gc=False):
    """Sign the UTF-8 bytes of `challenge` with the agent's key, by `deadline` (AUTH-4, AUTH-6).

    `key` is 0, or 1 for the second key of an agent with `next_key`.

    Answer with `signed(request, signature)`, the signature in the configured format (AUTH-3), or `sign_failed`.
    """

    request: int
    challenge: str
    deadline: float
    key: int = 0

    def __repr__(self) -> str:
        return (
            f"Sign(request={self.request}, {len(self.challenge)} characters, deadline={self.deadline}, key={self.key})"
        )


class CancelSign(_Effect, frozen=True, gc=False):
    """The answer to `Sign` `request` is no longer wanted; a late one is ignored."""

    request: int


# --- for transports that frame messages themselves --------------------------------------------------------------------


class SendRequest(_Effect, frozen=True, gc=False):
    """Send an HTTP request on `conn`; answer with `response_received(conn, exchange, …)`."""

    conn: int
    exchange: int
    request: HttpRequest


class SendUpgrade(_Effect, frozen=True, gc=False):
    """Send the WebSocket opening handshake; answer with `upgraded(conn, exchange)` or `response_received`."""

    conn: int
    exchange: int
    request: HttpRequest


class SendResponse(_Effect, frozen=True, gc=False):
    """Answer the request `exchange` on `conn`. With `more` the body is not whole: it goes on with `SendBody`."""

    conn: int
    exchange: int
    response: HttpResponse
    more: bool = False


class SendBody(Secretive, _Effect, frozen=True, gc=False):
    """Send `data` as the next piece of the body of an answer; without `more` it is the last. It may be empty."""

    conn: int
    exchange: int
    data: bytes
    more: bool

    def __repr__(self) -> str:
        return f"SendBody(conn={self.conn}, exchange={self.exchange}, {len(self.data)} bytes, more={self.more})"


class AcceptUpgrade(_Effect, frozen=True, gc=False):
    """Answer the opening handshake `exchange` on `conn` with 101; messages follow."""

    conn: int
    exchange: int


class SendText(_Effect, frozen=True, gc=False):
    """Send one TEXT message, given as UTF-8."""

    conn: int
    payload: bytes

    @property
    def message_type(self) -> str:
        """Which type of message it is: `response`, for example (MSG-1). It is read from the payload."""
        return read_name(self.payload).type

    @property
    def message_id(self) -> str:
        """The id of the message, for `AgentMachine.acked` (CMD-3). It is read from the payload."""
        return read_name(self.payload).id

    def __repr__(self) -> str:
        return f"SendText(conn={self.conn}, {len(self.payload)} bytes)"


class SendPing(_Effect, frozen=True, gc=False):
    """Send a ping (RFC 6455 section 5.5.2)."""

    conn: int
    payload: bytes


class SendPong(_Effect, frozen=True, gc=False):
    """Send a pong (RFC 6455 section 5.5.3)."""

    conn: int
    payload: bytes


class SendClose(_Effect, frozen=True, gc=False):
    """Send a close frame (RFC 6455 section 5.5.1)."""

    conn: int
    code: int
    reason: str


class Persist(_Effect, frozen=True, gc=False):
    """Store all of `records`, or none of them, and tell `persisted` or `persist_failed` of `batch` (PLAT-5).

    A later record of the same kind and number takes the place of an earlier one, also within a batch. A batch
    may be handed out again, and storing it twice is storing it once. There is one under way at a time.
    """

    batch: int
    records: tuple[Record, ...]


SendFrame = SendText | SendPing | SendPong | SendClose
AgentSend = SendRequest | SendUpgrade | SendFrame
PlatformSend = SendResponse | SendBody | AcceptUpgrade | SendFrame
Send = AgentSend | PlatformSend
PlatformAsk = PauseReading | ResumeReading
Ask = Connect | Sign | CancelSign | Persist | PlatformAsk
Effect = Ask | Write | Disconnect
"""What `AgentProtocol` asks of a driver."""
PlatformEffect = PlatformAsk | Write | Disconnect
"""What `PlatformProtocol` asks of a driver: some of the same."""
AgentMachineEffect = Ask | AgentSend | Disconnect
"""What an `AgentMachine` asks of its façade, or of a transport that frames messages itself."""
PlatformSessionEffect = PlatformAsk | PlatformSend | Disconnect
"""What a `PlatformSession` asks likewise."""
