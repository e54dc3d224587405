"""A server that shakes hands and then keeps all that it is told. In threads: what OpenSSL wants to say gets out."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from anyio_agent.fake_platform import PATIENCE_S
from support.certificates import Issued

LAX = "ALL:@SECLEVEL=0"
"""Ciphers of a time when TLS 1.1 was in use."""


def server_context(
    folder: Path, issued: Issued, *, version: ssl.TLSVersion | None = None, client_authority: Issued | None = None
) -> ssl.SSLContext:
    """Of a platform with this certificate, which speaks one version of TLS alone and requires client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issued.write(folder, "server"))
    if version is not None:
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers(LAX)
        context.minimum_version = context.maximum_version = version
    if client_authority is not None:
        context.load_verify_locations(cadata=client_authority.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class TlsServer:
    """Waits for a request, keeps it, and hangs up."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._threads: list[Thread] = []
        self.connections = 0
        self.received = b""
        """What came after handshakes, of all connections."""
        self.refusals: list[str] = []
        """Why handshakes failed, as OpenSSL calls it here: an alert of the client's, or our own reason."""

    @contextmanager
    def listening(self) -> Generator[str]:
        """Listen on a free port, until all connections have ended; gives the base URL."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            accepting = Thread(target=self._accept, args=(listener,), daemon=True)
            accepting.start()
            try:
                yield f"https://localhost:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                accepting.join(PATIENCE_S)
                for thread in self._threads:
                    thread.join(PATIENCE_S)
                    assert not thread.is_alive()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                self.connections += 1
                self._threads.append(Thread(target=self._attend, args=(sock,), daemon=True))
                self._threads[-1].start()

    def _attend(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        with sock.dup() as under:
            under.settimeout(PATIENCE_S)
            with self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
                try:
                    secured.do_handshake()
                    self.received += secured.recv(65536)
                except (ssl.SSLError, ConnectionError) as error:
                    self.refusals.append(str(getattr(error, "reason", None) or type(error).__name__))
                    with suppress(OSError):  # what is closed with something unread in it takes its last words back
                        while under.recv(65536):
                            pass
