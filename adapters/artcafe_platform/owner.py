"""The one owner of a hub, its protocols and their time: every input is followed to its last effect without an await."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from artcafe_anyio.calling import call_back
from artcafe_anyio.clocks import Clock, guarded
from artcafe_anyio.loops import Flag
from artcafe_platform.connection import AcceptedStream, peer_address
from artcafe_platform.holdings import Holdings
from artcafe_platform.logs import logger, tell
from artcafe_platform.looks import Looks
from artcafe_platform.sockets import AnyConnection, SocketConnection, address_of
from artcafe_platform.turns import OwnTurn, Turn
from artcafe_proto import PlatformHub, PlatformProtocol
from artcafe_proto.effects import Disconnect, PauseReading, Persist, ResumeReading, Write
from artcafe_proto.events import AnyEvent, RequestArrived, RequestFailed, StoreRecovered, StoreStalled
from artcafe_proto.platform import NOT_FOUND
from artcafe_proto.secrecy import forget_locals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from anyio.abc import SocketStream
    from anyio.streams.tls import TLSStream

    from artcafe_proto import Instant
    from artcafe_proto.effects import PlatformEffect, PlatformSessionEffect
    from artcafe_proto.events import HubEvent

C = TypeVar("C", AcceptedStream, SocketConnection)
_complain: Final = partial(tell, logging.ERROR)


class Owner:
    """Owns the hub and every connection's protocol. Tasks call it; its only task is the timer.

    Whatever calls the hub or a protocol does so within a turn, at whose end all outputs are carried out and the timer
    knows of an earlier deadline. An internal error ends the platform, wherever it comes up: `failure`.
    """

    def __init__(self, hub: PlatformHub, callbacks: list[Callable[[HubEvent], None]], clock: Clock) -> None:
        self.hub = hub
        self.failure: Exception | None = None
        self.connections: dict[int, AnyConnection] = {}
        self._earlier = Flag()
        self.clock: Clock = guarded(clock, self.fail)
        self._callbacks = callbacks
        self._numbers = count(1)
        self._touched: dict[int, AnyConnection] = {}
        """The connections to which something has happened in this turn, by number. At its end each is looked at: how
        much has not left, whether too much waits to be read by its peer, and how much it holds in memory."""
        self._holdings = Holdings(self.connections)
        self._looks = Looks(self.connections)
        self._context = copy_context()  # of where the platform is entered
        self._is_ending_turn = False
        self._wakes_at = math.inf
        self.persist: Callable[[Persist], None] | None = None
        """Carries out `Persist`, where there is a store."""

    # --- turns --------------------------------------------------------------------------------------------------------

    def turn(self, connection: AnyConnection | None = None) -> Turn:
        """Call the hub, or the protocol of `connection`, with the instant this gives."""
        return Turn(self, connection)

    def own_turn(self, connection: AnyConnection | None = None) -> OwnTurn:
        """The same for the platform's own parts: nothing is raised, but an error within ends the platform."""
        return OwnTurn(self, connection)

    def received(self, connection: AnyConnection, data: bytes) -> None:
        """A turn of our own in which bytes came in."""
        now = self.clock()
        try:
            connection.protocol.data_received(data, now)
        except Exception as error:
            self.fail(error)
        finally:
            self.end_turn(connection, now)

    def fail(self, error: Exception) -> None:
        """An internal error: the platform ends with it, and carries out nothing more. Of several the first counts."""
        if self.failure is None:
            self.failure = error
            forget_locals(error)
            with suppress(Exception):  # of a log that is broken: this is raised, too
                tell(logging.ERROR, f"the platform is ended by an internal error: {type(error).__name__}", error)
        self.abort_all()
        self._earlier.set()

    def end_turn(self, connection: AnyConnection | None, now: Instant) -> None:
        """The end of a turn: carry out what came of it, and of that, until nothing is left. Nothing is raised."""
        if self.failure is not None:
            return
        if self._is_ending_turn:  # an event's callback has called, and the loop below goes on with what came of it
            if connection is not None:
                self._touched[connection.conn] = connection
            return
        self._is_ending_turn = True
        try:
            try:
                self._carry_out_all(connection, now)
            finally:
                self._is_ending_turn = False
                due = self.hub.deadline()
                if due is not None and due < self._wakes_at:
                    self._earlier.set()
        except Exception as error:
            self.fail(error)

    def _carry_out_all(self, connection: AnyConnection | None, now: Instant) -> None:
        if connection is not None:
            self._touched[connection.conn] = connection
        is_over = False
        while not is_over:
            while (output := self.hub.next_output()) is not None:
                if isinstance(output, RequestArrived):
                    self._answer(output, now)
                elif isinstance(output, AnyEvent):
                    self._publish(output)
                elif isinstance(output, Persist):
                    assert self.persist is not None, "only a hub with a store has something stored"
                    self.persist(output)
                else:
                    self._carry_out(output, now)
            is_over = True
            while self._touched:
                connection = self._touched.popitem()[1]
                if connection.look_at <= now.mono:
                    is_over = False
                    if not self._cut_if_overrun(connection, now):
                        self._tell_level(connection, now)
                for each in self._holdings.look_at(connection):
                    is_over = False
                    self._cut(each, "too much waits for all connections together, and most for it", now)

    def _cut(self, connection: AnyConnection, reason: str, now: Instant) -> None:
        connection.protocol.disconnected(reason, now)
        connection.close(abort=True)
        self._touched[connection.conn] = connection

    def _answer(self, arrived: RequestArrived, now: Instant) -> None:
        if arrived.conn in self.connections:
            self.connections[arrived.conn].protocol.respond(arrived.exchange, NOT_FOUND, now)

    def _carry_out(self, output: PlatformEffect | PlatformSessionEffect, now: Instant) -> None:
        connection = self.connections.get(output.conn)
        if connection is None:
            return
        self._touched[output.conn] = connection
        match output:
            case Write():
                connection.write(output.data)
                self._looks.wrote(output.conn)
                self._cut_if_overrun(connection, now)
            case Disconnect():
                connection.close(abort=output.abort)
            case PauseReading():
                connection.pause_reading()
            case ResumeReading():
                connection.resume_reading()
            case _:
                raise AssertionError("only a `PlatformSession` leaves framing to its driver")

    def _cut_if_overrun(self, connection: AnyConnection, now: Instant) -> bool:
        is_overrun = connection.is_overrun()
        if is_overrun:
            self._cut(connection, "too much waits to be read by it", now)
        return is_overrun

    def _tell_level(self, connection: AnyConnection, now: Instant) -> None:
        connection.protocol.unsent(connection.level(now.mono), now)
        self._looks.plan(connection)
        if connection.look_at < self._wakes_at:
            self._earlier.set()

    def _publish(self, event: HubEvent) -> None:
        if type(event) is RequestFailed:  # its target may name what is secret
            logger.error("a %s request failed", event.method, exc_info=event.error)
        elif type(event) is StoreStalled:
            logger.error("the store is %s: new work is refused until it stores again [PLAT-5]", event.cause)
        elif type(event) is StoreRecovered:
            logger.warning("the store works again, after %.1f s [PLAT-5]", event.after_s)
        call_back(self._callbacks, event, self._context, _complain)

    # --- connections --------------------------------------------------------------------------------------------------

    def add(self, stream: SocketStream | TLSStream) -> AcceptedStream:
        """A connection was accepted; the caller then runs it, and calls `remove` when it is over."""
        timeout_s = self.hub.config.close_timeout
        return self._admit(
            peer_address(stream),
            lambda protocol: AcceptedStream(stream, protocol, self.own_turn, close_timeout_s=timeout_s),
        )

    def add_socket(self, sock: socket.socket, on_over: Callable[[SocketConnection], None]) -> SocketConnection:
        """The same on a socket that asyncio watches, which runs by itself; `on_over` then calls `remove`."""
        return self._admit(address_of(sock), lambda protocol: SocketConnection(sock, protocol, self, on_over))

    def _admit(self, address: str, make: Callable[[PlatformProtocol], C]) -> C:
        try:
            with self.turn() as now:
                protocol = PlatformProtocol(self.hub, conn=next(self._numbers), now=now, address=address)
                connection = make(protocol)
                self.connections[connection.conn] = self._touched[connection.conn] = connection
        except Exception as error:
            self.fail(error)
            raise
        return connection

    def turn_away(self, connection: AnyConnection) -> None:
        """Tell a connection that was just added that there are too many (PLAT-8), and end it."""
        with self.own_turn(connection) as now:
            connection.protocol.turn_away(now)

    def remove(self, connection: AnyConnection) -> None:
        """A connection has been run to its end."""
        del self.connections[connection.conn]
        self._holdings.forget(connection.conn)

    def drop_all(self, reason: str) -> None:
        """End every connection from this side, with 1001 where a link is up; polls are answered and streams ended. They
        are over when `connections` is empty.
        """
        for connection in list(self.connections.values()):
            if connection.protocol.agent_id is None:
                connection.hasten()
            with self.own_turn(connection) as now:
                connection.protocol.drop(reason, now)
        if self.failure is not None:
            self.abort_all()  # those too that were accepted since

    def abort_all(self) -> None:
        """Close every connection without a word: nobody knows what to say, or it may not be said."""
        for connection in list(self.connections.values()):
            connection.close(abort=True)

    def abort_agent(self, agent_id: str) -> bool:
        """Cut the connection of an agent's link, as a network would. False if it has none."""
        conn = self.hub.conn_of(agent_id)
        connection = None if conn is None else self.connections.get(conn)
        if connection is not None:
            with self.turn() as now:
                self._cut(connection, "aborted by the platform's operator", now)
        return connection is not None

    # --- time ---------------------------------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """The one timer of hub and connections. Runs until cancelled, or raises what ends the platform."""
        while self.failure is None:
            hub, looks = self.hub.deadline(), self._looks.next()
            self._wakes_at = looks if hub is None or looks < hub else hub
            self._earlier.clear()
            with anyio.move_on_after(max(self._wakes_at - self.clock().mono, 0)):
                await self._earlier.wait()
            self._handle_timers()
        raise self.failure

    def _handle_timers(self) -> None:
        with self.own_turn() as now:
            for connection in self._looks.take_due(now.mono):
                self._tell_level(connection, now)
            self.hub.handle_timer(now)
