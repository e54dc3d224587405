"""What a life of an agent starts with: its journal, its first line in the log, and how it connects."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from artcafe_anyio.connecting import context_of, open_tcp_stream
from artcafe_anyio.connection import StreamConnection
from artcafe_anyio.proxies import unused_proxy
from artcafe_anyio.transports import TransportConnection

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from artcafe_anyio.credentials import Trust
    from artcafe_anyio.driver import AgentDriver, ConnectionMaker
    from artcafe_anyio.journals import Journal
    from artcafe_anyio.logs import AgentLog
    from artcafe_proto.effects import Connect


def journal_of(path: str, log: AgentLog) -> Journal:
    """The journal in a file, which is not opened yet."""
    from artcafe_anyio.journals import Journal  # with SQLite, which agents without a journal do without

    return Journal(path, log)


def first_line(endpoint: str, keys: str, journal: Journal | None) -> str:
    """The first line of a log: what runs, and what a crash would cost it."""
    what = f"{endpoint}, {keys}" if keys else endpoint
    if journal is not None:
        return f"starting: {what}; the journal is {journal}"
    crash = "commands that run when the process is killed may run again, and what is not settled is lost"
    return f"starting: {what}; no journal: {crash}, which journal_path prevents [CMD-1]"


def connection_maker(trust: Trust | None, driver: AgentDriver, *, by_asyncio: bool) -> ConnectionMaker:
    """How TCP connections are made: by the loop's own transports where it has any, else by anyio's streams."""
    config = driver.protocol.config
    if proxy := unused_proxy(config.api.origin, config.ws.origin):
        driver.log.line(logging.INFO, f"{proxy}; open_stream of serve can go through a proxy")
    if by_asyncio:
        return partial(TransportConnection, trust=trust, threads=driver.threads, clock=driver.clock)

    async def open_stream(asked: Connect) -> ByteStream:
        context = await context_of(trust)
        return await open_tcp_stream(asked, ssl_context=context, threads=driver.threads, clock=driver.clock)

    return partial(StreamConnection, open_stream=open_stream)
