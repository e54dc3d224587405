"""Accepting connections and running them, and the way this ends."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from enum import Enum
from functools import partial
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from artcafe_anyio.errors import wrapped_in
from artcafe_anyio.loops import runs_on_asyncio
from artcafe_platform.logs import logger
from artcafe_platform.tls import OLD_VERSIONS

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from anyio.abc import Listener, SocketStream, TaskGroup, TaskStatus

    from artcafe_anyio.clocks import Clock
    from artcafe_platform.keeper import Keeper
    from artcafe_platform.owner import Owner
    from artcafe_platform.sockets import AnyConnection, SocketConnection


MAX_CONNECTIONS: Final = 20_000
"""PLAT-8: connections served at once, if the process may have so many file descriptors."""
MAX_TURNED_AWAY: Final = 50
"""PLAT-8: further ones at once that are answered 503, for as long as a goodbye takes. Others are closed unanswered."""
SPARE_DESCRIPTORS: Final = 50
"""What the process has for all but connections: listeners, files, name look-ups."""
COMPLAINT_INTERVAL_S: Final = 60.0
"""Between two lines of the log about connections that were not served: there may be thousands."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
"""LINK-8: for TLS, as for a connect."""
ACCEPT_RETRY_S: Final = 0.1
"""After a failed accept, which commonly means that file descriptors have run out."""
ACCEPTS_AT_ONCE: Final = 100
"""However many connections wait to be accepted, those that are open have their turn."""


class Place(Enum):
    """What an accepted connection gets (PLAT-8)."""

    SERVED = "served"
    TURNED_AWAY = "turned away"
    NONE = "none"


class Listening:
    """Listeners that are bound, and every connection that comes of them. To be made within an event loop."""

    def __init__(
        self,
        owner: Owner,
        listeners: Sequence[Listener[SocketStream]],
        ssl_context: ssl.SSLContext | None,
        *,
        anyio_streams: bool = False,
        keeper: Keeper | None = None,
    ) -> None:
        """On asyncio connections are those of `sockets`; with `anyio_streams` they are as on any other loop."""
        self._owner = owner
        self._listeners = listeners
        self._ssl_context = ssl_context
        self._keeper = keeper
        can_watch = sys.platform != "win32"  # asyncio's loop there watches no sockets
        self._by_sockets = can_watch and not anyio_streams and ssl_context is None and runs_on_asyncio()
        self._watched: list[socket.socket] = []
        self._places = Places(max_connections(), owner.clock)
        # One object each, not one a connection:
        self._on_over = {place: partial(self._is_over, place) for place in (Place.SERVED, Place.TURNED_AWAY)}
        self._scope = anyio.CancelScope(shield=True)
        self._is_empty = anyio.Event()
        self._is_stopping = False
        self._complains_at = -math.inf

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Run everything until `stop`. Shielded, so that also what is cancelled from outside says goodbye."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._owner.keep_time)
                if self._keeper is not None:
                    tasks.start_soon(self._keeper.run)
                for listener in self._listeners:
                    if self._by_sockets:
                        self._watch(listener.extra(SocketAttribute.raw_socket))  # noqa: S610 this is not Django's
                    else:
                        tasks.start_soon(self._accept, listener, tasks)
                task_status.started()

    async def stop(self) -> None:
        """Accept no more, drop every connection and wait until they have closed, which takes a few seconds at most.

        So long the store has for what they wait for; after 5 s they are aborted (PLAT-5).
        """
        self._is_stopping = True
        for listener in self._watched:
            asyncio.get_running_loop().remove_reader(listener)
        for listener in self._listeners:
            await listener.aclose()
        self._owner.drop_all("the platform is shutting down")
        if self._keeper is not None and not await self._keeper.finish():
            self._owner.abort_all()
        self._is_empty = anyio.Event()
        if self._owner.connections:
            await self._is_empty.wait()  # LINK-8: each closes within `close_timeout`
        self._scope.cancel()

    def _complain(self, error: BaseException) -> None:
        """Nothing can be accepted, for want of descriptors perhaps. It is tried on and on, and told now and then."""
        mono = self._owner.clock().mono
        if mono >= self._complains_at:
            logger.warning("cannot accept connections, still trying: %s", error)
            self._complains_at = mono + COMPLAINT_INTERVAL_S

    # --- by sockets that asyncio watches ------------------------------------------------------------------------------

    def _watch(self, listener: socket.socket) -> None:
        if not self._is_stopping:
            self._watched.append(listener)
            asyncio.get_running_loop().add_reader(listener, self._accept_waiting, listener)

    def _accept_waiting(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._complain(error)
                self._watched.remove(listener)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(ACCEPT_RETRY_S, self._watch, listener)
                return
            try:
                self._begin(sock)
            except Exception as error:
                self._owner.fail(error)
                sock.close()

    def _begin(self, sock: socket.socket) -> None:
        place = self._places.take()
        try:
            sock.setblocking(False)
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except OSError:  # it has ended already, which some systems say here
            self._places.give_back(place)
            place = Place.NONE
        if place is Place.NONE:
            sock.close()
            return
        connection = self._owner.add_socket(sock, self._on_over[place])
        connection.start()
        if place is Place.TURNED_AWAY:
            self._owner.turn_away(connection)

    def _is_over(self, place: Place, connection: SocketConnection) -> None:
        self._places.give_back(place)
        self._remove(connection)

    # --- by streams of anyio ------------------------------------------------------------------------------------------

    async def _accept(self, listener: Listener[SocketStream], tasks: TaskGroup) -> None:
        while True:
            try:
                await listener.serve(self._attend, tasks)
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError) as error:
                self._complain(wrapped_in(error))
                await anyio.sleep(ACCEPT_RETRY_S)

    async def _attend(self, stream: SocketStream) -> None:
        """One accepted connection, from its first byte to its last. What a stream raises ends it and nothing else."""
        place = self._places.take()
        try:
            if place is not Place.NONE:
                await self._run(stream, place)
        except Exception:
            logger.exception("a connection failed and was closed")
        finally:
            self._places.give_back(place)
            await anyio.aclose_forcefully(stream)

    async def _run(self, stream: SocketStream, place: Place) -> None:
        secured = stream if self._ssl_context is None else await _shake_hands(stream, self._ssl_context)
        if secured is None or self._is_stopping:  # what is added after `stop` dropped all is never dropped
            return
        connection = self._owner.add(secured)
        if place is Place.TURNED_AWAY:
            self._owner.turn_away(connection)
        try:
            await connection.run()
        finally:
            self._remove(connection)

    def _remove(self, connection: AnyConnection) -> None:
        self._owner.remove(connection)
        if not self._owner.connections:
            self._is_empty.set()


