"""THE abstraction: what of a world tells it from others. Two worlds of which it says the same are walked as one.

**Why there has to be one.** A world holds clocks, ids and counters, so that hardly any two are equal, and a walk over
worlds would never end. Of all worlds with one abstraction the walk goes on from the one it meets first, which stands
for the others. So what is forgotten here must not decide what a machine does, up to a renaming; where it may, the
walk can miss something, and that is said below.

**How it is tested.** Every so often the walk goes on from a second world of a state, too. Where no time passes, that
has to lead to the very same states, or the walk fails: something is missing here. Where time passes it may lead
elsewhere, and is walked on from there.

**What is kept.** The states of all regions; which exchange is under way, on which connection, and how far; the login
and the renewal; the token (there, used, usable, of a key that is still registered); for every command its entry in the
ledger, its place among those that wait and run, in the outbox and in the hub's line; both ends of the link (writable,
what was told, which pings are out); the status that was declared; all messages on their way, in order, by kind; which
timers are set; what was reported too lately to be reported again, or sent too lately for its link to have lived with
it; whether clocks have parted unnoticed; what the invariants have to remember of the past; and what may still happen to
this world: commands, calls, stops, the fault.

**What is forgotten, and why that is sound.**

- *Ids* of connections, exchanges, signature requests, responses, challenges, tokens: machines compare them for equality
  only. Whatever carries an old one is told apart as that: connections by their part in the agent, a challenge by
  whether this platform made it, a token by whether its key is there.
- *Texts* for people, headers, bodies: nothing reads them but what is kept here as a kind.
- *Epochs* of links: compared with the current one only, so `is this the current session` is kept in their place.
- *Numbers of pings*: compared with the last one of their link, so the distance to that is kept, up to 2.

**What is forgotten, and what that may miss.**

- *Time*: of a timer it is kept that it is set and whether it is due by now, not when. The order of two timers is
  explored as far as every timer set is waited for from every quiet state, at the distance that the first world met had.
  Whether two timers that depend on different histories can fire in an order that no first world has, is not seen; nor
  are sums of waits (backoff, the day after which the ledger forgets, a challenge's expiry). Those are the simulation's,
  which runs random worlds on one clock.
- *Counters* that decide at a number: failures in a row (they only lengthen waits), bad messages in a row, replies that
  wait (limits far beyond two commands). `fruitless_links` is kept, since it decides at 3.
- *Close codes* are kept as the kind of failure they are read as.
- *Sizes*: nothing here is near a limit in bytes.
- *A connection between two requests* has no deadline at the platform: that one belongs to the façade of bytes.
"""

# A walk tells states apart that the machines show nobody: here, and nowhere else in this folder, it looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from artcafe_proto.effects import (
    AcceptUpgrade,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
)
from artcafe_proto.instants import BEFORE_ALL
from artcafe_proto.limits import STATUS_INTERVAL_S, SUDDEN_END_S
from artcafe_proto.platform.states import SessionState
from artcafe_proto.policies.backoff import close_failure
from support.virtual import AGENT, TENANT
from walk.world import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artcafe_proto import PlatformSession
    from artcafe_proto.agent.dialing import Dialer
    from artcafe_proto.agent.login import Login
    from artcafe_proto.effects import Send
    from artcafe_proto.exchanges import HttpRequest
    from artcafe_proto.links import LinkEnd
    from artcafe_proto.policies.ledger import Entry, Ledger
    from artcafe_proto.policies.outbox import Item, Outbox
    from artcafe_proto.policies.status import StatusReports
    from artcafe_proto.policies.tokens import Token
    from walk.world import Wire, World

Abstract = tuple[Any, ...]
_PINGS_APART = 2


def abstract(world: World) -> Abstract:
    """What tells this world from others, the budget of what may still happen to it included."""
    return (budget(world), situation(world))


def budget(world: World) -> Abstract:
    """What may still happen."""
    return (
        world.faults,
        world.commands,
        world.calls,
        world.messages,
        world.statuses,
        world.stops,
        world.listeners,
    )


def situation(world: World) -> Abstract:
    """How things stand."""
    names = wire_names(world)
    return (
        _agent(world),
        _hub(world),
        tuple((names[conn], *_wire(world, wire)) for conn, wire in world.wires.items()),
        tuple(world.running),
        None if world.listener is None else (world.listener._answer_state.name, world.listener.unread_bytes > 0),
        world.paused and (world.paused[0], names[world.paused[1]]),
        tuple((name, due <= world.mono) for name, due in sorted(timers(world).items())),
        _history(world),
    )


def circumstances(world: World) -> Iterator[str]:
    """What is worth to be met, of `CIRCUMSTANCES`, and holds in this world."""
    desk, link = world.agent._desk, world.agent._messaging.link
    outbox = desk.outbox
    if outbox.is_assuming:
        yield "a peer that does not pong"
    if any(item.fruitless_links for item in outbox._waiting):
        yield "a fruitless link"
    if link is not None and not link.outflow.has_room and outbox.waiting:
        yield "a paused outbox with items"
    if outbox.messages:
        yield "application messages"
    if world.agent._messaging.declared != "online":
        yield "a declared status"
    if any(wire.is_silent_up != wire.is_silent_down for wire in world.wires.values()):
        yield "a connection that is silent one way"


