"""Everything that can happen next in a world: what is due in any case, what people do, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from artcafe_proto import HttpResponse
from artcafe_proto.agent import LinkState
from artcafe_proto.effects import SendRequest, SendResponse, SendUpgrade
from artcafe_proto.limits import MAX_WAITING_BYTES
from artcafe_proto.platform.states import SessionState
from support.virtual import AGENT, TENANT
from walk.abstraction import timers
from walk.world import COMMANDS, KEY, Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artcafe_proto.policies.status import DeclaredStatus
    from walk.world import Wire, World


class Action(NamedTuple):
    """What happens, and to what: a connection, a request, a command, a timer."""

    kind: str
    subject: int | str = ""
    variant: int | str = ""

    def __str__(self) -> str:
        return " ".join(str(part) for part in self if part != "")


CLOSE_CODES: Final = (1001, 1008, 1009, 1012, 1013, 4401, 4409)
STATUSES: Final = (401, 403, 503)
TIMED: Final = ("wait", "late", "slow", "half")
"""Actions in which time passes."""
HELD_UP_S: Final = 100.0
CLOCK_SET_S: Final = 3600.0
_HORIZON_S: Final = 400.0
"""Nothing is waited for that lies further away."""
_MOST_STEPS: Final = 1000


# --- what can happen --------------------------------------------------------------------------------------------------


def enabled(world: World) -> Iterator[Action]:
    """All that can happen next."""
    messages = list(on_their_way(world))
    yield from messages
    yield from by_people(world)
    if not messages:
        yield from _waits(world)
    if world.faults:
        yield from _faults(world)


def on_their_way(world: World) -> Iterator[Action]:
    """What the network does next, if only it is given the time."""
    for conn, wire in world.wires.items():
        if wire.is_opening and not wire.is_silent_up:
            yield Action("open", conn)
        if wire.up:
            yield Action("up", conn)
        if wire.down:
            yield Action("down", conn)


def by_people(world: World) -> Iterator[Action]:
    """What the signer, the handlers, the transport's owner, the tenant and the user do."""
    for sign in world.signing:
        yield Action("sign", sign.request)
    for command_id in world.running:
        yield Action("respond", command_id)
    if world.paused is not None:
        yield Action("resume", *world.paused)
    if world.agent.is_stopped:
        return
    if not world.is_started:
        yield Action("start")
        yield from (Action("stop", way) for way in world.stops)
        return
    if world.listeners and world.listener is None:
        yield Action("listen")
    if world.listener is not None:
        yield Action("fall behind")
    if world.commands:
        yield Action("command")
    if world.calls:
        yield Action("call")
    if world.messages:
        yield Action("say")
    for status in world.statuses:
        yield Action("declare", status)
    for way in world.stops:
        yield Action("stop", way)


def _waits(world: World) -> Iterator[Action]:
    deadline = world.deadline()
    if deadline is None:
        return
    if not world.scenario.waits:
        yield Action("wait")
        return
    for name, due in timers(world).items():
        if due <= world.mono + _HORIZON_S:
            yield Action("wait", name)


def _faults(world: World) -> Iterator[Action]:
    kinds = world.scenario.faults
    for conn, wire in world.wires.items():
        if wire.is_opening and not wire.is_silent_up and "refuse" in kinds:
            yield Action("refuse", conn)
        if "reset" in kinds and wire.was_opened and wire.is_held and wire.session is not None:
            yield from (Action("reset", conn, who) for who in ("both", "agent", "platform"))
        if "silence" in kinds and wire.is_held and not (wire.is_silent_up or wire.is_silent_down):
            yield Action("silence", conn)
            if wire.was_opened:
                yield from (Action("silence", conn, way) for way in ("up", "down"))
        if "half" in kinds and world.deadline() is not None:
            yield from (Action("half", conn, way) for way, queue in (("up", wire.up), ("down", wire.down)) if queue)
        if "answer" in kinds and wire.up and isinstance(wire.up[0], SendRequest | SendUpgrade):
            yield from (Action("answer", conn, status) for status in (*STATUSES, 200))
    if "sign" in kinds:
        yield from (Action("refuse to sign", sign.request) for sign in world.signing)
    if "handler" in kinds:
        yield from (Action("fail", command_id) for command_id in world.running)
    if "close" in kinds and _live(world) is not None:
        yield from (Action("close", code) for code in CLOSE_CODES)
    if "pause" in kinds and _live(world) is not None:
        yield from (Action("pause", side) for side in ("agent", "platform"))
    yield from (Action(kind) for kind in ("revoke", "restart", "clock", "late") if kind in kinds)
    if "slow" in kinds and any(on_their_way(world)) and world.deadline() is not None:
        yield Action("slow")


