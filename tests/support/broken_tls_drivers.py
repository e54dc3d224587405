"""Drivers that break a rule of `check_driver` under TLS only: its buffers are beside those of the socket."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from artcafe_proto import AgentConfig
from artcafe_proto.effects import Connect
from support.drivers import PIECE_BYTES, Handle, PlainDriver, Signer


def is_tls(end: object) -> bool:
    return isinstance(end, asyncio.Transport) and end.get_extra_info("sslcontext") is not None


RECORD_BYTES = 16 * 1024


class LeavingWhatTlsHasRead(PlainDriver):
    """Reads a part of a record; the rest waits in the TLS layer until the socket can be read once more."""

    def __init__(self, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> None:
        super().__init__(config, sign, handle, ca_file)
        self.waiting: defaultdict[int, bytearray] = defaultdict(bytearray)

    def received(self, conn: int, data: bytes) -> None:
        if is_tls(self.ends.get(conn)):
            waiting = self.waiting[conn]
            waiting += data
            data = bytes(waiting[: max(1024, len(waiting) - RECORD_BYTES)])
            del waiting[: len(data)]
        super().received(conn, data)


class TakingTlsWritesForWhole(PlainDriver):
    """A write of TLS takes a record at most."""

    def write(self, conn: int, data: bytes) -> None:
        super().write(conn, data[:RECORD_BYTES] if is_tls(self.ends[conn]) else data)


class DroppingWhatTlsCannotTake(PlainDriver):
    """A write of TLS that would block is not repeated."""

    def write(self, conn: int, data: bytes) -> None:
        end = self.ends[conn]
        assert isinstance(end, asyncio.Transport)
        if not is_tls(end) or end.get_write_buffer_size() < PIECE_BYTES:
            super().write(conn, data)


class WithoutLevelsOfTls(PlainDriver):
    def tell_unsent(self, conn: int) -> None:
        if not is_tls(self.ends[conn]):
            super().tell_unsent(conn)


class ShakingHandsOn(PlainDriver):
    """A TLS handshake goes on after it was given up."""

    async def connect(self, asked: Connect) -> None:
        attempt = super().connect(asked)
        await (asyncio.shield(attempt) if asked.tls else attempt)


class CuttingTls(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        super().close(transport, abort=abort or is_tls(transport))


class FlushingAbortedTls(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        super().close(transport, abort=abort and not is_tls(transport))


class LeavingTlsOpen(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if abort or not is_tls(transport):
            super().close(transport, abort=abort)


class DroppingSmallRecords(PlainDriver):
    def received(self, conn: int, data: bytes) -> None:
        if len(data) > 1 or not is_tls(self.ends.get(conn)):
            super().received(conn, data)


BROKEN_UNDER_TLS: list[tuple[type[PlainDriver], str, str]] = [
    (ShakingHandsOn, "connecting can be given up, and nothing is left", "in its TLS handshake"),
    (DroppingSmallRecords, "bytes may come one by one", "online (under TLS)"),
    (LeavingWhatTlsHasRead, "many commands may come at once", "12000 bytes to be answered at once (under TLS)"),
    (TakingTlsWritesForWhole, "what has not left is told", "on one link (under TLS)"),
    (DroppingWhatTlsCannotTake, "what has not left is told", "on one link (under TLS)"),
    (WithoutLevelsOfTls, "what has not left is told", "not read (under TLS)"),
    (WithoutLevelsOfTls, "writing that stalls is given up", "by `unsent` (under TLS)"),
    (FlushingAbortedTls, "an abort waits for nothing", "has left (under TLS)"),
    (CuttingTls, "what was written before a close arrives", "without `abort` (under TLS)"),
    (LeavingTlsOpen, "a connection ends with Disconnect", "after `Disconnect` (under TLS)"),
]
"""Each with the rule that finds it, and a part of what that says."""