CIRCUMSTANCES: Final = (
    "a peer that does not pong",
    "a fruitless link",
    "a paused outbox with items",
    "application messages",
    "a declared status",
    "a connection that is silent one way",
)


def wire_names(world: World) -> dict[int, str]:
    """Every connection by its part in the agent."""
    connector, link = world.agent._connector, world.agent._messaging.link
    parts = {
        connector._dialer.conn: "dialed",
        connector._renewal.dialer.conn: "renewal",
        connector._calls.dialer.conn: "call",
        None if link is None else link.conn: "link",
    }
    old = [conn for conn in world.wires if conn not in parts]
    return {conn: parts.get(conn) or f"old {old.index(conn)}" for conn in world.wires}


def entries(ledger: Ledger) -> dict[str, Entry]:
    """What a ledger knows, by command id."""
    return ledger.entries


def timers(world: World) -> dict[str, float]:
    """All timers that are set and mean something, by name: when they are due."""
    agent, delivery = world.agent, world.hub._delivery
    found = {f"agent {reason.name}": due for reason, due in agent._timers.items()}
    for conn, name in wire_names(world).items():
        session = world.wires[conn].session
        if session is not None:
            found |= {f"{name} {reason.name}": due for reason, due in session.timers.items()}
    if world.listener is not None:
        found |= {f"listener {reason.name}": due for reason, due in world.listener.timers.items()}
    pending = [command.expires_at for line in delivery._lines.values() for command in line.pending.values()]
    if pending:
        found["hub EXPIRY"] = min(pending)
    if delivery._held:
        found["hub HELD"] = delivery._held[0][0]
    return found


def _history(world: World) -> Abstract:
    """What the invariants remember: else a machine that has forgotten something could not be told from a new one."""
    watch, outbox = world.watch, world.agent._desk.outbox
    commands = tuple((key, key in watch.executed, key in watch.answered, key in watch.read) for key in world.sent)
    return (commands, tuple(message_id in watch.read for message_id in outbox.unsettled_messages))


# --- the agent --------------------------------------------------------------------------------------------------------


def _agent(world: World) -> Abstract:
    agent = world.agent
    last, connector, messaging = agent._turns.now, agent._connector, agent._messaging
    renewal, calls, link = connector._renewal, connector._calls, messaging.link
    return (
        agent._rules.life.state.name,
        messaging.region.state.name,
        _login(world, connector._login),
        _dialer(world, connector._dialer),
        _login(world, renewal._login),
        _dialer(world, renewal.dialer),
        renewal._not_before > world.mono,
        tuple(call.is_again for call in calls._calls),
        calls._carried is not None and calls._carried is connector._login.token,
        _dialer(world, calls.dialer),
        connector._retried_at_once,
        messaging.declared,
        _desk(world),
        None if link is None else (_end(link), link._told, *_reports(world, link._reports)),
        last is not BEFORE_ALL and abs((world.wall - world.mono) - (last.wall - last.mono)) > 1.0,
    )


def _reports(world: World, reports: StatusReports) -> Abstract:
    """What waits, and of what too little time has passed to report it again."""
    too_early = tuple(key for key, at in reports._sent_at.items() if world.mono < at + STATUS_INTERVAL_S)
    return (tuple(reports._pending), too_early)


def _login(world: World, login: Login) -> Abstract:
    wanted = [sign.request for sign in world.signing]
    return (
        login.state.name,
        login._sign_request in wanted,
        login._challenge != "" and _is_of_now(world, login._challenge),
        _token(world, login.token),
    )


def _token(world: World, token: Token | None) -> Abstract | None:
    if token is None:
        return None
    is_known = _key_of(token.value) in _keys(world)
    return (token.used, token.usable(world.mono), is_known, token.value in world.watch.rejected)


def _keys(world: World) -> set[str]:
    return {key.key_id for key in world.hub.registry.keys(AGENT)}


@cache
def _key_of(token: str) -> str:
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["key_id"]


def _is_of_now(world: World, challenge: str) -> bool:
    """Whether the current platform made the challenge."""
    head, _, mac = challenge.rpartition(".")
    return world.hub.authenticator._book._mac(head, AGENT, TENANT) == mac


def _dialer(world: World, dialer: Dialer) -> Abstract:
    exchange = dialer._exchange
    return (
        None if exchange is None else _request(world, exchange.request),
        dialer._region.state.name,
        dialer._may_reuse,
        dialer._is_reused,
        dialer._heard,
        dialer._reuse_failed,
    )


def _desk(world: World) -> Abstract:
    desk = world.agent._desk
    return (
        tuple((key, running.answered) for key, running in desk.running.items()),
        tuple(desk.queued),
        desk._draining,
        tuple(
            (key, entry.state.name, None if entry.body is None else _text(entry.body), entry.is_replacement)
            for key, entry in desk._ledger.entries.items()
        ),
        _outbox(world, desk.outbox),
    )


