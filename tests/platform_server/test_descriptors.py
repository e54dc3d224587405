"""PLAT-8: connections that are opened and reset by the thousand leave nothing behind, in the kernel or in memory."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from benchmarks.servers import PLATFORM, PLATFORM_ANYIO, Server, resident_bytes
from platform_server.harness import PATIENCE_S

MANY = 10_000
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends a reset, and leaves no TIME_WAIT on this side."""
SAID = (b"", b"GET / HTTP/1.1\r\nho", b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
"""By the connections in turn: the reset comes before a request, amid one, and amid its answer."""
LAST_REQUEST = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def open_and_reset(port: int, times: int) -> None:
    """So many connections, one after another."""
    for number in range(times):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(SAID[number % len(SAID)])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def is_served(port: int) -> None:
    """An honest request is answered; and so everything that came before it was accepted."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
        sock.sendall(LAST_REQUEST)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 404")
        while sock.recv(65_536):
            pass


def descriptors(server: Server) -> int:
    """What the platform has open."""
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def wait_for_rest(server: Server, wanted: int) -> None:
    """Until the platform has as much open as at first; fails if it does not come to that."""
    is_served(server.port)
    until = time.monotonic() + PATIENCE_S
    while (count := descriptors(server)) != wanted:
        assert time.monotonic() < until, f"{count} descriptors are open, at first it was {wanted}"
        time.sleep(0.05)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [PLATFORM, PLATFORM_ANYIO])
def test_plat_8_ten_thousand_resets_give_back_all_descriptors_and_ten_thousand_more_cost_no_memory(name: str) -> None:
    with Server(name) as server:
        before = descriptors(server)
        open_and_reset(server.port, MANY)
        wait_for_rest(server, before)
        full = resident_bytes(server.pid)
        open_and_reset(server.port, MANY)
        wait_for_rest(server, before)
        grown = resident_bytes(server.pid) - full
        assert grown <= MIB, f"{grown / MIB:.2f} MiB more"
        print(f"{before} descriptors before and after; {MANY:,} more: {grown / 1024:+.0f} KiB")
