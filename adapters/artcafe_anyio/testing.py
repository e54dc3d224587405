"""For the tests of an agent's handlers: a platform in memory. No sockets, no key files, nothing to wait for.

    async with SimulatedPlatform(agent) as platform:
        answer = await platform.command("resize", {"path": "a.png", "width": 3})
        assert answer.result == {"width": 3}

The agent is the real one, with its whole protocol, and so is the platform's core; only what lies between them is not.
"""

from __future__ import annotations

import math
import random
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import ByteStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_anyio.background import Background
from artcafe_anyio.clocks import Clock, first_reading
from artcafe_anyio.connecting import OwnStream
from artcafe_anyio.driver_checks.checking import DRIVER_RULES, BrokenRule, DriverError, check_driver
from artcafe_anyio.driver_checks.stage import Application, DriverFactory, DriverUnderTest
from artcafe_anyio.loops import Flag
from artcafe_anyio.virtual_time import LoopClock, VirtualTimeLoop
from artcafe_proto import LocalProtocolError, PlatformConfig, PlatformHub, PlatformProtocol, SigningKey
from artcafe_proto.effects import Disconnect, PauseReading, ResumeReading, Write
from artcafe_proto.events import AnyEvent, CommandAnswered, MessageReceived, RequestArrived, StatusReceived
from artcafe_proto.platform import NOT_FOUND
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import TaskStatus

    from artcafe_anyio.agent import Agent
    from artcafe_proto.effects import Connect
    from artcafe_proto.events import HubEvent
    from artcafe_proto.platform import PlatformOutput

__all__ = [
    "Answer", "LoopClock", "SimulatedPlatform", "VirtualTimeLoop",
    "Application", "BrokenRule", "DRIVER_RULES", "DriverError", "DriverFactory", "DriverUnderTest", "check_driver",
]  # fmt: skip


class Answer(msgspec.Struct, frozen=True):
    """What became of a command: a result, or a code of CMD-9 and a reason."""

    status: Literal["success", "error"]
    result: Any = None
    code: str = ""
    reason: str = ""


