"""A platform on a loopback port that does what networks do: `ScriptedPeer` behind sockets, in threads of its own.

It shares nothing with a driver's event loop, so a driver that hangs is seen to hang.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from artcafe_proto import Instant
from artcafe_proto.effects import Write
from artcafe_proto.testing import Reply, ScriptedPeer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

End = Literal["fin", "half-close", "reset"]
"""How the peer ends a connection; after a half-close it reads on."""

_POLL_S: Final = 0.005
"""How soon a connection's thread sees what it is asked for."""
_PIECE_BYTES: Final = 64 * 1024
_SMALL_BUFFER_BYTES: Final = 64 * 1024
_GOODBYE_S: Final = 5.0


class Peer:
    """Takes connections while its `with` block runs."""

    def __init__(
        self,
        *script: Reply,
        tls: ssl.SSLContext | None = None,
        is_mute: bool = False,
        piece_bytes: int = _PIECE_BYTES,
        token_life_s: float = 900.0,
        greeting: Mapping[str, Any] | None = None,
        lingers: bool = False,
    ) -> None:
        """`script` is that of `ScriptedPeer`; `is_mute` keeps what comes in and answers nothing.

        What is sent goes out in pieces of `piece_bytes`. `greeting` has the arguments of a command that is sent as soon
        as a link has had its first heartbeat. Who `lingers` leaves a connection open after the closing handshake.
        """
        self.scripted: ScriptedPeer = ScriptedPeer(*script, token_life_s=token_life_s)
        self.connections: list[PeerConnection] = []
        """All that were made, the first one first."""
        self.greeting: Final = greeting
        self.is_tls: Final = tls is not None
        self.violations: list[str] = []
        """What cannot be read of what came."""
        self.errors: list[Exception] = []
        """What was raised in the threads of the connections."""
        self.reads = True
        self.lingers: Final = lingers
        self.is_mute = is_mute
        self.pause_s: float = 0.0
        """After each 64 KiB: how slow the peer reads."""
        self.piece_bytes = piece_bytes
        self.lock: threading.RLock = threading.RLock()
        self.is_over: bool = False
        self._commands = 0
        self._tls = tls
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="check_driver: the peer", daemon=True)

    def __enter__(self) -> Self:
        self.listen()
        return self

    def listen(self, *, is_full: bool = False) -> None:
        """Take connections; before this they are refused. If `is_full`, they wait instead, as few as possible."""
        self._listener.listen(0 if is_full else 16)
        if not is_full:
            self._listener.settimeout(_POLL_S)
            self._acceptor.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close_all()
        if self.errors:  # as of `command` for a greeting
            raise self.errors[0]

    def close_all(self) -> None:
        """Close everything."""
        self.is_over = True
        if self._acceptor.is_alive():
            self._acceptor.join(_GOODBYE_S)
        self._listener.close()
        for connection in self.connections:
            connection.join()

    @property
    def link(self) -> PeerConnection | None:
        """The connection that carries the link, if there is one."""
        with self.lock:
            return self.connections[self.scripted.links[-1]] if self.scripted.links else None

    @property
    def is_online(self) -> bool:
        """Whether there is a link that is still open."""
        link = self.link
        return link is not None and link.ended is None and link.heartbeats > 0

    def responses(self) -> list[dict[str, Any]]:
        """The data of every response, in order."""
        with self.lock:
            return [message["data"] for message in self.scripted.received("response")]

    def results(self) -> dict[str, Any]:
        """The results of the commands that succeeded, by their ids, in the order of the responses."""
        return {each["command_id"]: each["result"] for each in self.responses() if each["status"] == "success"}

    def command(self, do: str, *, count: int = 1, timeout: float | None = None, **args: Any) -> list[str]:
        """Send commands `check` in one piece, which the stage's handler obeys; returns their ids.

        Raises LocalProtocolError if there is no link.
        """
        with self.lock:
            ids = [f"cmd-{self._commands + number}" for number in range(count)]
            self._commands += count
            data: dict[str, Any] = {"command": "check", "args": {"do": do, **args}}
            data |= {} if timeout is None else {"timeout": timeout}
            writes = [self.scripted.send("command", data, _now(), message_id=each) for each in ids]
            self.connections[writes[0].conn].send(b"".join(each.data for each in writes))
        return ids

    def close(self, code: int) -> None:
        """Send a close frame on the link. Raises LocalProtocolError if there is no link."""
        with self.lock:
            write = self.scripted.close(code)
            self.connections[write.conn].send(write.data)

    def _accept(self) -> None:
        while not self.is_over:
            with suppress(OSError):
                sock, _ = self._listener.accept()
                sock.settimeout(_GOODBYE_S)
                with self.lock:
                    self.connections.append(PeerConnection(self, len(self.connections), sock, self._tls))


