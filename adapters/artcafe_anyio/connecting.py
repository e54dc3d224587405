"""From a host and a port to a stream: the name, the race of its addresses, TLS; and what it means when that fails.

The name is resolved in a thread of ours: asyncio's would hold up the end of the program for as long as a resolver
hangs. So the addresses are raced here too (RFC 8305).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from artcafe_anyio.calling import CallFailed, awaited, call_here
from artcafe_anyio.errors import wrapped_in
from artcafe_anyio.tls_failures import explain, shortcoming
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.credentials import Trust
    from artcafe_anyio.logs import AgentLog
    from artcafe_anyio.threads import Threads
    from artcafe_proto.agent import ConnectFailure
    from artcafe_proto.effects import Connect

Stream = SocketStream | TLSStream
Raw = TypeVar("Raw")
"""A connection before TLS."""
Ready = TypeVar("Ready", covariant=True)
"""One with TLS."""

_ATTEMPT_DELAY_S: Final = 0.25
"""The next address is tried beside the last after this time (RFC 8305 section 5)."""


_SHARE: Final = 0.95
"""Of the time there is, so that the step that took it is told before the core's own watch ends the attempt (LINK-8)."""


class ConnectError(Exception):
    """A connection could not be opened."""

    def __init__(self, cause: ConnectFailure, detail: str) -> None:
        super().__init__(detail)
        self.cause: ConnectFailure = cause
        self.detail = detail


async def open_by(open_stream: Callable[[Connect], Awaitable[ByteStream]], log: AgentLog, asked: Connect) -> ByteStream:
    """The connection that `asked` asks for, by a function of the author's. Raises ConnectError."""
    try:
        stream = await awaited(call_here(partial(open_stream, asked)))
    except CallFailed as failed:
        said = map(vars(failed.error).get, ("cause", "detail"))
        if isinstance(failed.error, ConnectError) and all(type(each) is str for each in said):
            raise failed.error from None
        log.line(logging.ERROR, "open_stream failed", failed.error)
        raise ConnectError("other", f"open_stream raised {type(failed.error).__name__}") from None
    if not isinstance(stream, ByteStream):
        raise ConnectError("other", f"open_stream returns an anyio ByteStream, and returned {type(stream).__name__}")
    return stream if isinstance(stream, OwnStream | TLSStream) else _AuthorsStream(stream, log)


class OwnStream(ByteStream):
    """A stream that is part of this package: what it raises beyond anyio's errors is an internal error."""


class _AuthorsStream(ByteStream):
    """A stream of the author's: whatever it raises or gives ends its connection, and nothing else (LINK-6)."""

    def __init__(self, stream: ByteStream, log: AgentLog) -> None:
        self._stream = stream
        self._log = log

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data = await self._call(partial(self._stream.receive, max_bytes))
        if not isinstance(data, bytes | bytearray | memoryview):
            raise anyio.BrokenResourceError(f"its receive gives bytes, and gave {type(data).__name__}")
        if not data:  # as a socket says it
            raise anyio.EndOfStream
        return bytes(cast("bytes", data))

    async def send(self, item: bytes) -> None:
        await self._call(partial(self._stream.send, item))

    async def send_eof(self) -> None:
        await self._call(self._stream.send_eof)

    async def aclose(self) -> None:
        await self._call(self._stream.aclose)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        try:
            attributes = call_here(partial(getattr, self._stream, "extra_attributes"))
        except CallFailed:
            return {}
        return cast("Mapping[Any, Callable[[], Any]]", attributes) if isinstance(attributes, Mapping) else {}

    async def _call(self, call: Callable[[], object]) -> object:
        try:
            return await awaited(call_here(call))
        except CallFailed as failed:
            if isinstance(failed.error, _OF_STREAMS):
                raise failed.error from failed.error.__cause__
            self._log.line(logging.ERROR, "the stream of open_stream failed", failed.error)
            raise anyio.BrokenResourceError(f"the stream raised {type(failed.error).__name__}") from None


_OF_STREAMS: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


async def context_of(trust: Trust | None) -> ssl.SSLContext | None:
    """What TLS verifies the platform by. Raises ConnectError."""
    try:
        return None if trust is None else await trust()
    except Exception as error:  # there may be no thread to look at the files in, no memory
        why = f"{type(error).__name__}: {text_of(error)}"
        raise ConnectError("other", f"looking at whom to trust failed: {why}") from None


class Opener(Protocol[Raw, Ready]):
    """How one kind of connection is opened."""

    async def connect(self, address: str, port: int) -> Raw:
        """A TCP connection. Raises OSError."""
        ...

    async def start_tls(self, connection: Raw, host: str) -> Ready:
        """The same with TLS, verified. Raises OSError, which ssl.SSLError is, or anyio's errors for a lost stream."""
        ...

    def ssl_object(self, secured: Any) -> ssl.SSLObject:
        """What TLS has come to."""
        ...

    async def abandon(self, connection: Raw) -> None:
        """Close it at once."""
        ...


