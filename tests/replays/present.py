"""The present code as a record sees it. This is all that is to be changed when the API of the core changes.

`CALLS` says which function of the package each recorded call is, for recording and for playing; `AgentPlayer` and
`PlatformPlayer` build a machine of today from what is stored, call it, and drain it.
"""

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
from artcafe_proto.effects import Disconnect, Wake, Write
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
        for name in ("data_received", "eof_received", "disconnected", "unsent", "handle_timer", "close", "drop")
    },
}
"""By the kind of object. A connection's first call is `accepted`, which builds it."""

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
        self._attended: list[int] = []
        """Connections that something happened to."""
        self._left: set[int] = set()
        """Connections that are over, but for what is still to be drained."""

    def call(self, call: Call) -> Any:
        """Make a stored call; its result."""
        if "now" in call.args:
            self._now = Instant(*call.args["now"])
        if call.target == HUB:
            spec = CALLS["hub"][call.name]
            return _result(spec, self._hub.registry if spec.owner is Registry else self._hub, call)
        self._attended.append(call.target)
        if call.name == ACCEPTED:
            address = call.args["address"]
            self._connections[call.target] = PlatformProtocol(
                self._hub, conn=call.target, now=self._now, address=address
            )
            return None
        if call.name == "disconnected":
            self._left.add(call.target)
        return _result(CALLS["connection"][call.name], self._connections[call.target], call)

    def drain(self, _stored: Drained) -> Drained:
        """Take all outputs of the hub, and of the connections that it or a call concerned."""
        said: list[Any] = []
        drained: dict[int, list[Any]] = {}
        deadlines: dict[int, float | None] = {}
        while True:
            output = self._hub.next_output()
            if isinstance(output, Wake):
                self._attended.append(output.conn)
            elif output is not None:
                said.append(plain(output))
            elif self._attended:
                conn = self._attended.pop()
                connection = self._connections.get(conn)
                if connection is not None:
                    drained.setdefault(conn, []).extend(self._drain_connection(connection))
                    deadlines[conn] = connection.deadline()
            else:
                break
        connections = [(conn, connection_outputs(drained[conn]), deadlines[conn]) for conn in sorted(drained)]
        return Drained(True, [(HUB, said, self._hub.deadline()), *connections])

    def _drain_connection(self, connection: PlatformProtocol) -> list[Any]:
        outputs: list[Any] = []
        while (output := connection.next_output()) is not None:
            if isinstance(output, RequestArrived):
                response = answer(self._hub, connection, output.request, self._now)
                connection.respond(output.exchange, response, self._now)
            else:
                outputs.append(output)
        if connection.conn in self._left or any(isinstance(output, Disconnect) for output in outputs):
            del self._connections[connection.conn]
        return outputs


PLAYERS: Final[dict[str, type[AgentPlayer | PlatformPlayer]]] = {"agent": AgentPlayer, "platform": PlatformPlayer}