def _outbox(world: World, outbox: Outbox) -> Abstract:
    link = world.agent._messaging.link
    return (
        tuple((*_item(item), world.mono - item.sent_at <= SUDDEN_END_S) for item in outbox._sent),
        tuple(_item(item) for item in outbox._waiting),
        None if outbox._ping is None or link is None else _apart(link, outbox._ping),
        outbox._covered if outbox._ping is not None else 0,
        outbox.has_ponged,
        outbox.is_assuming,
        outbox._left_at is not None,
        outbox._group,
        None if outbox._held is None else _item(outbox._held),
        None if outbox._tried is None else _item(outbox._tried),
    )


def _item(item: Item) -> Abstract:
    return (_text(item.payload), item.fruitless_links)


def _end(link: LinkEnd) -> Abstract:
    liveness = link.liveness
    return (
        link.outflow.has_room,
        link.outflow.unsent > 0,
        liveness.answers_pings,
        liveness._ping_sent_at is not None,
        _apart(link, liveness.answered),
        liveness._paused_at is not None,
        link._owed_pong is not None,
        tuple(_text(reply) for reply in link._replies),
    )


def _apart(link: LinkEnd, number: int) -> int:
    return min(link.liveness.pings - number, _PINGS_APART)


# --- the platform -----------------------------------------------------------------------------------------------------


def _hub(world: World) -> Abstract:
    delivery = world.hub._delivery
    presence = world.hub._links.presence(AGENT)
    line, window = delivery._lines.get(AGENT), presence.window
    commands = [world.hub.command(TENANT, command_id) for command_id in world.sent]
    return (
        presence.online,
        presence.session is not None,
        tuple((command.state.name, command.response is not None, command.attempts > 0) for command in commands),
        None if line is None else tuple(line.pending),
        None
        if window is None
        else (
            tuple(command_id for _, command_id in sorted(window.to_send)),
            tuple(sorted(window.unanswered)),
            window.is_closed,
            window.limit,
        ),
    )


def _session(world: World, session: PlatformSession) -> Abstract:
    return (
        session.state.name,
        session.linked is not None and session.linked.presence.session is session,
        session.linked is not None and session.linked.key_id in _keys(world),
        None if session._link is None or session.state is not SessionState.UP else _end(session._link),
        session.is_reading_paused,
        abs((world.wall - world.mono) - session._clock_offset_s) > 1.0,
    )


# --- what is on its way -----------------------------------------------------------------------------------------------


def _wire(world: World, wire: Wire) -> Abstract:
    session = wire.session
    agent_link = world.agent._messaging.link
    if agent_link is not None and agent_link.conn != wire.conn:
        agent_link = None  # what comes on this connection is for nobody, whatever its number
    platform_link = None if session is None else session._link
    return (
        wire.is_held,
        wire.was_opened,
        wire.is_silent_up,
        wire.is_silent_down,
        None if session is None else _session(world, session),
        tuple(_message(world, message, agent_link, platform_link) for message in wire.up),
        tuple(_message(world, message, platform_link, agent_link) for message in wire.down),
    )


def _message(world: World, message: Send | Ended, sender: LinkEnd | None, receiver: LinkEnd | None) -> object:
    match message:
        case SendRequest() | SendUpgrade():
            return _request(world, message.request)
        case SendResponse():
            return ("response", message.response.status, _secret(world, message.response.body))
        case AcceptUpgrade():
            return "101"
        case SendText():
            return _text(message.payload)
        case SendPing():
            return ("ping", None if sender is None else _apart(sender, int(message.payload)))
        case SendPong():
            number = int(message.payload or b"0")
            return ("pong", None if receiver is None or not number else _apart(receiver, number))
        case SendClose():
            failure = close_failure(message.code, "")
            return ("close", failure.kind.name, failure.close_code in (1007, 1009))
        case Ended():
            return ("ended", message.reset)
        case _:
            raise AssertionError("here a platform writes whole answers")


def _request(world: World, request: HttpRequest) -> Abstract:
    token = (request.header("authorization") or "").removeprefix("Bearer ")
    carried = (_key_of(token) in _keys(world), token in world.watch.rejected) if token else None
    return (request.target, carried, _secret(world, request.body))


def _secret(world: World, body: bytes) -> object:
    """What decides of a body: whether the challenge or the token in it is of any use."""
    content: dict[str, Any] = json.loads(body) if body else {}
    if content.get("challenge"):
        return ("challenge", _is_of_now(world, content["challenge"]))
    if content.get("token"):
        return ("token", _key_of(content["token"]) in _keys(world))
    return content.get("valid")


@cache
def _text(payload: bytes) -> Abstract:
    envelope = json.loads(payload)
    data = envelope["data"]
    match envelope["type"]:
        case "command":
            return ("command", envelope["id"])
        case "response":
            return ("response", data["command_id"], data["status"], data.get("code"))
        case "message":
            return ("message",)
        case kind:
            return (kind, data["status"])
