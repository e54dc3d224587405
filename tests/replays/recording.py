"""Records worlds: the machines' functions are wrapped from outside while a simulation runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import isfunction, signature
from random import Random
from typing import Any, Final, cast
from unittest.mock import patch

from artcafe_proto import AgentProtocol, PlatformHub, PlatformProtocol, PlatformSession
from artcafe_proto.events import RequestArrived
from artcafe_proto.platform import api
from artcafe_proto.platform.registry import Registry
from artcafe_proto.testing.platforms import PlatformProcess
from replays.draws import Draws
from replays.present import (
    ACCEPTED,
    ANSWERED,
    CALLS,
    NOT_INPUTS,
    OF_CONNECTIONS,
    Spec,
    agent_output,
    connection_outputs,
    deadline_of,
    raised,
    settings,
    stored_argument,
)
from replays.stored import HUB, Call, Drained, Machine, World, plain
from replays.worlds import (
    ADDRESS,
    OTHER_AGENTS,
    OTHER_TENANT,
    REQUESTS,
    TENANT_TOKENS,
    Browser,
    Owner,
    simulation,
)
from support.virtual import session_of

_WRAPPED: Final = {
    AgentProtocol: "agent",
    PlatformHub: "hub",
    Registry: "hub",
    PlatformProtocol: "connection",
    PlatformSession: "connection",
}


def record(seed: int, seconds: float) -> World:
    """Run the world of a seed, with faults for so many virtual seconds."""
    recorder = _Recorder()
    with recorder.listening():
        sim = simulation(seed, seconds)
        recorder.answered = Browser(sim, seed, gap_s=seconds / REQUESTS).answered
        Owner(sim, seed, gap_s=seconds / REQUESTS)
        sim.run()
    faults = sorted(kind.name for kind in sim.happened)
    return World(seed, faults, recorder.machines)


class _Place:
    """Where the calls and outputs of one object go."""

    def __init__(self, machine: Machine, owner: Any, number: int = HUB) -> None:
        self.machine = machine
        self.owner = owner
        self.number = number
        self.outputs: list[Any] = []
        self.is_drained = False


class _Recorder:
    """Writes down what comes to each machine from outside, and what it puts out."""

    def __init__(self) -> None:
        self.machines: list[Machine] = []
        self._places: dict[int, _Place] = {}
        """By the identity of an object; the place keeps it alive."""
        self._accepted: dict[tuple[int, int], _Place] = {}
        """Those of connections, by the identity of their hub and their numbers."""
        self._depth = 0
        """How many recorded functions are at work: one called by another is no input."""
        self._drained: list[_Place] = []
        """Of the platform, since the last step."""
        self.answered: Callable[[Any, Any], None] = lambda request, response: None
        """Told of each such request, and of the response."""

    @contextmanager
    def listening(self) -> Generator[None]:
        """Change what is done inside."""
        with ExitStack() as patches:
            for owner, kind in _WRAPPED.items():
                functions = {name for base in owner.__mro__ for name, each in vars(base).items() if isfunction(each)}
                for name in sorted(functions - NOT_INPUTS):
                    if not name.startswith("_"):
                        patches.enter_context(patch.object(owner, name, self._wrapper(owner, kind, name)))
            patches.enter_context(patch.object(AgentProtocol, "__init__", self._agent_init(AgentProtocol.__init__)))
            patches.enter_context(patch.object(PlatformHub, "__init__", self._hub_init(PlatformHub.__init__)))
            patches.enter_context(patch.object(PlatformProtocol, "__init__", self._accept(PlatformProtocol.__init__)))
            patches.enter_context(patch.object(PlatformProcess, "drain", self._drain_wrapper()))
            patches.enter_context(patch.object(PlatformProcess, "_new_hub", self._new_hub_wrapper()))
            patches.enter_context(patch.object(api, "answer", self._answerer(api.answer)))
            yield

    def _wrapper(self, owner: type[Any], kind: str, name: str) -> Callable[..., Any]:
        original = getattr(owner, name)
        if name == "next_output":
            return self._output_wrapper(original)
        if (owner, name) == ANSWERED[:2]:
            return self._inner(original)
        spec = CALLS[kind].get(name)
        if spec is not None and spec.owner is owner:
            return self._call_wrapper(original, name, spec)
        return self._refuser(original, name)

    @contextmanager
    def _inside(self) -> Generator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    # --- what is built ------------------------------------------------------------------------------------------------

    def _begin(self, owner: Any, machine: Machine) -> None:
        self.machines.append(machine)
        self._places[id(owner)] = _Place(machine, owner)

    def _agent_init(self, original: Callable[..., None]) -> Callable[..., None]:
        def init(agent: AgentProtocol, config: Any, *, rng: Random) -> None:
            seed = rng.getrandbits(64)
            original(agent, config, rng=Draws(seed))
            self._begin(agent, Machine("agent", settings(config), seed))

        return init

    def _hub_init(self, original: Callable[..., None]) -> Callable[..., None]:
        def init(hub: PlatformHub, config: Any, *, rng: Random, signing_seed: bytes) -> None:
            seed = rng.getrandbits(64)
            original(hub, config, rng=Draws(seed), signing_seed=signing_seed)
            self._begin(hub, Machine("platform", settings(config), seed, signing_seed, has_one_deadline=True))
            self._places[id(hub.registry)] = self._places[id(hub)]

        return init

    def _accept(self, original: Callable[..., None]) -> Callable[..., None]:
        def init(connection: PlatformProtocol, hub: PlatformHub, *, conn: int, now: Any) -> None:
            with self._inside():
                original(connection, hub, conn=conn, now=now, address=ADDRESS)
            place = _Place(self._places[id(hub)].machine, connection, conn)
            self._places[id(connection)] = self._places[id(session_of(connection))] = place
            self._accepted[id(hub), conn] = place
            self._touch(place)
            place.machine.steps.append(Call(conn, ACCEPTED, {"now": plain(now), "address": ADDRESS}, None))

        return init

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _call_wrapper(self, original: Callable[..., Any], name: str, spec: Spec) -> Callable[..., Any]:
        parameters = signature(original)

        @wraps(original)
        def call(owner: Any, *given: Any, **named: Any) -> Any:
            if self._depth:
                return original(owner, *given, **named)
            place = self._places[id(owner)]
            self._flush_part(place)
            self._touch(place)
            bound = parameters.bind(owner, *given, **named).arguments
            args = {key: stored_argument(value) for key, value in list(bound.items())[1:]}
            made = Call(place.number, name, args, None)
            place.machine.steps.append(made)
            with self._inside():
                try:
                    result = original(owner, *given, **named)
                except Exception as error:
                    made.result = raised(error)
                    raise
            made.result = spec.result(result)
            return result

        return call

    def _inner(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*given: Any, **named: Any) -> Any:
            with self._inside():
                return original(*given, **named)

        return call

    def _refuser(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(original)
        def call(owner: Any, *given: Any, **named: Any) -> Any:
            if not self._depth:
                raise AssertionError(f"expected only recorded calls, but {type(owner).__name__}.{name} is not in CALLS")
            return original(owner, *given, **named)

        return call

    def _answerer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def answer(hub: PlatformHub, request: Any, *given: Any) -> Any:
            said = original(hub, request, *given)
            if said is not None:
                self.answered(request, said.answer)
            return said

        return answer

    def _new_hub_wrapper(self) -> Callable[..., Any]:
        original = cast("Callable[[PlatformProcess], PlatformHub]", vars(PlatformProcess)["_new_hub"])

        def new_hub(process: PlatformProcess) -> PlatformHub:
            hub = original(process)
            hub.registry.add_tenant(OTHER_TENANT, TENANT_TOKENS[OTHER_TENANT])
            for agent_id in OTHER_AGENTS:
                hub.registry.create_agent(
                    OTHER_TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=process.now.wall
                )
            return hub

        return new_hub

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _output_wrapper(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def next_output(owner: Any) -> Any:
            with self._inside():
                output = original(owner)
            place = self._places[id(owner)]
            self._touch(place)
            if place.machine.role == "agent":
                place.is_drained = True
            elif isinstance(output, OF_CONNECTIONS):
                place = self._accepted[id(owner), output.conn]
                self._touch(place)
            if output is None:
                if place.machine.role == "agent":
                    self._flush([place])
            elif not isinstance(output, RequestArrived):
                place.outputs.append(output)
            return output

        return next_output

    def _touch(self, place: _Place) -> None:
        if place.machine.role == "platform" and place not in self._drained:
            self._drained.append(place)

    def _drain_wrapper(self) -> Callable[[PlatformProcess], None]:
        original = PlatformProcess.drain

        def drain(process: PlatformProcess) -> None:
            original(process)
            drained, self._drained = self._drained, []
            self._flush(drained)

        return drain

    def _flush(self, places: list[_Place]) -> None:
        places = sorted(places, key=lambda place: place.number)
        drained = [(place.number, self._outputs(place), deadline_of(place.owner)) for place in places]
        places[0].machine.steps.append(Drained(True, drained))

    def _flush_part(self, place: _Place) -> None:
        """An input comes while outputs are still to come."""
        if place.is_drained:
            place.machine.steps.append(Drained(False, [(HUB, self._outputs(place), None)]))

    def _outputs(self, place: _Place) -> list[Any]:
        outputs, place.outputs, place.is_drained = place.outputs, [], False
        if place.machine.role == "agent":
            return [agent_output(output) for output in outputs]
        return [plain(output) for output in outputs] if place.number == HUB else connection_outputs(outputs)
