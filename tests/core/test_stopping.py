"""LINK-10: `stop`, given in every state of both regions, ends in time and leaves nothing behind.

A cell is a situation (how far a link, a renewal or an earlier stop has come) and a burden (what is owed at that time).
In each, every kind of stop is given to every kind of world, and the end compared with LINK-10, CMD-8 and LINK-8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

import pytest

from artcafe_proto import LocalProtocolError, OutboxFullError, RemoteProtocolError
from artcafe_proto.agent.states import AuthState, LinkState
from artcafe_proto.effects import (
    AgentMachineEffect,
    CancelSign,
    Connect,
    SendClose,
    SendPing,
    SendRequest,
    SendUpgrade,
    Sign,
)
from artcafe_proto.events import (
    AgentEvent,
    CallAnswered,
    CallFailed,
    CommandCancelled,
    CommandReceived,
    CommandRefused,
    Stopped,
)
from artcafe_proto.events.shared import AnyEvent
from artcafe_proto.policies import outbox
from support.scripted import Scripted, answer, token

DRAIN_S: Final = 30.0  # CMD-8
FLUSH_S: Final = 5.0  # CMD-8: what was cancelled is told …
CLOSE_S: Final = 5.0  # … LINK-8: and the link closed

# --- burdens ----------------------------------------------------------------------------------------------------------

RUNS: Final[dict[str, tuple[str, ...]]] = {
    "nothing": (),
    "a call": (),
    "a command runs": ("cmd-1",),
    "commands run and wait": ("cmd-1",),
    "a response is not settled": (),
    "the outbox is full": ("cmd-3",),
}
"""By burden: the commands that run, and have no end of their own."""
WAITS: Final = {"commands run and wait": ("cmd-2",)}
ANSWERED: Final = {"a response is not settled": ("cmd-1",), "the outbox is full": ("cmd-1", "cmd-2")}
BURDENS: Final = tuple(RUNS)
LIGHT: Final = ("nothing", "a call")
"""Nothing that a drain would wait for."""


class Scene:
    """An agent in a situation, under a burden."""

    def __init__(self, burden: str) -> None:
        self.burden = burden
        self.script = Scripted(max_concurrent=1 if burden in WAITS else 3)
        self.machine = self.script.machine
        self.conn = 0
        self.ended: list[int] = []
        """Connections whose end the agent was told."""
        self.calls: list[int] = []
        self.messages: tuple[str, ...] = ()
        self.drains_since: float | None = None

    def link(self, life_s: float = 900.0) -> None:
        """A link is up, with a token that lives so long."""
        self.conn = self.script.up(token(exp=self.script.wall + life_s, iat=self.script.wall))

    def load(self) -> None:
        """The burden comes over the link."""
        script, now = self.script, self.script.now
        for number in range(len((*RUNS[self.burden], *WAITS.get(self.burden, ()), *ANSWERED.get(self.burden, ())))):
            script.command(self.conn, f"cmd-{number + 1}")
        for command_id in ANSWERED.get(self.burden, ()):
            assert self.machine.respond(command_id, None, now)
        if self.burden == "the outbox is full":
            self.messages = tuple(self.machine.send_message({}, now) for _ in range(2))
            with pytest.raises(OutboxFullError):
                self.machine.send_message({}, now)
            script.command(self.conn, "cmd-4")
            assert script.expect(CommandRefused).code == "overloaded"
        assert self.machine.in_flight == RUNS[self.burden]
        assert self.machine.queued == WAITS.get(self.burden, ())
        script.drain()

    def call(self) -> None:
        """The application asks for something, and is not answered."""
        self.calls.append(self.machine.get_details(self.script.now))
        self.script.drain()

    def refused_call(self) -> None:
        """A call is answered with 401, and what it carried is no token any more (TOK-3)."""
        self.call()
        dialing = self.script.expect(Connect)
        self.machine.connected(dialing.conn, self.script.now, tls=dialing.tls)
        self.script.answer(self.script.expect(SendRequest), answer(401))

    def lose(self) -> None:
        """The link is cut."""
        self.end(self.conn)

    def end(self, conn: int) -> None:
        """A connection ends by itself."""
        self.ended.append(conn)
        self.machine.disconnected(conn, "cut", self.script.now)
        self.script.drain()

    def is_open(self, conn: int) -> bool:
        """Whether neither side has ended a connection."""
        return conn not in (*self.ended, *self.script.dropped())

    def drain(self) -> None:
        """A drain begins."""
        self.drains_since = self.script.mono
        self.machine.stop(self.script.now)
        self.script.drain()


# --- situations -------------------------------------------------------------------------------------------------------


def without_link(then: Callable[[Scripted], object] = lambda script: None, life_s: float = 900.0) -> Situation:
    """A link was up and is lost; on the way to the next one something comes about."""

    def come_about(scene: Scene) -> None:
        scene.link(life_s)
        scene.load()
        scene.lose()
        then(scene.script)

    return come_about


def beside_link(then: Callable[[Scripted], object]) -> Situation:
    """A link is up, and beside it something comes about."""

    def come_about(scene: Scene) -> None:
        scene.link(5.0)
        then(scene.script)
        scene.load()

    return come_about


def on_link(scene: Scene) -> None:
    scene.link()
    scene.load()


def on_link_without_token(scene: Scene) -> None:
    scene.link()
    scene.refused_call()
    scene.load()


def on_paused_link(scene: Scene) -> None:
    scene.link()
    scene.machine.unsent(scene.conn, 1 << 20, scene.script.now)
    scene.load()


def opening_without_token(scene: Scene) -> None:
    without_link(Scripted.verify)(scene)
    scene.refused_call()


def draining(scene: Scene) -> None:
    on_link(scene)
    scene.drain()


def draining_without_token(scene: Scene) -> None:
    on_link_without_token(scene)
    scene.drain()


def draining_without_link(scene: Scene) -> None:
    without_link()(scene)
    scene.drain()


def closing(scene: Scene) -> None:
    draining(scene)
    close(scene)


def closing_without_token(scene: Scene) -> None:
    draining_without_token(scene)
    close(scene)


def close(scene: Scene) -> None:
    """A drain comes to its closing handshake, at the latest when its time is over."""
    while scene.machine.state.link is not LinkState.CLOSING:
        due = scene.machine.deadline()
        assert due is not None
        scene.script.wait(due - scene.script.mono)


def stopped(scene: Scene) -> None:
    on_link(scene)
    scene.machine.stop(scene.script.now, drain=False)


Situation = Callable[[Scene], None]
SITUATIONS: Final[dict[str, tuple[AuthState, LinkState, Situation]]] = {
    "new": (AuthState.NONE, LinkState.DOWN, lambda scene: None),
    "waiting with a token": (AuthState.READY, LinkState.DOWN, without_link()),
    "waiting without a token": (
        AuthState.NONE,
        LinkState.DOWN,
        without_link(lambda script: script.answer(script.verify(), answer(401))),
    ),
    "connecting": (AuthState.CHALLENGING, LinkState.DOWN, without_link(Scripted.start, 1.0)),
    "challenging": (AuthState.CHALLENGING, LinkState.DOWN, without_link(Scripted.connect, 1.0)),
    "signing": (AuthState.SIGNING, LinkState.DOWN, without_link(Scripted.challenge, 1.0)),
    "verifying": (AuthState.VERIFYING, LinkState.DOWN, without_link(Scripted.sign, 1.0)),
    "connecting to upgrade": (AuthState.READY, LinkState.OPENING, without_link(Scripted.start)),
    "upgrading": (AuthState.READY, LinkState.OPENING, without_link(Scripted.verify)),
    "upgrading without a token": (AuthState.NONE, LinkState.OPENING, opening_without_token),
    "up": (AuthState.READY, LinkState.UP, on_link),
    "up without a token": (AuthState.NONE, LinkState.UP, on_link_without_token),
    "up, writing paused": (AuthState.READY, LinkState.UP, on_paused_link),
    "renewal connecting": (AuthState.READY, LinkState.UP, beside_link(Scripted.start)),
    "renewal challenging": (AuthState.READY, LinkState.UP, beside_link(Scripted.connect)),
    "renewal signing": (AuthState.READY, LinkState.UP, beside_link(Scripted.challenge)),
    "renewal verifying": (AuthState.READY, LinkState.UP, beside_link(Scripted.sign)),
    "renewal waiting": (
        AuthState.READY,
        LinkState.UP,
        beside_link(lambda script: script.answer(script.connect(), answer(500))),
    ),
    "draining": (AuthState.READY, LinkState.DRAINING, draining),
    "draining without a token": (AuthState.NONE, LinkState.DRAINING, draining_without_token),
    "draining without a link": (AuthState.READY, LinkState.OPENING, draining_without_link),
    "closing": (AuthState.READY, LinkState.CLOSING, closing),
    "closing without a token": (AuthState.NONE, LinkState.CLOSING, closing_without_token),
    "stopped": (AuthState.READY, LinkState.DOWN, stopped),
}
IMPOSSIBLE: Final = {
    **{("new", burden): "an agent that has not started owes nothing" for burden in BURDENS[1:]},
    **{
        (f"draining{how}", burden): "there is nothing to wait for: it closes, or has stopped"
        for how in ("", " without a token", " without a link")
        for burden in LIGHT
    },
    **{
        (f"closing{how}", "a response is not settled"): "the ping behind it goes unanswered first (LINK-7)"
        for how in ("", " without a token")
    },
    ("stopped", "a call"): "misuse",
}
CELLS: Final = [cell for cell in product(SITUATIONS, BURDENS) if cell not in IMPOSSIBLE]


def scene_of(situation: str, burden: str) -> Scene:
    scene = Scene(burden)
    auth, link, come_about = SITUATIONS[situation]
    come_about(scene)
    if burden == "a call":
        scene.call()
    scene.script.drain()
    assert scene.machine.state == (auth, link)
    return scene


# --- worlds -----------------------------------------------------------------------------------------------------------


class Mute:
    """Nothing is answered any more, and no handler ends."""

    settles = False

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.done: set[str] = set()
        """Commands whose handlers have ended."""

    def begin(self) -> None:
        """The stop was given."""

    def react(self, output: AgentMachineEffect | AgentEvent) -> None:
        """The agent said something."""


class Broken(Mute):
    """Every connection ends, none can be made, and the signer refuses."""

    def begin(self) -> None:
        scene = self.scene
        connects = [output.conn for output in scene.script.said if isinstance(output, Connect)]
        for conn in connects:
            if scene.is_open(conn):
                scene.end(conn)
        for output in list(scene.script.said):
            if isinstance(output, Sign):
                self.react(output)
        scene.script.drain()

    def react(self, output: AgentMachineEffect | AgentEvent) -> None:
        scene = self.scene
        match output:
            case Connect() if scene.is_open(output.conn):
                scene.ended.append(output.conn)
                scene.machine.connect_failed(output.conn, "refused", "nobody", scene.script.now)
            case Sign():
                scene.script.signed.append(output.request)
                scene.machine.sign_failed(output.request, "refused", scene.script.now)
            case _:
                pass


class Answering(Mute):
    """The platform, the network and the signer do what they are asked for; no handler ends."""

    settles = True

    def begin(self) -> None:
        script = self.scene.script
        self.scene.machine.unsent(self.scene.conn, 0, script.now)
        for output in list(script.said):  # late and repeated answers are harmless (LINK-9)
            self.react(output)

    def react(self, output: AgentMachineEffect | AgentEvent) -> None:
        script = self.scene.script
        match output:
            case SendPing():
                script.machine.bytes_received(output.conn, script.now)
                script.machine.pong_received(output.conn, output.payload, script.now)
            case SendClose():
                script.machine.close_received(output.conn, output.code, "", script.now)
            case _:
                script.comply(output)
        script.drain()


class Working(Answering):
    """… and every handler ends at once."""

    def begin(self) -> None:
        super().begin()
        for command_id in self.scene.machine.in_flight:
            if self.scene.machine.respond(command_id, None, self.scene.script.now):
                self.done.add(command_id)


WORLDS: Final[tuple[type[Mute], ...]] = (Mute, Broken, Answering, Working)
STOPS: Final = ("at once", "drain", "drain, then at once")


def live_on(scene: Scene, world: Mute, until: float) -> None:
    """Time passes until the agent has stopped."""
    script = scene.script
    for _ in range(1000):
        script.drain()
        while script.unseen:
            world.react(script.unseen.pop(0))
            script.drain()
        due = scene.machine.deadline()
        if due is None or due > until:
            return
        script.wait(due - script.mono)
    raise AssertionError("time does not pass")


# --- what is expected -------------------------------------------------------------------------------------------------


def ends_by(scene: Scene, world: Mute, begun_at: float, state: LinkState) -> float:
    """When a drain is over at the latest: LINK-10, CMD-8, and the deadlines of LINK-8."""
    now = scene.script.mono
    if isinstance(world, Working):
        return now
    runs = bool(RUNS[scene.burden])
    if isinstance(world, Answering):
        return begun_at + DRAIN_S if runs else now
    if isinstance(world, Broken):
        return begun_at + DRAIN_S if runs else now  # its one immediate try fails
    if scene.burden in LIGHT:
        return now + CLOSE_S if state in (LinkState.UP, LinkState.CLOSING) else now
    return begun_at + DRAIN_S + FLUSH_S + CLOSE_S


def unsettled(scene: Scene, world: Mute, stop: str, state: LinkState) -> set[str]:
    """The commands that `Stopped` names: accepted, not given back, and without a final response that was read."""
    burden = scene.burden
    queued = set(WAITS.get(burden, ())) if scene.drains_since is None else set[str]()
    answered = set(ANSWERED.get(burden, ()))
    runs = set(RUNS[burden])
    if stop == "at once" or not world.settles or state is LinkState.CLOSING or scene.machine.is_stopped:
        return runs | answered | queued
    return set() if stop == "drain" or isinstance(world, Working) else runs


def leftovers(scene: Scene) -> Iterator[str]:
    """What a stopped agent has left behind; there must be nothing."""
    said = scene.script.said
    events = [output for output in said if isinstance(output, AnyEvent)]
    if sum(isinstance(event, Stopped) for event in events) != 1 or not isinstance(events[-1], Stopped):
        yield "Stopped is not the last event, or not the only one"
    if scene.machine.deadline() is not None:
        yield "a timer"
    opened = Counter(output.conn for output in said if isinstance(output, Connect))
    if opened != Counter((*scene.ended, *scene.script.dropped())):
        yield "a connection that is open, or was ended twice"
    signing = {output.request for output in said if isinstance(output, Sign)} - set(scene.script.signed)
    if signing - {output.request for output in said if isinstance(output, CancelSign)}:
        yield "a signature that is asked for"
    calls = Counter(output.call for output in said if isinstance(output, CallAnswered | CallFailed))
    if calls != Counter(scene.calls):
        yield "a call that has no end, or two"


def bother(scene: Scene) -> None:
    """Whatever could still come in, comes."""
    machine, now = scene.machine, scene.script.now
    for output in list(scene.script.said):
        match output:
            case Connect():
                machine.connected(output.conn, now, tls=output.tls)
                machine.bytes_received(output.conn, now)
                machine.text_received(output.conn, b'{"type":"command","id":"cmd-9","data":{"command":"work"}}', now)
                machine.ping_received(output.conn, b"", now)
                machine.pong_received(output.conn, b"1", now)
                machine.unsent(output.conn, 1 << 20, now)
                machine.unsent(output.conn, 0, now)
                machine.close_received(output.conn, 1000, "", now)
                machine.peer_failed(output.conn, RemoteProtocolError(1002, "nonsense", "RFC 6455"), now)
                machine.peer_ended(output.conn, now)
                machine.connect_failed(output.conn, "refused", "late", now)
                machine.disconnected(output.conn, "late", now)
            case SendRequest() | SendUpgrade():
                machine.response_received(output.conn, output.exchange, answer(200, {}), now)
                machine.upgraded(output.conn, output.exchange, now)
            case Sign():
                machine.signed(output.request, b"signature", now)
                machine.sign_failed(output.request, "late", now)
            case CommandReceived():
                machine.respond(output.command_id, None, now)
            case _:
                pass
    machine.handle_timer(now)
    for drain in (True, False):
        machine.stop(now, drain=drain)
    with pytest.raises(LocalProtocolError):
        machine.start(now)


@pytest.mark.parametrize(("situation", "burden"), CELLS)
def test_link_10_a_stop_ends_in_time_and_leaves_nothing_behind(
    situation: str, burden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_UNSETTLED_RESPONSES", 3)
    monkeypatch.setattr(outbox, "MAX_UNSETTLED_MESSAGES", 2)
    for stop, world_kind in product(STOPS, WORLDS):
        scene = scene_of(situation, burden)
        check(scene, stop, world_kind(scene))


def check(scene: Scene, stop: str, world: Mute) -> None:
    """Give the stop, let the world go on, and look at what is left."""
    script, machine = scene.script, scene.machine
    cell: Any = (stop, type(world).__name__)
    state = machine.state.link
    left = unsettled(scene, world, stop, state)
    was_stopped, given_at = machine.is_stopped, script.mono
    begun_at = given_at if scene.drains_since is None else scene.drains_since
    if stop != "at once":
        if not was_stopped:
            left -= set(WAITS.get(scene.burden, ()))  # given back: CMD-9
        machine.stop(script.now)
        script.drain()
        deadline = ends_by(scene, world, begun_at, state)
        world.begin()
        live_on(scene, world, deadline if stop == "drain" else min(deadline, given_at + 1.0))
    if stop != "drain":
        machine.stop(script.now, drain=False)
    assert machine.is_stopped, cell
    script.drain()
    assert list(leftovers(scene)) == [], cell
    (end,) = (output for output in script.said if isinstance(output, Stopped))
    assert set(end.unsettled) == left, cell
    cancelled = Counter(output.command_id for output in script.said if isinstance(output, CommandCancelled))
    assert cancelled == Counter(set(RUNS[scene.burden]) - world.done), cell
    said = len(script.said)
    bother(scene)
    script.drain()
    assert len(script.said) == said, cell
    assert machine.deadline() is None, cell


def test_every_state_of_both_regions_is_stopped_in_or_cannot_be() -> None:
    reached = {(auth, link) for auth, link, _ in SITUATIONS.values()}
    logins = (AuthState.CHALLENGING, AuthState.SIGNING, AuthState.VERIFYING)
    beyond_a_token = set(product(logins, set(LinkState) - {LinkState.DOWN}))  # a renewal's login is its own
    assert reached | beyond_a_token == set(product(AuthState, LinkState))
    assert not reached & beyond_a_token
    assert len(CELLS) == len(SITUATIONS) * len(BURDENS) - len(IMPOSSIBLE) == 130


def test_cmd_8_after_a_stop_nothing_more_is_taken_also_before_the_drain() -> None:
    script = Scripted()
    script.machine.start(script.now)
    script.machine.stop(script.now)
    for late in (
        lambda: script.machine.send_message({}, script.now),
        lambda: script.machine.get_details(script.now),
        lambda: script.machine.put_status("busy", script.now),
    ):
        with pytest.raises(LocalProtocolError, match="stopped"):
            late()
    assert script.expect(Stopped).messages == ()
    assert script.machine.outbox_size == 0