class Places:
    """Who is served and who is not, and the line in the log that says so."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._taken = Counter[Place]()
        self._not_served = 0
        self._complains_at = -math.inf

    def take(self) -> Place:
        """The place of a connection that was accepted."""
        place = Place.SERVED
        if self._taken[Place.SERVED] >= self._most:
            place = Place.TURNED_AWAY if self._taken[Place.TURNED_AWAY] < MAX_TURNED_AWAY else Place.NONE
            self._complain()
        self._taken[place] += 1  # of NONE it is never looked at
        return place

    def give_back(self, place: Place) -> None:
        """That connection is over."""
        self._taken[place] -= 1

    def _complain(self) -> None:
        self._not_served += 1
        mono = self._clock().mono
        if mono >= self._complains_at:
            logger.warning(
                "as many connections are open as may be, %d: since the last such line %d were answered 503 or closed",
                self._most,
                self._not_served,
            )
            self._not_served = 0
            self._complains_at = mono + COMPLAINT_INTERVAL_S


def max_connections() -> int:
    """How many may be served: with every descriptor in use none could be told so, and nothing else could be opened."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(min(MAX_CONNECTIONS, soft - MAX_TURNED_AWAY - SPARE_DESCRIPTORS), 1)


async def _shake_hands(stream: SocketStream, ssl_context: ssl.SSLContext) -> TLSStream | None:
    """TLS over `stream`, 1.2 or later; None if the peer does not manage it."""
    try:
        with anyio.fail_after(HANDSHAKE_TIMEOUT_S):
            secured = await TLSStream.wrap(stream, server_side=True, ssl_context=ssl_context)
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:  # TimeoutError is an OSError
        logger.debug("no TLS handshake: %s", error)
        return None
    version = secured.extra(TLSAttribute.tls_version)  # noqa: S610 this is not Django's
    if version in OLD_VERSIONS:  # which a context of somebody else's may take
        logger.debug("TLS is too old: %s", version)
        return None
    return secured
