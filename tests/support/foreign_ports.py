"""Ports for servers that somebody else's code binds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

START_S = 30.0
"""Before a server that does not start, or does not stop, is taken as failed."""


def wait_until_it_listens(port: int, is_alive: Callable[[], bool]) -> None:
    """Connect until that works."""
    deadline = time.monotonic() + START_S
    while True:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def reserved_port() -> Generator[int]:
    """A port that nobody else is given: it is bound, but nobody listens, which leaves it to those who may reuse it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
