"""An open connection over a transport under test, as `check_channel` is given it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Channel", "MessageChannel", "Opening"]


class _AnyChannel(Protocol):
    """What all channels have. What the far end is to do on a connection that is over does nothing."""

    @property
    def unsent_bytes(self) -> int:
        """What was told last of what has not left (`unsent`), 0 before anything was."""
        ...

    def write(self, data: bytes) -> None:
        """The protocol asks for `Write`, or `SendText`."""
        ...

    def close(self, *, abort: bool) -> None:
        """The protocol asks for `Disconnect`."""
        ...

    def pause_reading(self) -> None:
        """The protocol asks for `PauseReading`."""
        ...

    def resume_reading(self) -> None:
        """The protocol asks for `ResumeReading`."""
        ...

    @property
    def far_unsent_bytes(self) -> int:
        """What the far end was given to send and holds still, because the connection takes no more."""
        ...

    def far_write(self, data: bytes) -> None:
        """The far end sends, as soon as it can."""
        ...

    def far_close(self, *, abort: bool) -> None:
        """The far end closes after what it sent, or resets the connection."""
        ...

    def far_pause_reading(self) -> None:
        """The far end reads no more."""
        ...

    def far_resume_reading(self) -> None:
        """The far end reads again."""
        ...

    async def settle(self) -> None:
        """Let everything that is under way go on for a moment, and return."""
        ...


class Channel(_AnyChannel, Protocol):
    """The protocol's end of a byte stream, and the far end in the hands of the check. Either role may be either.

    `data` is a piece of the stream. `received`, `ends` and `unsent_bytes` are what the transport told the protocol; the
    stand-in for that keeps them.
    """

    @property
    def received(self) -> Sequence[bytes]:
        """What came in, in order (`data_received`)."""
        ...

    @property
    def ends(self) -> int:
        """How often it was told that the connection is over (`eof_received`, `disconnected`)."""
        ...

    @property
    def far_received(self) -> Sequence[bytes]:
        """What the far end has read, in order."""
        ...

    @property
    def far_has_ended(self) -> bool:
        """Whether the far end has read the end of the connection, or was told of a reset."""
        ...


class MessageChannel(_AnyChannel, Protocol):
    """The same for a transport that frames messages by itself: `data` is one whole message, in UTF-8.

    `told` and `far_told` are what each end was told, in one order: `("text", payload)`, `("ping", payload)`,
    `("pong", payload)`, `("close", code)` for a close frame, its code 1005 if it named none, `("lost", b"")` for the
    end of a connection without one, and `("bytes", b"")` for each `bytes_received`, which may be missing in `far_told`.
    What has `told` is taken for such a channel.

    The far end may answer pings and closes by itself; `far_close_with` does nothing once it has.
    """

    @property
    def told(self) -> Sequence[tuple[str, bytes | int]]:
        """What the protocol was told (`bytes_received`, `text_received`, `ping_received` …)."""
        ...

    @property
    def far_told(self) -> Sequence[tuple[str, bytes | int]]:
        """What the far end has read, or was told of its connection."""
        ...

    def ping(self, payload: bytes) -> None:
        """The protocol asks for `SendPing`."""
        ...

    def pong(self, payload: bytes) -> None:
        """The protocol asks for `SendPong`."""
        ...

    def close_with(self, code: int, reason: str) -> None:
        """The protocol asks for `SendClose`; 1005 is a close that names no code, and no reason.

        `reason` has at most 123 bytes in UTF-8. Whether it arrives is not looked at.
        """
        ...

    def far_ping(self, payload: bytes) -> None:
        """The far end sends a ping, after what it sent before."""
        ...

    def far_pong(self, payload: bytes) -> None:
        """The far end sends a pong likewise."""
        ...

    def far_close_with(self, code: int) -> None:
        """The far end sends a close frame likewise; 1005 is one that names no code."""
        ...


class Opening(Protocol):
    """A connection that the protocol has asked for, and that the far end does not let open yet."""

    @property
    def opened(self) -> int:
        """How often the protocol was told that it is open (`connected`)."""
        ...

    @property
    def failures(self) -> int:
        """How often it was told that the connection could not be opened (`connect_failed`), or is over."""
        ...

    @property
    def far_has_ended(self) -> bool:
        """Whether the far end has no connection, or none any more."""
        ...

    def close(self, *, abort: bool) -> None:
        """The protocol asks for `Disconnect`."""
        ...

    def far_lets_open(self) -> None:
        """The far end lets it open: it accepts it, or goes on with its handshake."""
        ...

    async def settle(self) -> None:
        """Let everything that is under way go on for a moment, and return."""
        ...