def _live(world: World) -> Wire | None:
    """The connection whose link is up at both ends."""
    for wire in world.wires.values():
        if wire.is_held and wire.session is not None and wire.session.state is SessionState.UP:
            return wire
    return None


# --- doing it ---------------------------------------------------------------------------------------------------------


def do(world: World, action: Action) -> None:
    """Let it happen. Raises BrokenInvariantError, or any error that a machine raises."""
    kind, subject, variant = action
    match kind:
        case "open":
            world.open(world.wires[int(subject)])
        case "up":
            world.deliver_up(world.wires[int(subject)])
        case "down":
            world.deliver_down(world.wires[int(subject)])
        case "wait":
            _wait(world, str(subject))
        case "sign":
            sign = next(sign for sign in world.signing if sign.request == subject)
            world.signing.remove(sign)
            world.agent.signed(sign.request, KEY.sign(sign.challenge.encode(), "ssh"), world.now)
        case "respond":
            world.running.remove(str(subject))
            world.agent.respond(str(subject), 1, world.now)
        case "resume":
            _resume(world)
        case "command":
            command_id = COMMANDS[len(world.sent)]
            world.commands -= 1
            world.sent.append(command_id)
            world.send_command(command_id)
        case "say":
            world.messages -= 1
            world.agent.send_message({}, world.now)
        case "declare":
            world.statuses = tuple(status for status in world.statuses if status != subject)
            world.agent.set_status(cast("DeclaredStatus", subject), world.now)
        case "start":
            world.is_started = True
            world.agent.start(world.now)
        case "listen":
            world.listeners -= 1
            world.listen()
        case "fall behind":
            assert world.listener is not None
            world.listener.unsent(MAX_WAITING_BYTES + 1, world.now)
            world.drain_hub()
        case "call":
            world.calls -= 1
            world.agent.get_details(world.now)
        case "stop":
            world.stops = tuple(way for way in world.stops if way != subject and subject != "at once")
            world.agent.stop(world.now, drain=subject == "drain")
        case _:
            world.faults -= 1
            _go_wrong(world, kind, subject, variant)
    world.drain()


def _resume(world: World) -> None:
    assert world.paused is not None
    (side, conn), world.paused = world.paused, None
    if side == "agent":
        world.agent.unsent(conn, 0, world.now)
    else:
        session = world.wires[conn].session
        assert session is not None
        session.unsent(0, world.now)
        world.drain_hub()


def _wait(world: World, name: str) -> None:
    """Time passes until a timer is due; what comes before it comes in order, and the network is fast."""
    due = timers(world).get(name) if name else world.deadline()
    for _ in range(_MOST_STEPS):
        deadline = world.deadline()
        assert due is not None
        assert deadline is not None
        world.pass_time(min(due, deadline))
        if deadline >= due:
            return
        while (message := next(on_their_way(world), None)) is not None:
            do(world, message)
        if timers(world).get(name) != due:
            return  # it was set anew, or is not waited for any more
    raise AssertionError(f"no end of waiting for {name}")


