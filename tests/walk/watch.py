"""What must hold in every state of a walk: the invariants of `artcafe_proto.testing`, as far as messages show them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from artcafe_proto.agent import AuthState, LinkState
from artcafe_proto.effects import (
    AcceptUpgrade,
    Connect,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
)
from artcafe_proto.events import CommandAnswered, CommandReceived, MessageSettled, Online, ResponsesSettled, Stopped
from artcafe_proto.platform.states import SessionState

if TYPE_CHECKING:
    from artcafe_proto.effects import AgentMachineEffect, Send
    from artcafe_proto.events import AgentEvent, HubEvent
    from artcafe_proto.exchanges import HttpRequest
    from artcafe_proto.instants import Instant
    from walk.world import Ended, Wire, World


class BrokenInvariantError(AssertionError):
    """An invariant did not hold."""


class Watch:
    """The observer of one path through the world; it is copied with it."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.executed: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()  # by the current platform
        self.read: set[str] = set()  # commands whose final response, and messages, that a platform has read
        self.rejected: set[str] = set()
        self.linking: set[int] = set()  # connections of the agent with an opening handshake or a link
        self.tokens: dict[int, str] = {}  # by connection: what its last request carried
        self.up: set[int] = set()
        self.begun: set[int] = set()  # links that have had their first message
        self.accepted: set[int] = set()
        self.closed: set[tuple[str, int]] = set()

    def check(self, holds: bool, name: str, detail: object = "") -> None:
        """One look at one invariant. Raises BrokenInvariantError."""
        if not holds:
            raise BrokenInvariantError(f"{name}: {detail}")

    # --- the agent ----------------------------------------------------------------------------------------------------

    def agent_said(self, world: World, output: AgentMachineEffect | AgentEvent) -> None:
        """The agent said something."""
        self.check(not self.is_stopped or not isinstance(output, Connect | Stopped), "after Stopped nothing", output)
        match output:
            case SendRequest():
                self._requests(output.conn, output.request)
            case SendUpgrade():
                self._requests(output.conn, output.request)
                self.linking.add(output.conn)
                held = [conn for conn in self.linking if conn in world.wires and world.wires[conn].is_held]
                self.check(len(held) <= 1, "one link, up or opening [LINK-9]", held)
            case SendText() | SendPing() | SendPong() | SendClose():
                self._sends("agent", output, self.up)
            case Online():
                self.up.add(output.link)
            case CommandReceived():
                self.executed[output.command_id] += 1
                times = self.executed[output.command_id]
                self.check(times == 1, "no command is executed twice in one life [CMD-1]", output.command_id)
            case ResponsesSettled():
                for command_id in output.command_ids:
                    self._settled(world, command_id, assumed=output.assumed)
            case MessageSettled():
                self._settled(world, output.message_id, assumed=output.assumed)
            case Stopped():
                self.is_stopped = True
            case _:
                self.check(not self.is_stopped or not hasattr(output, "clause"), "after Stopped nothing", output)

    def _settled(self, world: World, key: str, *, assumed: bool) -> None:
        holds = not world.scenario.pongs if assumed else key in self.read
        self.check(holds, "what is settled was read, or assumed without pongs [CMD-3]", key)

    def _requests(self, conn: int, request: HttpRequest) -> None:
        self.check(not self.is_stopped, "after Stopped nothing", request)
        self.check(conn not in self.up, "no request on a link", request)
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        self.check(token not in self.rejected, "a rejected token is never sent again [TOK-3]", request)
        self.tokens[conn] = token

    def _sends(self, side: str, output: SendText | SendPing | SendPong | SendClose, up: set[int]) -> None:
        conn = output.conn
        self.check(conn in up, "no message before the link is up [LINK-1]", output)
        self.check((side, conn) not in self.closed, "nothing follows a close frame [RFC 6455, 5.5.1]", output)
        if isinstance(output, SendClose):
            self.closed.add((side, conn))
        if side == "agent" and conn not in self.begun:
            self.begun.add(conn)
            first = json.loads(output.payload)["type"] if isinstance(output, SendText) else repr(output)
            self.check(first == "heartbeat", "a link begins with a heartbeat [HB-1]", first)

    def agent_reads(self, world: World, wire: Wire, message: Send | Ended) -> None:
        """A message is about to reach the agent."""
        if isinstance(message, SendResponse):
            status = message.response.status
            is_upgrade = wire.conn in self.linking
            self.linking.discard(wire.conn)
            if self.tokens.get(wire.conn) and (status == 401 or (status == 403 and is_upgrade)):
                self.rejected.add(self.tokens[wire.conn])

    # --- the platform -------------------------------------------------------------------------------------------------

    def platform_writes(self, conn: int, output: Send) -> None:
        """A session said something."""
        match output:
            case AcceptUpgrade():
                self.accepted.add(conn)
            case SendText() | SendPing() | SendPong() | SendClose():
                self._sends("platform", output, self.accepted)
            case _:
                self.check(conn not in self.accepted, "no response on a link", output)

    def platform_reads(self, payload: bytes) -> None:
        """A message of the agent's is about to reach the platform."""
        envelope = json.loads(payload)
        if envelope["type"] == "response" and envelope["data"].get("code") not in ("overloaded", "draining"):
            self.read.add(envelope["data"]["command_id"])
        elif envelope["type"] == "message":
            self.read.add(envelope["id"])

    def hub_said(self, event: HubEvent) -> None:
        """The hub reported something."""
        if isinstance(event, CommandAnswered):
            self.answered[event.command_id] += 1
            times = self.answered[event.command_id]
            self.check(times == 1, "one final response for each command [CMD-3]", event.command_id)

    def platform_restarted(self) -> None:
        """What it knew is gone."""
        self.answered.clear()

    # --- everything ---------------------------------------------------------------------------------------------------

    def timer_was_handled(self, deadline: float | None, now: Instant) -> None:
        """`handle_timer` has returned."""
        self.check(deadline is None or deadline > now.mono, "a handled timer is not due any more", deadline)

    def settled(self, world: World) -> None:
        """Something has happened, and all that follows from it."""
        agent, config = world.agent, world.agent.config
        self.check(len(agent.in_flight) <= config.max_concurrent, "containers keep to their limits [CMD-5]")
        self.check(len(agent.queued) <= config.max_queued, "containers keep to their limits [CMD-5]")
        self.check(agent.is_stopped == self.is_stopped, "an agent that has stopped says so [CMD-8]")
        if self.is_stopped:
            rest = (agent.deadline(), agent.state.link, [conn for conn, wire in world.wires.items() if wire.is_held])
            self.check(rest == (None, LinkState.DOWN, []), "a stopped agent holds and awaits nothing [LINK-10]", rest)
        idle = agent.state == (AuthState.NONE, LinkState.DOWN) and agent.deadline() is None
        runs = world.is_started and not self.is_stopped
        self.check(not (idle and runs), "an agent that runs always awaits something")
        live = [session for session in world.sessions() if session.state is SessionState.UP]
        self.check(len(live) <= 1, "one live connection an agent [PLAT-6]", [session.conn for session in live])

    def is_over(self, conn: int) -> None:
        """Both sides have let go of a connection, whose number does not come again."""
        for conns in (self.linking, self.up, self.begun, self.accepted):
            conns.discard(conn)
        self.tokens.pop(conn, None)
        self.closed -= {("agent", conn), ("platform", conn)}