class StreamOpener:
    """Opens streams of anyio, on any event loop."""

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context

    async def connect(self, address: str, port: int) -> SocketStream:
        """A TCP connection. Raises OSError."""
        return await anyio.connect_tcp(address, port)

    async def start_tls(self, connection: SocketStream, host: str) -> TLSStream:
        """The same with TLS, verified."""
        return await TLSStream.wrap(connection, server_side=False, hostname=host, ssl_context=self._ssl_context)

    def ssl_object(self, secured: TLSStream) -> ssl.SSLObject:
        """What TLS has come to."""
        return secured.extra(TLSAttribute.ssl_object)  # noqa: S610 this is not Django's

    async def abandon(self, connection: SocketStream) -> None:
        """Close it at once."""
        await anyio.aclose_forcefully(connection)


async def open_tcp_stream(
    asked: Connect, *, ssl_context: ssl.SSLContext | None, threads: Threads, clock: Clock
) -> Stream:
    """The connection that `asked` asks for, as a stream, TLS verified, in time. Raises ConnectError."""
    return await open_tcp(asked, StreamOpener(ssl_context), threads, clock)


async def open_tcp(asked: Connect, opener: Opener[Raw, Ready], threads: Threads, clock: Clock) -> Raw | Ready:
    """The connection that `asked` asks for, TLS verified, in time. Raises ConnectError."""
    time_s = max(asked.deadline - clock().mono, 0.0) * _SHARE
    step = f"resolving the name {asked.host}"
    try:
        with anyio.move_on_after(time_s):
            addresses = await _resolve(asked.host, asked.port, threads)
            step = f"connecting to {asked.host} port {asked.port}"
            connection = await _race(addresses, asked.port, opener)
            if not asked.tls:
                return connection
            step = f"the TLS handshake with {asked.host} port {asked.port}"
            return await _start_tls(connection, asked.host, opener)
    except ConnectError:
        raise
    except Exception as error:  # no thread is left to resolve a name in, no memory
        raise ConnectError("other", f"{step} failed: {type(error).__name__}: {text_of(error)}") from None
    raise ConnectError("timeout", f"{step} was not done within {time_s:.1f} s")


async def _start_tls(connection: Raw, host: str, opener: Opener[Raw, Ready]) -> Ready:
    try:
        secured = await opener.start_tls(connection, host)
        problem = shortcoming(opener.ssl_object(secured), host)
        if problem is not None:
            raise ConnectError("tls", problem)
        return secured
    except ssl.SSLError as error:
        await opener.abandon(connection)
        raise ConnectError("tls", explain(error, host)) from None
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        await opener.abandon(connection)
        raise ConnectError("tls", f"the connection ended during the TLS handshake{_because(error)}") from None
    except BaseException:
        await opener.abandon(connection)
        raise


def _because(error: Exception) -> str:
    cause = wrapped_in(error)
    told = isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and system_text(cause)
    return f": {told}" if told else ""


# --- names and addresses ----------------------------------------------------------------------------------------------


async def _resolve(host: str, port: int, threads: Threads) -> list[str]:
    """The addresses of `host`, the families taking turns (RFC 8305 section 4)."""
    with suppress(ValueError):
        return [ip_address(host).compressed]
    try:
        found = await threads.run(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is no host name's
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConnectError("dns", f"the name {host} cannot be resolved: {reason}") from None
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(str(address[0]))
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    return [address for address in turns if address is not None]


async def _race(addresses: list[str], port: int, opener: Opener[Raw, Ready]) -> Raw:
    """The first of these to answer."""
    won: list[Raw] = []
    failures: dict[str, Exception] = {}

    async def attempt(address: str, over: anyio.Event) -> None:
        try:
            connection = await opener.connect(address, port)
        except Exception as error:
            failures[address] = _innermost(error)
        else:
            won.append(connection)
            attempts.cancel_scope.cancel()
        finally:
            over.set()

    try:
        async with anyio.create_task_group() as attempts:
            for address in addresses:
                over = anyio.Event()
                attempts.start_soon(attempt, address, over)
                with anyio.move_on_after(_ATTEMPT_DELAY_S):
                    await over.wait()
        for connection in won[1:]:
            await opener.abandon(connection)
    except BaseException:
        for connection in won:
            await opener.abandon(connection)
        raise
    if not won:
        raise _failure(failures, port)
    return won[0]


def _innermost(error: Exception) -> Exception:
    """What the system said: `anyio.connect_tcp` wraps it."""
    return error.__cause__ if isinstance(error.__cause__, OSError) else error


def _failure(failures: dict[str, Exception], port: int) -> ConnectError:
    said = [f"{address} port {port}: {system_text(error)}" for address, error in failures.items()]
    detail = "; ".join(said)
    if any(isinstance(error, ConnectionRefusedError) for error in failures.values()):
        return ConnectError("refused", f"{detail}: is the platform running there?")
    if any(isinstance(error, TimeoutError) for error in failures.values()):
        return ConnectError("timeout", detail)
    return ConnectError("other", detail)


def system_text(error: BaseException) -> str:
    """For people: what the system said."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else text_of(error)
