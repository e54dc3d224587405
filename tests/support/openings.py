"""Connections that are not open yet, for `check_channel`: the page's transport over websockets, amid a handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from artcafe_proto import AgentConfig
from artcafe_proto.effects import Connect, Disconnect
from artcafe_proto.testing import Opening
from support.certificates import issue
from support.channels import CONN, transport
from support.message_channels import turns_of_the_loop

AUTHORITY = issue(common_name="The Authority", is_authority=True)
ISSUED = issue("localhost", by=AUTHORITY)


class FarEnd:
    """A TCP server that does not begin its TLS handshake before it is told to."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.may_open = asyncio.Event()
        self.connections = 0
        self.has_ended = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast("asyncio.Transport", writer.transport).pause_reading()  # what is read now is lost to the handshake
        self.connections += 1
        self.has_ended = False
        try:
            await self.may_open.wait()
            await writer.start_tls(self.context)
            await reader.read()
        except (OSError, EOFError):
            pass
        finally:
            self.has_ended = True
            writer.close()


class PrintedOpening:
    """`kind` is the page's transport, or one that breaks a rule."""

    def __init__(self, port: int, far: FarEnd, kind: Callable[..., Any]) -> None:
        self.far = far
        self.opened = self.failures = 0
        asked = Connect(CONN, "localhost", port, True, 0.0, "link")
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="https://localhost")
        tls = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
        self.transport = kind(asked, config, self._tell, tls)

    def _tell(self, happened: str, *_: object, **__: object) -> None:
        self.opened += happened == "connected"
        self.failures += happened in ("connect_failed", "disconnected", "peer_ended")

    @property
    def far_has_ended(self) -> bool:
        return self.far.has_ended

    def close(self, *, abort: bool) -> None:
        self.transport.carry_out(Disconnect(CONN, abort))

    def far_lets_open(self) -> None:
        self.far.may_open.set()

    async def settle(self) -> None:
        await turns_of_the_loop()


def printed_opening(kind: Callable[..., Any] | None = None) -> Any:
    """What `check_channel` takes as `opening`."""

    @asynccontextmanager
    async def opening() -> AsyncGenerator[Opening]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with TemporaryDirectory() as folder:
            context.load_cert_chain(*ISSUED.write(Path(folder), "far"))
        far = FarEnd(context)
        async with await asyncio.start_server(far.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            under_test = PrintedOpening(port, far, kind or transport("websockets")["Transport"])
            while not far.connections:
                await turns_of_the_loop()
            yield under_test
            under_test.close(abort=True)
            far.may_open.set()
            for _ in range(20):
                await turns_of_the_loop()

    return opening
