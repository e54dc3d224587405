"""Drivers for `check_driver`: our own agent's on each event loop, and one in few lines that tests break on purpose."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from artcafe_anyio import Agent, CommandContext, CommandError
from artcafe_anyio.testing import Application
from artcafe_proto import AgentConfig, AgentProtocol, Instant, LocalProtocolError
from artcafe_proto.agent import ConnectFailure
from artcafe_proto.effects import (
    CancelSign,
    Connect,
    Disconnect,
    Effect,
    PauseReading,
    Persist,
    ResumeReading,
    Sign,
    Write,
)
from artcafe_proto.events import AgentEvent, CommandReceived
from artcafe_proto.messages import FinalCode

Handle = Callable[[Application, AgentEvent], object]
Signer = Callable[[bytes], bytes]

PIECE_BYTES = 64 * 1024
"""Under TLS asyncio counts nothing of one write as unsent, however large, but what follows while it waits."""


class AgentUnderTest:
    """`artcafe_anyio.Agent` as a driver: its application answers through the handler of the command."""

    def __init__(
        self,
        config: AgentConfig,
        sign: Signer,
        handle: Handle,
        ca_file: Path,
        *,
        backend: Literal["asyncio", "trio"] = "asyncio",
        options: dict[str, Any] | None = None,
        anyio_streams: bool = False,
    ) -> None:
        defaults = AgentConfig(agent_id="a", tenant_id="t")
        names = [name for name in config.__struct_fields__ if getattr(config, name) != getattr(defaults, name)]
        given: Any = {name: getattr(config, name) for name in names}
        self._agent = Agent(**given, ca_file=ca_file, anyio_streams=anyio_streams)
        self._agent.command("check")(self._check)
        self._agent.on_event(self._hear)
        self._sign = sign
        self._handle = handle
        self._run: Callable[[], None] = partial(anyio.run, self._serve, backend=backend, backend_options=options or {})
        self._received: dict[str, CommandReceived] = {}
        self._contexts: dict[str, CommandContext] = {}
        self._answers: dict[str, object] = {}
        self._answered: dict[str, anyio.Event] = {}
        self._token: EventLoopToken | None = None

    def run(self) -> None:
        self._run()

    def call_soon(self, callback: Callable[[Application], object]) -> None:
        assert self._token is not None
        from_thread.run_sync(callback, self, token=self._token)

    async def _serve(self) -> None:
        self._token = current_token()
        await self._agent.serve(sign=self._sign)

    def _hear(self, event: AgentEvent) -> None:
        if isinstance(event, CommandReceived):
            self._received[event.command_id] = event
        else:
            self._handle(self, event)

    async def _check(self, ctx: CommandContext, do: str, nbytes: int = 1, what: str = "") -> object:
        command_id = ctx.command_id
        self._contexts[command_id] = ctx
        answered = self._answered[command_id] = anyio.Event()
        self._handle(self, self._received.pop(command_id))
        await answered.wait()
        answer = self._answers.pop(command_id)
        if isinstance(answer, CommandError):
            raise answer
        return answer

    def respond(self, command_id: str, result: object) -> None:
        self._answers[command_id] = result
        self._answered.pop(command_id).set()

    def fail(self, command_id: str, code: FinalCode, reason: str) -> None:
        assert code == "handler_error"
        self.respond(command_id, CommandError(reason))

    def progress(self, command_id: str, percent: float) -> None:
        self._contexts[command_id].progress(percent)

    def stop(self, *, drain: bool = True) -> None:
        self._agent.stop(drain=drain)


class PlainDriver:
    """A driver on asyncio that keeps every rule. Each method is one thing that a driver may get wrong."""

    loop: asyncio.AbstractEventLoop
    over: asyncio.Event

    def __init__(self, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> None:
        self.protocol = AgentProtocol(config, rng=random.SystemRandom())
        self.sign = sign
        self.handle = handle
        self.ca_file = ca_file
        self.ends: dict[int, asyncio.Transport | asyncio.Task[None]] = {}
        self.transports: set[asyncio.Transport] = set()
        """Those that are open, also after `Disconnect`."""
        self.timer: asyncio.TimerHandle | None = None
        self.is_in_turn = False

    # --- what is checked ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        asyncio.run(self.main())

    def call_soon(self, callback: Callable[[Application], object]) -> None:
        self.loop.call_soon_threadsafe(callback, self)

    async def main(self) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        self.turn(self.protocol.start)
        await self.over.wait()
        for transport in self.transports:
            transport.abort()
        await asyncio.sleep(0)

    def end(self) -> None:
        """For a test: end whatever it is doing, from another thread."""
        with suppress(AttributeError, RuntimeError):  # it has not begun, or has ended
            self.loop.call_soon_threadsafe(self.over.set)

    def respond(self, command_id: str, result: object) -> None:
        self.turn(partial(self.protocol.respond, command_id, result))

    def fail(self, command_id: str, code: FinalCode, reason: str) -> None:
        self.turn(partial(self.protocol.fail, command_id, code, reason))

    def progress(self, command_id: str, percent: float) -> None:
        self.turn(partial(self.protocol.progress, command_id, percent))

    def stop(self, *, drain: bool = True) -> None:
        self.turn(partial(self.protocol.stop, drain=drain))

    # --- turns --------------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return Instant(self.loop.time(), time.time())

    def turn(self, action: Callable[[Instant], object]) -> None:
        """One input, all that follows, and the next deadline."""
        action(self.now())
        if self.is_in_turn:
            return
        self.is_in_turn = True
        try:
            self.drain()
        finally:
            self.is_in_turn = False
        self.set_timer()
        if self.protocol.is_stopped and not self.transports:
            self.over.set()

    def drain(self) -> None:
        for output in iter(self.protocol.next_output, None):
            self.carry_out(output)

    def set_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        soon = 0.05 if self.transports else 10.0
        at = min(self.protocol.deadline() or float("inf"), self.loop.time() + soon)
        self.timer = self.loop.call_at(at, self.tick)

    def tick(self) -> None:
        for conn in list(self.ends):
            self.tell_unsent(conn)
        self.turn(self.protocol.handle_timer)

    def tell_unsent(self, conn: int) -> None:
        end = self.ends[conn]
        if isinstance(end, asyncio.Transport):
            self.protocol.unsent(conn, end.get_write_buffer_size(), self.now())

    def carry_out(self, output: Effect | AgentEvent) -> None:
        match output:
            case Connect(conn=conn):
                self.ends[conn] = self.loop.create_task(self.connect(output))
            case Write(conn=conn):
                if conn in self.ends:
                    self.write(conn, output.data)
                    self.tell_unsent(conn)
            case Disconnect(conn=conn):
                self.disconnect(conn, abort=output.abort)
            case Sign():
                self.answer_challenge(output)
            case CommandReceived():
                try:
                    self.handle(self, output)
                except (Exception, SystemExit) as error:
                    self.handler_raised(output, error)
            case PauseReading(conn=conn):
                self.pause(conn)
            case ResumeReading(conn=conn):
                self.resume(conn)
            case CancelSign() | Persist():
                pass  # without a journal nothing is to be stored
            case event:
                self.tell(event)

    # --- connections --------------------------------------------------------------------------------------------------

    def context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file)

    async def connect(self, asked: Connect) -> None:
        try:
            context = self.context() if asked.tls else None
            await self.loop.create_connection(
                partial(PlainConnection, self, asked), asked.host, asked.port, ssl=context
            )
        except Exception as error:
            self.ends.pop(asked.conn, None)
            self.turn(partial(self.protocol.connect_failed, asked.conn, self.cause_of(error), str(error)))

    def cause_of(self, error: Exception) -> ConnectFailure:
        if isinstance(error, ssl.SSLError):
            return "tls"
        return "refused" if isinstance(error, ConnectionRefusedError) else "other"

    def received(self, conn: int, data: bytes) -> None:
        self.turn(partial(self.protocol.data_received, conn, data))

    def lost(self, conn: int, error: Exception | None) -> None:
        self.ends.pop(conn, None)
        self.turn(partial(self.protocol.disconnected, conn, str(error or "the peer closed it")))

    def write(self, conn: int, data: bytes) -> None:
        end = self.ends[conn]
        if isinstance(end, asyncio.Transport):
            for start in range(0, len(data), PIECE_BYTES):
                end.write(data[start : start + PIECE_BYTES])

    def pause(self, conn: int) -> None:
        end = self.ends.get(conn)
        if isinstance(end, asyncio.Transport):
            end.pause_reading()

    def resume(self, conn: int) -> None:
        end = self.ends.get(conn)
        if isinstance(end, asyncio.Transport):
            end.resume_reading()

    def disconnect(self, conn: int, *, abort: bool) -> None:
        end = self.ends.pop(conn, None)
        if isinstance(end, asyncio.Task):
            end.cancel()
        elif end is not None:
            self.close(end, abort=abort)

    def close(self, transport: asyncio.Transport, *, abort: bool) -> None:
        if abort:
            transport.abort()
        else:
            transport.close()
            self.loop.call_later(self.protocol.config.close_timeout, transport.abort)

    # --- signers and handlers -----------------------------------------------------------------------------------------

    def answer_challenge(self, asked: Sign) -> None:
        try:
            signature = self.sign(asked.challenge.encode())
            self.protocol.signed(asked.request, signature, self.now())
        except (Exception, LocalProtocolError) as error:
            self.protocol.sign_failed(asked.request, type(error).__name__, self.now())
            traceback.print_exception(error)

    def handler_raised(self, command: CommandReceived, error: BaseException) -> None:
        self.protocol.fail(command.command_id, "handler_error", type(error).__name__, self.now())
        traceback.print_exception(error)

    def tell(self, event: AgentEvent) -> None:
        try:
            self.handle(self, event)
        except Exception as error:
            traceback.print_exception(error)


class PlainConnection(asyncio.Protocol):
    """One connection of such a driver."""

    def __init__(self, driver: PlainDriver, asked: Connect) -> None:
        self.driver = driver
        self.asked = asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        driver, conn = self.driver, self.asked.conn
        driver.transports.add(transport)
        self.transport = transport
        driver.ends[conn] = transport
        driver.turn(partial(driver.protocol.connected, conn, tls=self.asked.tls))

    def data_received(self, data: bytes) -> None:
        self.driver.received(self.asked.conn, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.driver.transports.discard(self.transport)
        self.driver.lost(self.asked.conn, exc)
