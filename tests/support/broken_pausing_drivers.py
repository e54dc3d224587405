"""Drivers that break the rule of `check_driver` on pausing, some of them under TLS only."""

from __future__ import annotations

import asyncio
from pathlib import Path

from artcafe_proto import AgentConfig
from support.broken_tls_drivers import is_tls
from support.drivers import Handle, PlainDriver, Signer


class NeverReadingAgain(PlainDriver):
    def resume(self, conn: int) -> None:
        """Does nothing."""


class DroppingWhilePaused(PlainDriver):
    def __init__(self, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> None:
        super().__init__(config, sign, handle, ca_file)
        self.paused: set[int] = set()

    def pause(self, conn: int) -> None:
        self.paused.add(conn)

    def resume(self, conn: int) -> None:
        self.paused.discard(conn)

    def received(self, conn: int, data: bytes) -> None:
        if conn not in self.paused:
            super().received(conn, data)


class RepeatingWhatCameWhilePaused(DroppingWhilePaused):
    def __init__(self, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> None:
        super().__init__(config, sign, handle, ca_file)
        self.came = bytearray()

    def received(self, conn: int, data: bytes) -> None:
        if conn in self.paused:
            self.came += data
        else:
            PlainDriver.received(self, conn, data)

    def resume(self, conn: int) -> None:
        super().resume(conn)
        for _ in range(2):
            self.loop.call_soon(PlainDriver.received, self, conn, bytes(self.came))


class ClosingWhenResumed(PlainDriver):
    """A connection whose reading is paused is not closed before it is resumed."""

    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if abort or transport.is_reading():
            super().close(transport, abort=abort)


class AbortingWhenResumed(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if not abort or transport.is_reading():
            super().close(transport, abort=abort)


class NotResumingTls(PlainDriver):
    """What the TLS layer holds when reading is resumed stays there."""

    def resume(self, conn: int) -> None:
        if not is_tls(self.ends.get(conn)):
            super().resume(conn)


class ClosingTlsWhenResumed(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if abort or transport.is_reading() or not is_tls(transport):
            super().close(transport, abort=abort)


class AbortingTlsWhenResumed(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if not abort or transport.is_reading() or not is_tls(transport):
            super().close(transport, abort=abort)


BROKEN_WHILE_PAUSED: list[tuple[type[PlainDriver], str, str]] = [
    (NeverReadingAgain, "reading can be paused", "once each; 456 were"),
    (DroppingWhilePaused, "reading can be paused", "once each"),
    (RepeatingWhatCameWhilePaused, "reading can be paused", "once each"),
    (ClosingWhenResumed, "reading can be paused", "when it was to be closed"),
    (AbortingWhenResumed, "reading can be paused", "to end at once after writing has stalled"),
    (NotResumingTls, "reading can be paused", "once each (under TLS)"),
    (ClosingTlsWhenResumed, "reading can be paused", "when it was to be closed (under TLS)"),
    (AbortingTlsWhenResumed, "reading can be paused", "was paused (under TLS)"),
]
"""Each with the rule that finds it, and a part of what that says."""