def _go_wrong(world: World, kind: str, subject: int | str, variant: int | str) -> None:
    agent, now = world.agent, world.now
    match kind:
        case "refuse":
            world.refuse(world.wires[int(subject)])
        case "reset":
            _reset(world.wires[int(subject)], str(variant))
        case "silence":
            _silence(world.wires[int(subject)], str(variant))
        case "half":
            _halve(world, world.wires[int(subject)], str(variant))
        case "answer":
            _answer(world, world.wires[int(subject)], int(variant))
        case "refuse to sign":
            world.signing = [sign for sign in world.signing if sign.request != subject]
            agent.sign_failed(int(subject), "in this walk", now)
        case "fail":
            world.running.remove(str(subject))
            agent.fail(str(subject), "handler_error", "in this walk", now)
        case "close":
            world.close_link(int(subject))
        case "pause":
            _pause(world, str(subject))
        case "revoke":
            for key in world.hub.registry.keys(AGENT):
                world.hub.revoke_key(TENANT, key.key_id, now)
            world.hub.registry.add_key(TENANT, AGENT, KEY.public.openssh, "")
        case "restart":
            world.restart()
        case "clock":
            world.wall += CLOCK_SET_S
        case "late":
            world.pass_time(world.mono + HELD_UP_S)
        case "slow":
            deadline = world.deadline()
            assert deadline is not None
            world.pass_time(deadline)
        case _:
            raise AssertionError(f"nobody knows how to {kind}")


def _reset(wire: Wire, who: str) -> None:
    wire.up.clear()
    wire.down.clear()
    if who in ("both", "agent"):
        wire.send_down(Ended(reset=True))
    if who in ("both", "platform"):
        wire.send_up(Ended(reset=True))
    wire.is_silent_up = wire.is_silent_down = True
    if who in ("agent", "nobody") and wire.session is not None and wire.session.state is SessionState.HTTP:
        wire.session = None  # the façade of bytes has deadlines for requests, messages have none


def _silence(wire: Wire, way: str) -> None:
    """Nothing comes through any more: both ways, or one."""
    if not way:
        _reset(wire, "nobody")
    elif way == "down":
        wire.down.clear()
        wire.is_silent_down = True
    else:
        wire.up.clear()
        wire.is_silent_up = True
        if wire.session is not None and wire.session.state is SessionState.HTTP:
            wire.session = None  # as above


def _halve(world: World, wire: Wire, way: str) -> None:
    """Half of the next message comes in, and then a timer is due before the rest does."""
    if way == "down":
        world.agent.bytes_received(wire.conn, world.now)
        world.drain()
    else:
        assert wire.session is not None
        wire.session.bytes_received(world.now)
        world.drain_hub()
    deadline = world.deadline()
    assert deadline is not None
    world.pass_time(deadline)


def _answer(world: World, wire: Wire, status: int) -> None:
    """A request is answered otherwise than the platform would; 200 with an answer that says no."""
    asked = wire.up.pop(0)
    assert isinstance(asked, SendRequest | SendUpgrade)
    wire.send_down(SendResponse(wire.conn, asked.exchange, HttpResponse(status=status, body=b'{"valid":false}')))


def _pause(world: World, side: str) -> None:
    wire = _live(world)
    assert wire is not None
    assert wire.session is not None
    world.paused = (side, wire.conn)
    if side == "agent":
        world.agent.unsent(wire.conn, 1 << 20, world.now)
    else:
        wire.session.unsent(1 << 20, world.now)


# --- the way to a good end --------------------------------------------------------------------------------------------


def fair(world: World) -> Action | None:
    """What happens next if nothing more goes wrong: the network is fast, people answer, then time passes."""
    action = next(on_their_way(world), None)
    if action is None:
        patient = (each for each in by_people(world) if each.kind in ("start", "sign", "respond", "resume"))
        action = next(patient, None)
    if action is None and world.deadline() is not None:
        action = Action("wait")
    return action


def is_good(world: World) -> bool:
    """Whether all is as it should be in the end: stopped if that was asked, else online with every command answered."""
    if world.agent.is_stopped:
        return True
    if world.agent.state.link is not LinkState.UP or any(on_their_way(world)):
        return False
    wire = _live(world)
    is_online = wire is not None and world.hub.conn_of(AGENT) == wire.conn and world.hub.agent(TENANT, AGENT).online
    answered = all(world.hub.command(TENANT, command_id).is_over for command_id in world.sent)
    return is_online and answered and not world.running and not world.agent.outbox_size