class PeerConnection:
    """One connection, in a thread of its own."""

    def __init__(self, peer: Peer, number: int, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.number: Final = number
        self.head: bytes = b""
        """The first bytes that came."""
        self.heartbeats: int = 0
        self.received_bytes: int = 0
        self.reads_at_most: float = math.inf
        """Of `received_bytes`, or hardly more."""
        self.ended: str | None = None
        """How the driver's side has ended: `end` or the name of an error."""
        self.has_said_goodbye: bool = False
        self.after_goodbye_bytes: int = 0
        """What came after the driver's close frame."""
        self._peer = peer
        self._sock = sock
        self._tls = tls
        self._unsent = bytearray()
        self._asked: End | None = None
        self._is_greeted = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=f"check_driver: connection {number}", daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Send, as soon as the driver reads."""
        with self._peer.lock:
            self._unsent += data

    def end(self, how: End) -> None:
        """End the connection soon."""
        self._asked = how

    def join(self) -> None:
        """Wait for its thread, which ends soon after the peer."""
        self._thread.join(_GOODBYE_S)

    def _run(self) -> None:
        try:
            if self._tls is not None:
                self._sock = self._tls.wrap_socket(self._sock, server_side=True)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.settimeout(_POLL_S)
            while not (self._is_over or self._peer.is_over):
                self._send_some()
                self._end_if_asked()
                self._read_some()
        except OSError as error:
            self.ended = self.ended or type(error).__name__
        except Exception as error:
            self._peer.errors.append(error)
        finally:
            with self._peer.lock:
                self._peer.scripted.disconnected(self.number)
            self._sock.close()

    def _send_some(self) -> None:
        while self._unsent and not self._peer.is_over:
            piece = bytes(self._unsent[: self._peer.piece_bytes])
            try:
                sent = self._sock.send(piece)
            except TimeoutError:
                return
            with self._peer.lock:
                del self._unsent[:sent]
            if self._peer.piece_bytes == 1:
                time.sleep(0)  # the driver may read it

    def _end_if_asked(self) -> None:
        asked = self._asked
        if asked is None or (self._unsent and asked != "reset"):
            return
        self._asked = None
        if asked == "half-close":
            self._sock.shutdown(socket.SHUT_WR)
            return
        if asked == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._is_over = True

    def _read_some(self) -> None:
        if self._is_over or not self._peer.reads or self.received_bytes >= self.reads_at_most:
            time.sleep(_POLL_S)
            return
        try:
            data = self._sock.recv(_PIECE_BYTES)
        except TimeoutError:
            return
        if not data:
            self.ended, self._is_over = "end", True
            return
        self.head = self.head or data
        self.received_bytes += len(data)
        if not self._peer.is_mute:
            with self._peer.lock:
                if self._peer.lingers:  # what follows a close frame is told apart
                    for byte in data:
                        self._read(bytes((byte,)))
                else:
                    self._read(data)
        if self._peer.pause_s:
            time.sleep(self._peer.pause_s * len(data) / _PIECE_BYTES)

    def _read(self, data: bytes) -> None:
        if self.has_said_goodbye:
            self.after_goodbye_bytes += len(data)
            return
        scripted = self._peer.scripted
        before = len(scripted.messages)
        try:
            outputs = scripted.data_received(self.number, data, _now())
        except Exception as error:  # what comes is not what an agent sends
            self._peer.violations.append(f"{type(error).__name__}: {error}")
            self._is_over = True
            return
        self.heartbeats += sum(message["type"] == "heartbeat" for message in scripted.messages[before:])
        for output in outputs:
            if isinstance(output, Write):
                self.send(output.data)
            else:
                self.has_said_goodbye = True
                self._asked = None if self._peer.lingers else "fin"
        if self.heartbeats and not self._is_greeted:
            self._is_greeted = True
            if self._peer.greeting is not None:
                self._peer.command(**self._peer.greeting)


_LINGER_NONE: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""Close by a reset."""


def _now() -> Instant:
    return Instant(time.monotonic(), time.time())
