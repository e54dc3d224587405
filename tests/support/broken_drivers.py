"""Drivers that break one rule of `check_driver` each."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from artcafe_proto import AgentConfig, Instant
from artcafe_proto.agent import ConnectFailure
from artcafe_proto.effects import Connect, Sign
from artcafe_proto.events import AgentEvent, CommandReceived
from support.drivers import Handle, PlainDriver, Signer


class Away(PlainDriver):
    async def main(self) -> None:
        """Does nothing."""


class WithoutTls(PlainDriver):
    def context(self) -> ssl.SSLContext | None:
        return None


class Trusting(PlainDriver):
    def context(self) -> ssl.SSLContext | None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


class TakingAnyName(PlainDriver):
    def context(self) -> ssl.SSLContext | None:
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = False
        return context


class AnsweringWithTheNextTurn(PlainDriver):
    def respond(self, command_id: str, result: object) -> None:
        self.protocol.respond(command_id, result, self.now())

    def set_timer(self) -> None:
        if self.timer is None:
            super().set_timer()


class StoppingWithTheNextTurn(PlainDriver):
    def stop(self, *, drain: bool = True) -> None:
        self.protocol.stop(self.now(), drain=drain)

    def set_timer(self) -> None:
        if self.timer is None:
            super().set_timer()


class AnsweringLater(PlainDriver):
    def respond(self, command_id: str, result: object) -> None:
        self.loop.call_later(0.3, super().respond, command_id, result)


class StoppingLater(PlainDriver):
    def stop(self, *, drain: bool = True) -> None:
        self.loop.call_later(0.3, partial(super().stop, drain=drain))


class Impatient(PlainDriver):
    """Ends where a signature has taken long."""

    def answer_challenge(self, asked: Sign) -> None:
        began_at = self.loop.time()
        super().answer_challenge(asked)
        if self.loop.time() - began_at > 0.4:
            self.over.set()


class DeafToSigners(PlainDriver):
    def answer_challenge(self, asked: Sign) -> None:
        try:
            self.protocol.signed(asked.request, self.sign(asked.challenge.encode()), self.now())
        except Exception:
            return


class SilentAboutSigners(PlainDriver):
    def answer_challenge(self, asked: Sign) -> None:
        try:
            self.protocol.signed(asked.request, self.sign(asked.challenge.encode()), self.now())
        except Exception as error:
            self.protocol.sign_failed(asked.request, type(error).__name__, self.now())


class FallingWithSigners(PlainDriver):
    """A signer that fails ends `run`."""

    def answer_challenge(self, asked: Sign) -> None:
        try:
            self.protocol.signed(asked.request, self.sign(asked.challenge.encode()), self.now())
        except Exception:
            self.over.set()


class TakingErrorsForItsOwn(PlainDriver):
    """An OSError of a handler is one of the connection to it, and is swallowed."""

    def handler_raised(self, command: CommandReceived, error: BaseException) -> None:
        if not isinstance(error, OSError):
            super().handler_raised(command, error)


class Silent(PlainDriver):
    def handler_raised(self, command: CommandReceived, error: BaseException) -> None:
        self.protocol.fail(command.command_id, "handler_error", type(error).__name__, self.now())


class SilentAboutEvents(PlainDriver):
    def tell(self, event: AgentEvent) -> None:
        with suppress(Exception):
            self.handle(self, event)


class FallingWithHandlers(PlainDriver):
    def handler_raised(self, command: CommandReceived, error: BaseException) -> None:
        super().handler_raised(command, error)
        if isinstance(error, SystemExit):
            self.over.set()


class CuttingAfterErrors(PlainDriver):
    def handler_raised(self, command: CommandReceived, error: BaseException) -> None:
        super().handler_raised(command, error)
        for conn, end in list(self.ends.items()):
            if isinstance(end, asyncio.Transport):
                end.abort()
                self.lost(conn, None)


class WithoutCauses(PlainDriver):
    def cause_of(self, error: Exception) -> ConnectFailure:
        return "other"


class WithoutRetries(PlainDriver):
    async def connect(self, asked: Connect) -> None:
        try:
            await asyncio.shield(self.loop.create_connection(asyncio.Protocol, asked.host, asked.port))
        except OSError:
            return


class Clinging(PlainDriver):
    """An attempt to connect ends by itself alone, and `run` after it."""

    async def main(self) -> None:
        await super().main()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    def disconnect(self, conn: int, *, abort: bool) -> None:
        end = self.ends.get(conn)
        if isinstance(end, asyncio.Task):
            del self.ends[conn]
            self.loop.call_later(3.0, end.cancel)
        else:
            super().disconnect(conn, abort=abort)


class ConnectingOn(PlainDriver):
    """An attempt to connect goes on after it was given up."""

    async def connect(self, asked: Connect) -> None:
        attempt = super().connect(asked)
        await (attempt if asked.tls else asyncio.shield(attempt))


class Leaking(PlainDriver):
    left: ClassVar[list[socket.socket]] = []

    def run(self) -> None:
        self.left.append(socket.socket())
        super().run()


class LeakingThreads(PlainDriver):
    ends_at: ClassVar[threading.Event] = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self.ends_at.wait, daemon=True).start()
        super().run()


class DeafToEnds(PlainDriver):
    def lost(self, conn: int, error: Exception | None) -> None:
        if error is not None:
            super().lost(conn, error)


class DeafToResets(PlainDriver):
    def lost(self, conn: int, error: Exception | None) -> None:
        if error is None:
            super().lost(conn, error)


class WithoutTime(PlainDriver):
    def tick(self) -> None:
        self.turn(lambda now: None)


class OfOneConnection(PlainDriver):
    async def connect(self, asked: Connect) -> None:
        if len(self.ends) > 1:
            return
        await super().connect(asked)


class OfOneClock(PlainDriver):
    def now(self) -> Instant:
        return Instant(self.loop.time(), self.loop.time())


class OfWallClock(PlainDriver):
    """What it takes for monotonic jumps when the time of day is set."""

    def now(self) -> Instant:
        return Instant(time.time(), time.time())


class PilingUpTimers(PlainDriver):
    def set_timer(self) -> None:
        self.timer = None
        super().set_timer()


class LeavingTimers(PlainDriver):
    """A timer that another has replaced stays; only an earlier one is set."""

    sets_at = math.inf

    def set_timer(self) -> None:
        at = min(self.protocol.deadline() or math.inf, self.loop.time() + 10.0)
        if at < self.sets_at:
            self.sets_at = at
            self.loop.call_at(at, self.tick)

    def tick(self) -> None:
        self.sets_at = math.inf
        super().tick()


class DroppingBytes(PlainDriver):
    def received(self, conn: int, data: bytes) -> None:
        if len(data) > 1:
            super().received(conn, data)


class OfSmallBuffer(PlainDriver):
    def received(self, conn: int, data: bytes) -> None:
        super().received(conn, data[:4096])


class WithoutLevels(PlainDriver):
    def tell_unsent(self, conn: int) -> None:
        """Says nothing."""


class TellingTheMost(PlainDriver):
    """A level that never sinks: that all has left is lost."""

    def __init__(self, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> None:
        super().__init__(config, sign, handle, ca_file)
        self.most = 0

    def tell_unsent(self, conn: int) -> None:
        end = self.ends[conn]
        if isinstance(end, asyncio.Transport):
            self.most = max(self.most, end.get_write_buffer_size())
            self.protocol.unsent(conn, self.most, self.now())


class Blocking(PlainDriver):
    """Waits until the system has taken what it writes."""

    def write(self, conn: int, data: bytes) -> None:
        end = self.ends[conn]
        assert isinstance(end, asyncio.Transport)
        with socket.socket(fileno=os.dup(end.get_extra_info("socket").fileno())) as sock:
            sock.settimeout(5.0)
            with suppress(OSError):
                sock.sendall(data)


class NeverAborting(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        transport.close()


class AlwaysAborting(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        transport.abort()


class LeavingOpen(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if abort:
            transport.abort()


class Talkative(PlainDriver):
    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        transport.write(b"goodbye")
        super().close(transport, abort=abort)


class Busy(PlainDriver):
    def set_timer(self) -> None:
        self.timer = self.loop.call_at(self.loop.time(), self.tick)


class InThreads(PlainDriver):
    def tell(self, event: AgentEvent) -> None:
        thread = threading.Thread(target=super().tell, args=(event,))
        thread.start()
        thread.join()


BROKEN: list[tuple[type[PlainDriver], str, str]] = [
    (Away, "an agent comes online", "`run` has returned"),
    (WithoutTls, "TLS is used where it is asked for", "in clear text"),
    (Trusting, "certificates are verified", "of an unknown authority"),
    (TakingAnyName, "certificates are verified", "for another name"),
    (AnsweringWithTheNextTurn, "late answers leave at once", "`respond`"),
    (StoppingWithTheNextTurn, "stop is obeyed at once", "after stop()"),
    (AnsweringLater, "late answers leave at once", "within 0.1 s; 4 of 4 times"),
    (StoppingLater, "stop is obeyed at once", "stop(drain=False) to be seen within 0.1 s"),
    (Impatient, "a signer may be slow", "online"),
    (DeafToSigners, "a signer that fails is told", "raises ValueError"),
    (SilentAboutSigners, "a signer that fails is told", "swallowed"),
    (FallingWithSigners, "a signer that fails is told", "returns None"),
    (TakingErrorsForItsOwn, "a handler may raise anything", "raised OSError"),
    (Silent, "a handler may raise anything", "swallowed"),
    (SilentAboutEvents, "a handler may raise anything", "of Online"),
    (FallingWithHandlers, "a handler may raise anything", "[CMD-7]"),
    (CuttingAfterErrors, "a handler may raise anything", "[CMD-7]"),
    (WithoutCauses, "a refused connection is told", "as `refused`"),
    (WithoutRetries, "a refused connection is told", "no event"),
    (Clinging, "connecting can be given up, and nothing is left", "while TCP connects"),
    (ConnectingOn, "connecting can be given up, and nothing is left", "are open and carry nothing"),
    (Leaking, "connecting can be given up, and nothing is left", "descriptors"),
    (LeakingThreads, "connecting can be given up, and nothing is left", "threads"),
    (DeafToEnds, "ends of connections are noticed", "a FIN on a link"),
    (DeafToResets, "ends of connections are noticed", "a reset of a link"),
    (WithoutTime, "timers are kept", "heartbeats"),
    (OfOneConnection, "timers are kept", "second connection"),
    (PilingUpTimers, "timers replace one another", "replaced"),
    (LeavingTimers, "timers replace one another", "replaced"),
    (OfOneClock, "clocks are not mixed up", "timestamps"),
    (OfWallClock, "clocks are not mixed up", "monotonic"),
    (DroppingBytes, "bytes may come one by one", "online"),
    (OfSmallBuffer, "many commands may come at once", "10000 commands"),
    (WithoutLevels, "what has not left is told", "heartbeats"),
    (TellingTheMost, "what has not left is told", "on one link"),
    (Blocking, "an abort waits for nothing", "although not all has left"),
    (WithoutLevels, "writing that stalls is given up", "write_stall_timeout"),
    (NeverAborting, "writing that stalls is given up", "to be dropped"),
    (NeverAborting, "an abort waits for nothing", "although not all has left"),
    (AlwaysAborting, "what was written before a close arrives", "to arrive"),
    (LeavingOpen, "a connection ends with Disconnect", "it was open"),
    (Talkative, "a connection ends with Disconnect", "7 bytes"),
    (Busy, "idling costs nothing", "processor time"),
    (InThreads, "events come in one thread", "threads"),
]
"""Each with the rule that finds it, and a part of what that says."""
