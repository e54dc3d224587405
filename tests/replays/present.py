"""The present code as a record sees it. This is all that is to be changed when the API of the core changes.

`CALLS` says which function of the package each recorded call is, for recording and for playing; `AgentPlayer` and
`PlatformPlayer` build a machine of today from what is stored, call it, and drain it.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from operator import attrgetter
from typing import Any, Final, NamedTuple

from artcafe_proto import (
    AgentConfig,
    AgentProtocol,
    ApiError,
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PlatformProtocol,
)
from artcafe_proto.effects import Disconnect, PlatformEffect, Write
from artcafe_proto.events import RequestArrived
from artcafe_proto.platform.api import NOT_FOUND
from artcafe_proto.platform.registry import Registry
from replays.draws import Draws
from replays.stored import HUB, Call, Drained, Machine, plain, unmasked

# --- which call is which ----------------------------------------------------------------------------------------------


class Spec(NamedTuple):
    """A recorded call: whose function it is today, and what of its result is compared."""

    owner: type[Any]
    method: str
    result: Callable[[Any], Any] = plain


def _only(name: str) -> Callable[[Any], Any]:
    """Of a result that holds the core's own state, one field."""
    return attrgetter(name)


CALLS: Final[dict[str, dict[str, Spec]]] = {
    "agent": {
        name: Spec(AgentProtocol, name)
        for name in (
            *("connected", "connect_failed", "data_received", "eof_received", "disconnected", "unsent"),
            *("signed", "sign_failed", "handle_timer", "start", "stop", "respond", "fail", "progress", "set_status"),
            *("set_metrics", "send_message", "get_details", "put_status", "cancel_call"),
        )
    },
    "hub": {
        "add_tenant": Spec(Registry, "add_tenant"),
        "create_agent": Spec(Registry, "create_agent", _only("agent_id")),
        "add_key": Spec(Registry, "add_key", _only("key_id")),
        "revoke_key": Spec(PlatformHub, "revoke_key"),
        "send_command": Spec(PlatformHub, "send_command", _only("command_id")),
        "send_message": Spec(PlatformHub, "send_message"),
        "set_status": Spec(PlatformHub, "set_status", _only("agent_id")),
        "handle_timer": Spec(PlatformHub, "handle_timer"),
    },
    "connection": {
        name: Spec(PlatformProtocol, name)
        for name in ("data_received", "eof_received", "disconnected", "unsent", "close", "drop")
    },
}
"""By the kind of object. A connection's first call is `accepted`, which builds it."""

OWN_TIMER: Final = "handle_timer"
"""Of a connection: in records of when each kept its own time. There the hub's own timer, too, is its alone."""
OF_CONNECTIONS = PlatformEffect | RequestArrived
"""The outputs of a hub that are of its connections."""

ACCEPTED: Final = "accepted"
NOT_INPUTS: Final = frozenset(
    {
        "agent",
        "agents",
        "find",
        "key",
        "keys",
        "has_key",
        "page",
        "shown",
        "conn_of",
        "tenant_of",
        "command",
        "records",
    }
    | {"deadline"}
)
"""Functions that change nothing, and the deadline, which is recorded with the outputs."""
ANSWERED: Final = Spec(PlatformProtocol, "respond")
"""How a connection is given what `answer` makes. That is no input: a request may as well be answered in the core."""


def raised(error: Exception) -> dict[str, Any]:
    """What is compared of an error."""
    status = {"status": error.status, "code": error.error} if isinstance(error, ApiError) else {}
    return {"raised": type(error).__name__, "text": str(error)} | status


def settings(config: AgentConfig | PlatformConfig) -> dict[str, Any]:
    """The settings of a configuration that are not the defaults."""
    values = {name: getattr(config, name) for name in config.__struct_fields__}
    defaults = signature(type(config)).parameters
    return {name: plain(value) for name, value in values.items() if value != defaults[name].default}


def stored_argument(value: Any) -> Any:
    """An argument as it is stored: bytes unmasked, as far as they are whole frames of an agent, behind their keys."""
    return unmasked(value) if isinstance(value, bytes) else plain(value)


def argument(name: str, value: Any) -> Any:
    """A stored argument as the functions of today take it."""
    if name == "now":
        return Instant(*value)
    if isinstance(value, bytes):
        return unmasked(value)
    return tuple(value) if name == "capabilities" else value


def answer(hub: PlatformHub, connection: PlatformProtocol, request: HttpRequest, now: Instant) -> HttpResponse:
    """The response to a request that the core does not answer by itself."""
    return NOT_FOUND


# --- what outputs are compared as -------------------------------------------------------------------------------------


def agent_output(output: Any) -> Any:
    """An agent's output in plain data, its frames unmasked."""
    if isinstance(output, Write):
        return {"class": "Write", "conn": output.conn, "data": unmasked(output.data, keep_keys=False)}
    return plain(output)


