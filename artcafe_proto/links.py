"""One end of a link that is up: what both roles do the same way, whatever the messages mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.effects import PauseReading, ResumeReading, SendClose, SendPing, SendPong, SendText
from artcafe_proto.limits import MAX_SMALL_PIECES, MAX_WAITING_REPLIES, PIECE_BYTES
from artcafe_proto.policies.liveness import Liveness
from artcafe_proto.policies.outflow import Outflow

if TYPE_CHECKING:
    from artcafe_proto.config import LinkSettings
    from artcafe_proto.outputs import AgentOutputs, PlatformOutputs


class LinkEnd:
    """Sending with back-pressure, pings and pongs, and the count of bad messages. It lives as long as its link."""

    __slots__ = (
        "_bad_allowed",
        "_outputs",
        "_owed_pong",
        "_replies",
        "_settings",
        "bad_in_a_row",
        "conn",
        "liveness",
        "outflow",
        "up_at",
    )

    def __init__(
        self,
        conn: int,
        settings: LinkSettings,
        outputs: AgentOutputs | PlatformOutputs,
        mono: float,
        outflow: Outflow | None = None,
        *,
        answers_pings: bool = False,
    ) -> None:
        """`outflow`: the connection's, if it has carried something before. `answers_pings`: as for `Liveness`."""
        self.conn: int = conn
        self.up_at: Final = mono
        self.outflow: Final = Outflow() if outflow is None else outflow
        self.liveness: Final = Liveness(
            mono,
            interval_s=settings.ping_interval,
            timeout_s=settings.ping_timeout,
            answers_pings=answers_pings,
        )
        self._settings = settings
        self._outputs = outputs
        self.bad_in_a_row: int = 0
        """Messages that were not understood, since one was."""
        self._bad_allowed = float(MAX_SMALL_PIECES)  # further ones, but for what their bytes and time bring
        self._owed_pong: bytes | None = None
        self._replies: list[bytes] = []

    @property
    def stall_deadline(self) -> float | None:
        """When nothing will have left for too long (LINK-8)."""
        return self.outflow.stall_deadline(self._settings.write_stall_timeout)

    def send(self, payload: bytes) -> None:
        """Send a message now; for what may wait, ask `outflow.has_room` first."""
        self.outflow.written += len(payload)
        self._outputs.sends.append(SendText(self.conn, payload))

    def send_all(self, payloads: list[bytes]) -> None:
        """Send messages now, as `send`."""
        conn = self.conn
        self.outflow.written += sum(map(len, payloads))
        self._outputs.sends.extend([SendText(conn, payload) for payload in payloads])

    def reply(self, payload: bytes, mono: float) -> None:
        """Send a message that no outbox keeps. If many wait because the peer does not read, it is not read either."""
        if self.outflow.has_room and not self._replies:
            self.send(payload)
            return
        self._replies.append(payload)
        if len(self._replies) == MAX_WAITING_REPLIES:
            self.liveness.pause(mono)
            self._outputs.asks.append(PauseReading(self.conn))

    def ping(self, mono: float) -> int:
        """Send the next ping; returns its number (LINK-7)."""
        payload = self.liveness.ping(mono)
        self.outflow.written += len(payload)
        self._outputs.sends.append(SendPing(self.conn, payload))
        return self.liveness.pings

    def pong(self, payload: bytes) -> None:
        """Answer a ping. Of those in a row, or while there is no room, only the latest is (RFC 6455 section 5.5.3)."""
        sends = self._outputs.sends
        if self.outflow.has_room:
            if sends and type(last := sends[-1]) is SendPong and last.conn == self.conn:
                self.outflow.written -= len(last.payload)
                sends.pop()
            self.outflow.written += len(payload)
            sends.append(SendPong(self.conn, payload))
        else:
            self._owed_pong = payload

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, the last there is; a code that names nothing is answered with none (RFC 6455, 7.1.5)."""
        self._owed_pong = None
        self._replies.clear()
        self._outputs.sends.append(SendClose(self.conn, code, reason))

    def unsent(self, nbytes: int, mono: float, undrained_bytes: int = 0) -> None:
        """So many bytes have not left, as `Outflow.report` takes it."""
        if self.outflow.report(nbytes, mono, undrained_bytes):
            self.liveness.sent(mono)
        self._send_what_waits(mono)

    def grant(self, mono: float) -> None:
        """Nothing was reported of what was written last: it counts as having left."""
        self.outflow.grant()
        self._send_what_waits(mono)

    def _send_what_waits(self, mono: float) -> None:
        """What was owed goes out first, as far as there is room."""
        if self._owed_pong is not None and self.outflow.has_room:
            self.pong(self._owed_pong)
            self._owed_pong = None
        if not self._replies or not self.outflow.has_room:
            return
        was_paused = len(self._replies) >= MAX_WAITING_REPLIES
        while self._replies and self.outflow.has_room:
            self.send(self._replies.pop(0))
        if was_paused and len(self._replies) < MAX_WAITING_REPLIES:
            self.liveness.resume(mono)
            self._outputs.asks.append(ResumeReading(self.conn))

    def bad_message(self, size_bytes: int, mono: float) -> str:
        """A message of so many bytes was not understood. Returns why that is one too many (MSG-5), or ""."""
        self.bad_in_a_row += 1
        self._bad_allowed += size_bytes / PIECE_BYTES - 1
        if self.bad_in_a_row > self._settings.max_bad_messages:
            return f"more than {self._settings.max_bad_messages} bad messages in a row"
        return "too many small bad messages" if self._bad_allowed + mono - self.up_at < 0 else ""