class SimulatedPlatform(Secretive):
    """Runs an agent against a platform in memory while its `async with` block runs; the end of the block drains it.

    The agent's `agent_id` and `tenant_id` must be set, its endpoint and its key are not used. Time is real, and what a
    handler sleeps is slept, unless the event loop's time is virtual and `clock` is a `LoopClock`.
    """

    def __init__(self, agent: Agent, *, clock: Clock | None = None) -> None:
        """`clock` is read by the platform and by the agent; by default it is the agent's own."""
        self.messages: list[dict[str, Any]] = []
        """The data of every message that the agent sent (`Agent.send_message`)."""
        self.statuses: list[StatusReceived] = []
        """The statuses and the progress that it told."""
        self._agent = agent
        self._config = agent.config
        self._clock = agent.clock if clock is None else clock
        first_reading(self._clock)
        self._hub = PlatformHub(
            PlatformConfig(), rng=random.SystemRandom(), signing_seed=random.SystemRandom().randbytes(32)
        )
        self._key = SigningKey(Ed25519PrivateKey.generate())
        self._ends: dict[int, _AgentEnd] = {}
        self._answers: dict[str, Answer] = {}
        self._news = Flag()
        self._stack = AsyncExitStack()
        self._time_block = Background(self._keep_time, self._end)
        self._agent_block = Background(self._run_agent, agent.stop)
        self._was_entered = False
        self._has_agent_ended = False
        self._is_carrying_out = False
        self._is_over = False

    async def __aenter__(self) -> Self:
        """Start the agent and wait until it is online. Raises as `Agent.serve` does, and LocalProtocolError if it stops
        before, or if this was entered once already.
        """
        if self._was_entered:
            raise LocalProtocolError("a SimulatedPlatform is entered once: make another one")
        self._was_entered = True
        config, registry = self._config, self._hub.registry
        registry.create_agent(
            config.tenant_id, agent_id=config.agent_id, name="", capabilities=(), metadata={}, wall=self._clock().wall
        )
        registry.add_key(config.tenant_id, config.agent_id, self._key.public.openssh, "simulated")
        try:
            await self._stack.enter_async_context(self._time_block)
            await self._stack.enter_async_context(self._agent_block)
            while not self.is_online:
                await self._hear_more()
        except BaseException:
            await self._stack.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Drain, or stop at once if the block has failed."""
        self._agent_block.check()
        return await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def is_online(self) -> bool:
        """Whether the agent has a link, from its first heartbeat on (HB-3)."""
        return self._hub.agent(self._config.tenant_id, self._config.agent_id).online

    async def command(
        self, command: str, args: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Send a command and wait for its answer, over whatever links that takes; `timeout_s` is the command's (CMD-4).

        Raises ApiError for a command that no platform would take, and LocalProtocolError if the agent stops by itself
        without an answer.
        """
        self._agent_block.check()
        tenant_id, agent_id, now = self._config.tenant_id, self._config.agent_id, self._clock()
        sent = self._hub.send_command(tenant_id, agent_id, command, args, timeout_s=timeout_s, now=now)
        self._carry_out_all()
        while sent.command_id not in self._answers:
            await self._hear_more()
        return self._answers.pop(sent.command_id)

    def send_message(self, data: dict[str, Any]) -> None:
        """Send the agent a message. Raises ApiError 409 while it has no link."""
        self._hub.send_message(self._config.tenant_id, self._config.agent_id, data, self._clock())
        self._carry_out_all()

    def cut(self) -> None:
        """Cut all connections, as a network does; the agent comes back by itself after its wait (LINK-3)."""
        for end in list(self._ends.values()):
            self._lose(end)
            end.reset()

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _run_agent(self, *, task_status: TaskStatus[None]) -> None:
        try:
            await self._agent.serve(sign=self._sign, open_stream=self._open, clock=self._clock, task_status=task_status)
        finally:
            self._has_agent_ended = True
            self._news.set()

    async def _sign(self, challenge: bytes) -> bytes:
        return self._key.sign(challenge, "ssh")  # not in a thread: virtual time does not wait for those

    async def _open(self, asked: Connect) -> ByteStream:
        end = _AgentEnd(self, PlatformProtocol(self._hub, conn=asked.conn, now=self._clock()))
        self._ends[asked.conn] = end
        return end

    def _end(self) -> None:
        self._is_over = True
        self._news.set()

    async def _keep_time(self, *, task_status: TaskStatus[None]) -> None:
        """Have the platform do what is due, until the end of the block."""
        task_status.started()
        while not self._is_over:
            self._news.clear()
            deadline = self._hub.deadline()
            with anyio.move_on_after(math.inf if deadline is None else max(deadline - self._clock().mono, 0)):
                await self._news.wait()
            self._hub.handle_timer(self._clock())
            self._carry_out_all()

    async def _hear_more(self) -> None:
        if self._has_agent_ended:
            raise LocalProtocolError("the agent has stopped by itself, and nothing more comes from it")
        self._news.clear()
        await self._news.wait()

    def received(self, end: _AgentEnd, data: bytes) -> None:
        """The agent wrote; no data is the end of its side."""
        if end.session.conn in self._ends:
            if data:
                end.session.data_received(data, self._clock())
            else:
                end.session.eof_received(self._clock())
            self._carry_out_all()

    def read(self) -> None:
        """The agent has read."""
        self._carry_out_all()

    def closed(self, end: _AgentEnd) -> None:
        """The agent closed the connection."""
        if end.session.conn in self._ends:
            self._lose(end)

    def _lose(self, end: _AgentEnd) -> None:
        del self._ends[end.session.conn]
        end.session.disconnected("cut", self._clock())
        self._carry_out_all()

    def _carry_out_all(self) -> None:
        """Carry out all that the platform asks for; what comes back while it does is included."""
        if self._is_carrying_out:
            return
        self._is_carrying_out = True
        try:
            while True:
                while (output := self._hub.next_output()) is not None:
                    self._carry_out(output)
                levels = [(end, level) for end in self._ends.values() if (level := end.new_level()) is not None]
                if not levels:
                    break
                for end, level in levels:
                    end.session.unsent(level, self._clock())
        finally:
            self._is_carrying_out = False
        self._news.set()

    def _carry_out(self, output: PlatformOutput) -> None:
        match output:
            case Write():
                if output.conn in self._ends:
                    self._ends[output.conn].feed(output.data)
            case Disconnect():
                if output.conn in self._ends:
                    self._ends.pop(output.conn).finish()
            case PauseReading():
                if output.conn in self._ends:
                    self._ends[output.conn].pause()
            case ResumeReading():
                if output.conn in self._ends:
                    self._ends[output.conn].resume()
            case RequestArrived():
                if output.conn in self._ends:
                    self._ends[output.conn].session.respond(output.exchange, NOT_FOUND, self._clock())
            case AnyEvent():
                self._heard(output)
            case _:
                raise AssertionError("only a `PlatformSession` leaves framing to its driver")

    def _heard(self, event: HubEvent) -> None:
        match event:
            case CommandAnswered(response=response):
                result = msgspec.json.decode(response.result) if response.status == "success" else None
                self._answers[event.command_id] = Answer(response.status, result, response.code, response.reason)
            case MessageReceived():
                self.messages.append(event.data)
            case StatusReceived():
                self.statuses.append(event)
            case _:
                pass


class _AgentEnd(OwnStream):
    """The agent's end of a connection in memory."""

    def __init__(self, platform: SimulatedPlatform, session: PlatformProtocol) -> None:
        self.session = session
        self._platform = platform
        self._unread = bytearray()
        self._level = 0
        self._is_over = False
        self._was_reset = False
        self._arrived = Flag()
        self._may_send = Flag()
        self._may_send.set()

    # --- the platform's -----------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        self._unread += data
        self._arrived.set()

    def finish(self) -> None:
        self._is_over = True
        self._arrived.set()
        self._may_send.set()

    def reset(self) -> None:
        self._unread.clear()
        self._was_reset = True
        self.finish()

    def pause(self) -> None:
        self._may_send.clear()

    def resume(self) -> None:
        self._may_send.set()

    def new_level(self) -> int | None:
        """How much has not been read (LINK-8), if that is not what was asked for last."""
        before, self._level = self._level, len(self._unread)
        return None if self._level == before else self._level

    # --- the agent's --------------------------------------------------------------------------------------------------

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        await self._may_send.wait()
        self._platform.received(self, item)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._unread and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        if self._was_reset:
            raise anyio.BrokenResourceError
        if not self._unread:
            raise anyio.EndOfStream
        data = bytes(self._unread[:max_bytes])
        del self._unread[:max_bytes]
        self._platform.read()
        return data

    async def send_eof(self) -> None:
        self._platform.received(self, b"")

    async def aclose(self) -> None:
        self.finish()
        self._platform.closed(self)
