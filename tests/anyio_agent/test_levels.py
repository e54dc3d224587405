"""LINK-8: what the system holds of a connection, and when it is asked."""

from __future__ import annotations

import math
import socket

import pytest

from artcafe_anyio import levels
from artcafe_anyio.levels import ENOUGH_BYTES, FIRST_LOOK_S, LAST_LOOK_S, Level


class Measured(Level):
    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.looks = 0

    def measure(self) -> int:
        self.looks += 1
        return self.held


@pytest.mark.skipif(levels.ioctl is None, reason="this system does not tell")
def test_the_system_tells_what_a_peer_that_does_not_read_has_not_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(server.getsockname()) as near:
            far, _ = server.accept()
            with far:
                assert levels.unacknowledged_bytes(near) == 0
                near.setblocking(False)
                sent = near.send(bytes(1 << 20))
                assert sent // 2 < levels.unacknowledged_bytes(near) <= sent
    assert levels.unacknowledged_bytes(near) == 0, "it is closed"


def test_where_it_does_not_tell_its_buffer_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "ioctl", None)
    with socket.socket() as sock:
        levels.bound_send_buffer(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * levels.SEND_BUFFER_BYTES
        assert levels.unacknowledged_bytes(sock) == 0


def test_little_is_not_looked_at_and_much_is_until_it_has_left() -> None:
    level = Measured()
    level.wrote(ENOUGH_BYTES - 1)
    assert (level.due_level(10.0), level.look_at, level.looks) == (None, math.inf, 0)
    level.wrote(1)
    level.held = 5
    assert level.due_level(10.0) == 5
    assert level.look_at == 10.0 + FIRST_LOOK_S
    assert level.due_level(10.0) is None
    waits: list[float] = []
    for _ in range(12):
        at = level.look_at
        assert level.due_level(at) == 5
        waits.append(level.look_at - at)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LAST_LOOK_S)
    level.has_drained()
    level.held = 0
    assert level.due_level(20.0) == 0
    assert level.look_at == math.inf
    level.has_drained()
    assert level.due_level(30.0) is None, "nothing was reported"
