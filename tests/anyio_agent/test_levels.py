"""LINK-8: what the system holds of a connection."""

from __future__ import annotations

import socket

import pytest

from artcafe_anyio import levels


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
