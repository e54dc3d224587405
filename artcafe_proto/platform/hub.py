"""The hub: what spans the connections of a platform, in memory, without a socket or a clock.

It holds the registry, authenticates, fences links by epoch, and delivers commands. Every connection has a
`PlatformSession` that reports to the hub. The driver has one thing to drain and one deadline to keep for all of them:
the hub's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from artcafe_proto import misuse
from artcafe_proto.errors import ApiError, LocalProtocolError
from artcafe_proto.events import AgentOffline, RequestFailed
from artcafe_proto.instants import BEFORE_ALL, sound_instant
from artcafe_proto.limits import MAX_COMMAND_EXPIRES_IN_S, RETRY_MESSAGE_AFTER_S
from artcafe_proto.messages import STATUSES, MessageIds, StatusData, encode, encode_object
from artcafe_proto.misuse import plain_seconds, plain_text
from artcafe_proto.platform.agents import Agent
from artcafe_proto.platform.authenticator import Authenticator, Principal
from artcafe_proto.platform.commands import Command, check_size, command_data
from artcafe_proto.platform.connections import Connections
from artcafe_proto.platform.delivery import Delivery
from artcafe_proto.platform.held import HeldOutputs
from artcafe_proto.platform.links import LinkedAgent, Links
from artcafe_proto.platform.records import (
    SCHEMA_VERSION,
    AgentRecord,
    Change,
    CommandRecord,
    Kind,
    LifeRecord,
    SchemaRecord,
    check_agent,
)
from artcafe_proto.platform.registry import Registry
from artcafe_proto.platform.storing import Storing
from artcafe_proto.platform.traffic import Traffic
from artcafe_proto.platform.watches import Watches
from artcafe_proto.records import Keeps, pack
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from artcafe_proto.config import PlatformConfig
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.events import HubEvent
    from artcafe_proto.exchanges import HttpRequest
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.outputs import PlatformOutputs
    from artcafe_proto.platform.connections import Drained, PlatformOutput
    from artcafe_proto.platform.links import Carrier
    from artcafe_proto.records import Record

__all__ = ["PlatformHub"]


class PlatformHub(Secretive):
    """One platform: its `config`, and its `registry`, which adds tenants, agents and keys. What connections call of it,
    from `outputs_of` to `link_ended`, is not for others. Not thread-safe; not for use across a fork.
    """

    @forgetful
    def __init__(
        self,
        config: PlatformConfig,
        *,
        rng: Random,
        signing_seed: bytes,
        restored: Iterable[Record] = (),
        keeps: Keeps = Keeps.NOTHING,
        now: Instant | None = None,
    ) -> None:
        """`signing_seed` are the 32 bytes of the Ed25519 key that signs tokens (TOK-5): keep them across restarts.

        `restored` is what a store holds, or `records` of an earlier hub gave; with it give `now`, the moment of this
        one's start. Raises LocalProtocolError without it, and for records of another schema or that contradict each
        other; DamagedRecordError for those that are not what was stored. `keeps`: whether there is a store (PLAT-5).
        """
        self.config = config
        self.rng = rng
        self._message_ids = MessageIds(rng)
        self._now = BEFORE_ALL if now is None else sound_instant(now)
        restored = tuple(restored)
        if (restored or keeps is Keeps.RECORDS) and now is None:
            raise LocalProtocolError("expected the moment of the start where records are kept: commands expire by it")
        self._storing = Storing(restored, keeps)
        self._events = self._storing.events
        self._state = self._storing.state
        began_at = None if now is None else self._now.wall
        self._storing.put(Change(Kind.SCHEMA, 0, SchemaRecord(SCHEMA_VERSION)))
        self._storing.put(Change(Kind.LIFE, self._state.next_n(Kind.LIFE), LifeRecord(began_at)))
        self._links = Links(self._state.life)
        self._connections = Connections(self._storing.holders.by_conn)
        self._touched = self._connections.touched
        self.registry: Final = Registry(self._state, self._put_new, rng)
        self.authenticator: Final = Authenticator(config, self.registry, self._emit, signing_seed=signing_seed, rng=rng)
        self.watches: Final = Watches(rng, self.command, self.touch, self._storing.barrier)
        self._delivery = Delivery(self._state, self._links, self._storing.put, self._emit, window=config.window)
        self.traffic: Final = Traffic(self._links, self._delivery, self._emit, self._storing.keeping)
        if now is not None:
            self._delivery.restore(self._now)

    # --- what is stored -----------------------------------------------------------------------------------------------

    def _put_new(self, change: Change) -> None:
        self.check_store()
        self._storing.put(change)

    def records(self) -> tuple[Record, ...]:
        """All that is to outlive this process, as it is now, for the `restored` of the next hub."""
        return tuple(pack(*change) for change in self._state.records())

    def persisted(self, batch: int, now: Instant) -> None:
        """The records of a `Persist` are stored: what waited for them leaves. Late and repeated calls are harmless."""
        misuse.check_number(batch, "a batch")
        now = self.look_at_clock(now)
        conns = list(self._storing.holders.by_conn)
        if self._storing.persisted(batch, now.mono):
            for conn in conns:
                self.touch(conn)
            for agent_id in self._delivery.stored_up_to(batch):
                self.traffic.send_on(agent_id, now)

    def persist_failed(self, batch: int, reason: PersistFailure, now: Instant) -> None:
        """They could not be stored: `full`, or `unavailable` for another reason. The batch is handed out again."""
        misuse.check_number(batch, "a batch")
        misuse.check_persist_failure(reason)
        self._storing.persist_failed(batch, reason, self.look_at_clock(now).mono)

    @property
    def barrier(self) -> int:
        """The batch in which what was put last is stored; 0 if nothing is. What shows it waits for that (`respond`)."""
        return self._storing.barrier()

    @property
    def stored(self) -> int:
        """The last batch that is stored."""
        return 0 if self._storing.keeping is None else self._storing.keeping.stored

    @property
    def unstored(self) -> int:
        """How many records are not stored."""
        return 0 if self._storing.keeping is None else self._storing.keeping.unstored

    def check_store(self) -> None:
        """Raise ApiError 503 while the store takes no new work, and nothing that is stored is to be shown (PLAT-5)."""
        self._storing.check()

    def batch_of(self, agent_id: str) -> int:
        """The batch that a login of this agent waits for."""
        return self._storing.batch_of(agent_id)

    # --- from sessions ------------------------------------------------------------------------------------------------

    def outputs_of(self, conn: int) -> PlatformOutputs:
        """The outputs of a connection that is to be admitted."""
        return self._storing.outputs_of(conn)

    def peer_is_gone(self, conn: int, now: Instant) -> None:
        """An input of a connection that has ended: what is held for it goes nowhere."""
        self.input_of(conn, now)
        if (outputs := self._storing.holders.by_conn.get(conn)) is not None:
            outputs.discard()

    def look_at_clock(self, now: Instant) -> Instant:
        """The moment that a reading counts for (see `Instant`), now the hub's last. Raises LocalProtocolError."""
        if now is self._now:
            return now
        self._now = now = sound_instant(now, self._now)
        return now

    def check_accepted(self, conn: int, address: str | None) -> None:
        """Raise LocalProtocolError for what `admit` does not take, such as the number of an open connection."""
        misuse.check_accepted(conn, address)
        self._connections.check_free(conn)
        if self.barrier and not self.stored:
            raise LocalProtocolError("expected the first batch to be stored before anybody is served (PLAT-5)")

    def admit(self, conn: int, connection: Drained) -> None:
        """A connection was accepted."""
        self._connections.add(conn, connection)

    def touch(self, conn: int) -> None:
        """Something has happened to a connection: the next drain takes its outputs and looks at its timers."""
        self._touched[conn] = None

    def input_of(self, conn: int, now: Instant) -> Instant:
        """An input of a connection begins: `look_at_clock` and `touch` in one. Raises LocalProtocolError."""
        if now is not self._now:
            now = self.look_at_clock(now)
        self._touched[conn] = None
        return now

    @property
    def now(self) -> Instant:
        """The last moment that an input was given."""
        return self._now

    def request_failed(self, method: str, error: Exception) -> None:
        """A request could not be answered for a mistake of ours."""
        self._emit(RequestFailed(method, error))

    def _emit(self, event: HubEvent) -> None:
        """Something has happened: for the driver, and for the tenants that watch."""
        self._storing.emit(event)
        agent = self._state.agent(event.agent_id)
        self.watches.heard(event, None if agent is None else agent.tenant_id, self.now)

    def link_requested(self, session: Carrier, agent_id: str, request: HttpRequest, now: Instant) -> None:
        """A session's agent asks for its link. Raises ApiError, as for a request."""
        agent, key_id = self.authenticator.linking_agent(request, agent_id, session.address, now)
        self._open_link(session, agent, key_id, now)

    def link_opened(self, session: Carrier, agent_id: str, now: Instant) -> None:
        """A session's agent has its link already. Raises ApiError 404 for an agent that is not registered."""
        agent = self.registry.find(agent_id)
        if agent is None:
            raise ApiError(404, "agent_not_found", "no such agent")
        self._open_link(session, agent, None, now)

    def _open_link(self, session: Carrier, agent: AgentRecord, key_id: str | None, now: Instant) -> None:
        """It takes the place of an older one (PLAT-6)."""
        older = self._links.presence(agent.agent_id).session
        session.linked = self._links.open(session, agent, key_id)
        if isinstance(session.outputs, HeldOutputs):
            session.outputs.presence = session.linked.presence
        if older is not None and older.linked is not None:
            replaced = f"replaced by a newer connection{session.origin}"
            self._offline(older.linked, replaced)
            older.close(4409, replaced, now)

    def link_ended(self, session: Carrier, reason: str) -> None:
        """A link is over. That of an older epoch never touches the newer one's state (PLAT-6)."""
        linked = session.linked
        if linked is not None and linked.presence.session is session:
            linked.presence.session = None
            self._offline(linked, reason)

    def _offline(self, linked: LinkedAgent, reason: str) -> None:
        if linked.presence.online:
            linked.presence.status = "offline"
            linked.presence.window = None
            self._emit(AgentOffline(linked.record.agent_id, linked.epoch.number, reason))

    # --- from tenants (PLAT-2 … PLAT-4) -------------------------------------------------------------------------------

    def principal(self, request: HttpRequest, now: Instant, address: str | None = None) -> Principal:
        """Who makes a request (PLAT-1). Raises ApiError 400 or 401, and 429 after too many failures from `address`.

        `address` is what the connection has as its `address`. Without one the attempts are not limited.
        """
        misuse.check_http_request(request)
        misuse.check_address(address)
        return self.authenticator.principal(request, self.look_at_clock(now), address)

    def revoke_key(self, tenant_id: str, key_id: str, now: Instant) -> None:
        """End a key, its tokens and its link (TOK-6). Raises ApiError 404."""
        misuse.check_text(tenant_id, "a tenant's id")
        misuse.check_text(key_id, "a key's id")
        now = self.look_at_clock(now)
        key = self.registry.remove_key(tenant_id, key_id)
        session = self._links.carrier(key.agent_id)
        if session is not None and session.linked is not None and session.linked.key_id == key_id:
            session.close(4403, "the key was revoked", now)

    def agent(self, tenant_id: str, agent_id: str) -> Agent:
        """A tenant's agent, as it is now (PLAT-3). Raises ApiError 404, also for another tenant's."""
        return self.shown(self.registry.agent(tenant_id, agent_id))

    def shown(self, agent: AgentRecord) -> Agent:
        """A registered agent, as it is now."""
        check_agent(agent)
        return Agent.of(agent, self._links.find(agent.agent_id))

    def conn_of(self, agent_id: str) -> int | None:
        """The number of the connection that carries an agent's link; None if it has none."""
        misuse.check_text(agent_id, "an agent's id")
        session = self._links.carrier(agent_id)
        return None if session is None else session.conn

    def set_status(self, tenant_id: str, agent_id: str, status: AgentStatus, now: Instant) -> Agent:
        """An agent said over HTTP what it would say in a status message (STAT-2). Raises ApiError 404 or 422."""
        agent = self.registry.agent(tenant_id, agent_id)
        if status not in STATUSES:
            raise ApiError(422, "invalid_body", f"expected a status {', '.join(STATUSES)}")
        now = self.look_at_clock(now)
        self._links.presence(agent_id).last_seen = now.wall
        self.traffic.status_said(agent_id, StatusData(plain_text(status)))
        return self.shown(agent)

    def send_command(
        self,
        tenant_id: str,
        agent_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        command_id: str | None = None,
        now: Instant,
    ) -> Command:
        """Accept a command for an agent, online or not (PLAT-4). Raises ApiError 404, 409, 413, 422 or 429."""
        agent = self.registry.agent(tenant_id, agent_id)
        expires_in_s = self.config.command_expires_in if expires_in_s is None else plain_seconds(expires_in_s)
        if not 0 < expires_in_s <= MAX_COMMAND_EXPIRES_IN_S:
            limit = f"{MAX_COMMAND_EXPIRES_IN_S:.0f}"
            raise ApiError(422, "invalid_body", f"expected expires_in to be seconds above 0 and at most {limit}")
        data = command_data(command, {} if args is None else args, timeout_s, command_id)
        check_size(data.args, self.config.max_message_size)
        now = self.look_at_clock(now)
        command_id = self._message_ids.new("command") if command_id is None else plain_text(command_id)
        record = CommandRecord(agent.tenant_id, agent.agent_id, command_id, data, now.wall, now.wall + expires_in_s)
        self.check_store()
        accepted = self._delivery.accept(record, now.mono + expires_in_s)
        self.traffic.send_on(agent_id, now)
        return self._delivery.shown(accepted)

    def command(self, tenant_id: str, command_id: str, agent_id: str | None = None) -> Command:
        """A command's state and response (PLAT-4). Raises ApiError 404, or 409 where only `agent_id` tells which."""
        return self._delivery.command(tenant_id, command_id, agent_id)

    def send_message(self, tenant_id: str, agent_id: str, data: dict[str, Any], now: Instant) -> str:
        """Send an application message to an agent that is online.

        Raises ApiError 404, 409 if it is not online, 413 or 422, or 503 while too much on its link has not left.
        """
        self.registry.agent(tenant_id, agent_id)
        presence = self._links.find(agent_id)
        session = None if presence is None or not presence.online else presence.session
        if session is None:
            raise ApiError(409, "agent_offline", "the agent is not online; messages are not kept")
        try:
            raw_data = encode_object(data, "data")
        except LocalProtocolError as error:
            raise ApiError(422, "invalid_body", str(error)) from None
        check_size(raw_data, self.config.max_message_size)
        if not session.has_room:
            reason = "the agent does not keep up with what it is sent; messages are not kept"
            raise ApiError(503, "agent_congested", reason, retry_after_s=RETRY_MESSAGE_AFTER_S)
        now = self.look_at_clock(now)
        message_id = self._message_ids.new("message")
        session.deliver(encode("message", message_id, raw_data, now.wall), now)
        return message_id

    # --- time and outputs ---------------------------------------------------------------------------------------------

    def handle_timer(self, now: Instant) -> None:
        """Time has passed, for the hub and for all connections. Afterwards `deadline` is None or later than `now.mono`.

        Before it, call `unsent` of each connection whose last report was above 0.
        """
        now = self.look_at_clock(now)
        for agent_id in self._delivery.handle_timer(now):
            self.traffic.send_on(agent_id, now)
        self._connections.handle_timer(now)
        self._storing.look(now.mono)
        self._refuse_held(now)

    def _refuse_held(self, now: Instant) -> bool:
        """Nobody is to wait any longer for a store that has stalled. Returns whether anybody did."""
        given_up = self._storing.given_up()
        for outputs in given_up:
            carrier = None if outputs.presence is None else outputs.presence.session
            if outputs.holds_link and carrier is not None:
                carrier.close(1013, "the store is slow", now)
            else:
                outputs.refuse()
            self.touch(outputs.conn)
        return bool(given_up)

    def deadline(self) -> float | None:
        """When to call `handle_timer`, in monotonic seconds; None if nothing is waited for. Call it after a drain.

        A wait of more than 5 s may last up to 0.25 s longer: thousands of connections then share one deadline.
        """
        mono = self._now.mono
        times = (self._delivery.deadline, self._connections.deadline(mono), self._storing.deadline)
        return min([each for each in times if each is not None], default=None)

    def next_output(self) -> PlatformOutput | None:
        """The next output of the hub or of a connection. After each call of any of them, call it until it returns None.

        A connection has the effects of its kind. Events of the hub come first: what a driver does on an event, such as
        sending a command, then leaves together with the rest.
        """
        while not self._events:
            output = self._connections.next_output(self._now.mono)
            if output is not None:
                return output
            if not (self._events or self._refuse_held(self._now)):
                return self._storing.next_persist(self._now.mono)
        return self._events.popleft()