def connection_outputs(outputs: list[Any]) -> list[Any]:
    """Those of a platform's connection in plain data: writes that follow each other are one."""
    merged: list[Any] = []
    for output in outputs:
        if isinstance(output, Write) and merged and merged[-1]["class"] == "Write":
            merged[-1]["data"] += output.data
        else:
            merged.append(plain(output))
    return merged


# --- playing ----------------------------------------------------------------------------------------------------------


def _result(spec: Spec, target: Any, call: Call) -> Any:
    args = {name: argument(name, value) for name, value in call.args.items()}
    try:
        return spec.result(getattr(target, spec.method)(**args))
    except (LocalProtocolError, ApiError) as error:
        return raised(error)


class AgentPlayer:
    """An agent of today, built as the stored one was."""

    def __init__(self, machine: Machine) -> None:
        self._agent = AgentProtocol(AgentConfig(**machine.settings), rng=Draws(machine.seed))

    def call(self, call: Call) -> Any:
        """Make a stored call; its result."""
        return _result(CALLS["agent"][call.name], self._agent, call)

    def drain(self, stored: Drained) -> Drained:
        """Take as many outputs as were taken then, or all."""
        outputs: list[Any] = []
        most = None if stored.to_the_end else len(stored.outputs[0][1])
        while len(outputs) != most and (output := self._agent.next_output()) is not None:
            outputs.append(agent_output(output))
        deadline = self._agent.deadline() if stored.to_the_end else None
        return Drained(stored.to_the_end, [(HUB, outputs, deadline)])


class PlatformPlayer:
    """A hub of today and its connections, built as the stored ones were."""

    def __init__(self, machine: Machine) -> None:
        self._hub = PlatformHub(
            PlatformConfig(**machine.settings), rng=Draws(machine.seed), signing_seed=machine.signing_seed
        )
        self._connections: dict[int, PlatformProtocol] = {}
        self._now = Instant(0.0, 0.0)
        self._have_own_timers = not machine.has_one_deadline

    def call(self, call: Call) -> Any:
        """Make a stored call; its result."""
        if "now" in call.args:
            self._now = Instant(*call.args["now"])
        if call.target == HUB:
            if call.name == OWN_TIMER and self._have_own_timers:
                return self._handle_own_timer()
            spec = CALLS["hub"][call.name]
            return _result(spec, self._hub.registry if spec.owner is Registry else self._hub, call)
        if call.name == ACCEPTED:
            address = call.args["address"]
            self._connections[call.target] = PlatformProtocol(
                self._hub, conn=call.target, now=self._now, address=address
            )
            return None
        if call.name == OWN_TIMER:
            return self._handle_own_timer_of(self._connections[call.target])
        return _result(CALLS["connection"][call.name], self._connections[call.target], call)

    def drain(self, stored: Drained) -> Drained:
        """Take all outputs of the hub, and sort them by what they are of."""
        said: list[Any] = []
        drained: dict[int, list[Any]] = {conn: [] for conn, _, _ in stored.outputs if conn != HUB}
        while (output := self._hub.next_output()) is not None:
            if isinstance(output, RequestArrived):
                connection = self._connections[output.conn]
                connection.respond(output.exchange, answer(self._hub, connection, output.request, self._now), self._now)
            elif isinstance(output, OF_CONNECTIONS):
                drained.setdefault(output.conn, []).append(output)
            else:
                said.append(plain(output))
        connections = [
            (conn, connection_outputs(outputs), deadline_of(self._connections[conn]))
            for conn, outputs in sorted(drained.items())
        ]
        deadline = self._hub._delivery.deadline if self._have_own_timers else self._hub.deadline()
        for conn, outputs in drained.items():
            if any(isinstance(output, Disconnect) for output in outputs):
                del self._connections[conn]
        return Drained(True, [(HUB, said, deadline), *connections])

    def _handle_own_timer(self) -> None:
        now = self._hub.look_at_clock(self._now)
        for agent_id in self._hub._delivery.handle_timer(now):
            self._hub.traffic.send_on(agent_id, now)

    def _handle_own_timer_of(self, connection: PlatformProtocol) -> None:
        now = self._hub.input_of(connection.conn, self._now)
        while (timer := connection.timers.pop_due(now.mono)) is not None:
            connection.timer_due(*timer, now)


def deadline_of(owner: AgentProtocol | PlatformHub | PlatformProtocol) -> float | None:
    """What is stored as the deadline of an object."""
    if isinstance(owner, PlatformProtocol):
        return None if (earliest := owner.timers.next()) is None else earliest[0]
    return owner.deadline()


PLAYERS: Final[dict[str, type[AgentPlayer | PlatformPlayer]]] = {"agent": AgentPlayer, "platform": PlatformPlayer}
