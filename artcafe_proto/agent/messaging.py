"""What an agent says and hears on a link: heartbeats, status, commands, responses, messages (HB, STAT, CMD, MSG).

It lives on one link after another, however they are come by: nothing here knows HTTP, tokens or connections that are no
links. Commands, responses and what the application declared outlive a link; `link.py` has what ends with it. What a
link ends of is returned to the joint rules as a `Failure`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.agent.commands import CommandDesk
from artcafe_proto.agent.dialing import LINK_TIMERS, AgentTimer
from artcafe_proto.agent.journal import STALLS
from artcafe_proto.agent.link import AgentLink
from artcafe_proto.agent.states import LINK, LinkState
from artcafe_proto.damaged import read_command_id
from artcafe_proto.effects import Disconnect
from artcafe_proto.errors import LocalProtocolError, OutboxFullError, RemoteProtocolError
from artcafe_proto.events import LinkClosing, MessageReceived, PeerViolation, UnknownReceived
from artcafe_proto.messages import (
    HEARD_BY_AGENTS,
    MessageIds,
    decode_envelope,
    decode_sound_command,
    encode,
    encode_object,
)
from artcafe_proto.policies.backoff import Failure, FailureKind
from artcafe_proto.policies.link_ages import LinkAges
from artcafe_proto.policies.liveness import Verdict
from artcafe_proto.policies.outbox import Item
from artcafe_proto.policies.outflow import GRANT_S
from artcafe_proto.policies.status import DeclaredStatus, outranking
from artcafe_proto.regions import Region

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.agent.commands import Accepted
    from artcafe_proto.agent.journal import Journal
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus, Envelope
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.outbox import SettledBy
    from artcafe_proto.timers import Timers

_NO_CONNECTION: Final = -1
_CLOSING: Final = LinkState.CLOSING  # once: CPython 3.11 takes ten times as long for a member as for a name


class Messaging:
    """The current link, if there is one, and what goes over it."""

    __slots__ = (
        "_ages",
        "_config",
        "_forgotten_with",
        "_given_back",
        "_ids",
        "_outputs",
        "_timers",
        "declared",
        "desk",
        "journal",
        "link",
        "metrics",
        "region",
    )

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        rng: Random,
        settled_by: SettledBy,
        journal: Journal | None,
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._timers = timers
        self.region: Final = Region(LINK)
        """Moved by the joint rules."""
        self._ids = MessageIds(rng)
        self._ages = LinkAges()
        self.desk: Final = CommandDesk(config, outputs, self._ids, settled_by, journal)
        self.journal: Final = journal
        self._given_back: dict[str, tuple[int, bytes]] = {}
        """Replies of a drain by command, each with its connection, while the journal has not forgotten the command."""
        self._forgotten_with = 0  # the batch that they wait for
        self.link: AgentLink | None = None
        """There exactly while the region is UP, DRAINING or CLOSING."""
        self.declared: DeclaredStatus = "online"
        self.metrics: tuple[float, float] = (0.0, 0.0)
        """CPU in percent of all cores, and resident MiB (HB-2)."""

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> AgentStatus:
        """What heartbeats say (STAT-1)."""
        return outranking(self.declared, full=self.desk.is_full)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Ids of commands whose final response is not settled, or that the journal has not forgotten (CMD-8)."""
        return (*self.desk.unsettled, *self._given_back)

    def link_on(self, conn: int) -> AgentLink | None:
        """The link, if it is on `conn`."""
        link = self.link
        return link if link is not None and conn == link.conn else None

    def open_link(self, conn: int) -> AgentLink | None:
        """The link, if it is on `conn` and takes messages: nothing follows a close frame."""
        return None if self.region.state is _CLOSING else self.link_on(conn)

    # --- a link's life ------------------------------------------------------------------------------------------------

    def begin(self, conn: int, now: Instant) -> None:
        """A link is up, and its first heartbeat goes out (HB-1)."""
        has_ponged = self.desk.outbox.has_ponged
        self.link = AgentLink(conn, self._config, self._outputs, self._ids, now.mono, answers_pings=has_ponged)
        self._beat(self.link, now)

    def sign_off(self, link: AgentLink, now: Instant) -> None:
        """Say goodbye; nothing follows a close frame (STAT-3, RFC 6455 section 5.5.1)."""
        link.sign_off(now)
        self._timers.cancel(*LINK_TIMERS)
        deadline = now.mono + self._config.close_timeout
        self._timers.set(AgentTimer.CLOSE, deadline)
        self._outputs.events.append(LinkClosing(1000, "the agent stops", "STAT-3", deadline))

    def close(self, link: AgentLink, code: int, failure: Failure) -> Failure:
        """Fail the link with a close frame (RFC 6455 section 7.1.7)."""
        if self.region.state is not _CLOSING:
            link.close(code, failure.reason)
        self._outputs.disconnects.append(Disconnect(link.conn, abort=False))
        return failure

    def abort(self, link: AgentLink, failure: Failure) -> Failure:
        """Fail a link over which nothing more can be said."""
        self._outputs.disconnects.append(Disconnect(link.conn, abort=True))
        return failure

    def age(self, link: AgentLink, failure: Failure, now: Instant) -> tuple[float, str]:
        """How long a link that ends now was up, in seconds, and what it may have ended of (LINK-3)."""
        up_for_s = now.mono - link.up_at
        silent_s = link.liveness.silence_s(now.mono) if failure.close_code == 1006 else None
        return up_for_s, self._ages.ended(up_for_s, silent_s)

    def drop(self) -> None:
        """There is no link any more."""
        self.link = None
        self._timers.cancel(*LINK_TIMERS)

    def link_lost(self, failure: Failure, now: Instant) -> None:
        """What was sent on a link that failed is to be sent again, but for what it ended of (CMD-3, CMD-11)."""
        poison = self.desk.outbox.link_lost(now.mono, close_code=failure.close_code)
        if poison is not None:
            self.desk.replace_poison(poison, now)

    # --- from the application -----------------------------------------------------------------------------------------

    def offer_progress(self, running: Accepted, percent: float) -> bool:
        """A command is this far (STAT-4). False without a link."""
        link = self.link
        if link is None:
            return False
        running.has_progress = True
        link.offer_progress(running.command_id, percent, self.status)
        return True

    def forget_progress(self, command_id: str) -> None:
        """A command is over."""
        if self.link is not None:
            self.link.forget_progress(command_id)

    def encode_message(self, data: object) -> msgspec.Raw:
        """Data for `message`. Raises LocalProtocolError if it is no JSON object, or there is no place for it."""
        raw = encode_object(data, "data")
        size_bytes, limit = len(bytes(raw)) + _MESSAGE_ENVELOPE_BYTES, self._config.max_message_size
        if size_bytes > limit:
            raise LocalProtocolError(f"the message has {size_bytes} bytes, at most {limit} are allowed")
        if self.journal is not None and self.journal.refuses:
            raise OutboxFullError(f"{STALLS}: no messages are taken until `StoreRecovered` [CMD-1]")
        if not self.desk.outbox.takes_message(size_bytes):
            size = f"{self.desk.outbox.messages} messages of {self.desk.outbox.message_bytes} bytes in all"
            raise OutboxFullError(f"{size} are not settled: no more are taken until `MessageSettled` [CMD-3]")
        return raw

    def message(self, raw: msgspec.Raw, now: Instant) -> str:
        """Queue an application message; returns its id."""
        message_id = self._ids.new("message")
        item = Item(message_id, encode("message", message_id, raw, now.wall))
        self.desk.outbox.put(item, None if self.journal is None else self.journal.message(item))
        return message_id

    # --- from the platform --------------------------------------------------------------------------------------------

    def text_received(self, link: AgentLink, payload: bytes, now: Instant) -> Failure | None:
        """One whole TEXT message."""
        message = decode_sound_command(payload)
        if message is None:
            return self._other_received(link, payload, now)
        link.bad_in_a_row = 0  # most are sound commands
        reply = self.desk.receive(message.id, message.data, len(payload), now)
        if reply is not None:
            self._reply(link, message.id, reply, now)
        return None

    def _other_received(self, link: AgentLink, payload: bytes, now: Instant) -> Failure | None:
        try:
            envelope = decode_envelope(payload, HEARD_BY_AGENTS)
        except RemoteProtocolError as error:
            command_id = read_command_id(payload)
            if command_id is None:
                return self._bad_message(link, error, len(payload), now)
            link.bad_in_a_row = 0
            reply = self.desk.receive_damaged(command_id, error, now)
        else:
            link.bad_in_a_row = 0
            command_id, reply = envelope.id, self._take_in(envelope, len(payload), now)
        if reply is not None:
            self._reply(link, command_id, reply, now)
        return None

    def _take_in(self, envelope: Envelope, size: int, now: Instant) -> bytes | None:
        """A message of `size` bytes whose envelope is sound; gives what is to be said to it at once."""
        if envelope.type == "command":
            return self.desk.receive_raw(envelope.id, envelope.data, size, now)
        if envelope.type == "message":
            self._outputs.events.append(MessageReceived(envelope.id, envelope.data.copy()))  # not all of the message
        else:
            self._outputs.events.append(UnknownReceived(envelope.type, envelope.id, envelope.data))
        return None

    def _bad_message(self, link: AgentLink, error: RemoteProtocolError, size: int, now: Instant) -> Failure | None:
        self._outputs.events.append(PeerViolation(error.reason, error.clause))
        too_many = link.bad_message(size, now.mono)
        return self.close(link, 1008, Failure(FailureKind.OTHER, too_many, "MSG-5")) if too_many else None

    def pong_received(self, link: AgentLink, payload: bytes, now: Instant) -> bool:
        """A pong; whether it answers a ping (LINK-7), and so settles what was sent before that (CMD-3)."""
        if not link.liveness.pong(payload, now.mono):
            return False
        self.desk.settle(self.desk.outbox.ponged(link.liveness.answered), now)
        return True

    def acked(self, conn: int, message_id: str, now: Instant) -> None:
        """The transport knows that a message was read; on another link than this it would go out again."""
        if self.link_on(conn) is not None:
            self.desk.settle(self.desk.outbox.acked(message_id), now)

    def give_back(self, replies: dict[str, bytes], now: Instant) -> None:
        """Tell the platform what was not started, by command; without a link it finds out by itself on the next
        (CMD-9). A journal must have forgotten that first (CMD-8).
        """
        link = self.link
        if self.journal is not None:
            conn = _NO_CONNECTION if link is None else link.conn
            self._given_back = {command_id: (conn, reply) for command_id, reply in replies.items()}
            self._forgotten_with = self.journal.keeping.barrier
        elif link is not None:
            for reply in replies.values():
                link.reply(reply, now.mono)

    def _reply(self, link: AgentLink, command_id: str, reply: bytes, now: Instant) -> None:
        """Answer a command at once; one that was given back comes again when another link opens during the drain."""
        if command_id in self._given_back:
            self._given_back[command_id] = (link.conn, reply)
        else:
            link.reply(reply, now.mono)

    # --- the journal --------------------------------------------------------------------------------------------------

    def persisted(self, batch: int, now: Instant) -> None:
        """A batch is stored: what waited for it goes on."""
        if self.journal is None or not self.journal.persisted(batch, now.mono):
            return
        self.desk.stored_up_to(batch)
        if self._given_back and self._forgotten_with <= batch:
            given_back, self._given_back = self._given_back, {}
            for conn, reply in given_back.values():
                if (link := self.open_link(conn)) is not None:
                    link.reply(reply, now.mono)

    def persist_failed(self, batch: int, reason: PersistFailure, now: Instant) -> None:
        """A batch could not be stored."""
        if self.journal is not None:
            self.journal.persist_failed(batch, reason, now.mono)

    # --- what follows -------------------------------------------------------------------------------------------------

    def send_news(self, link: AgentLink, mono: float) -> bool:
        """Send what waits in the outbox and the ping that settles it, if there is room. Whether there was anything."""
        outbox = self.desk.outbox
        if not (link.outflow.has_room and outbox.has_news):
            return False
        link.send_all([item.payload for item in outbox.send(link.outflow.room, mono)])
        if outbox.is_uncovered:
            outbox.cover(link, mono)
        return True

    def report(self, now: Instant) -> None:
        """Tell the platform of a status that it does not know (STAT-2), and find out what is waited for."""
        link, timers = self.link, self._timers
        if link is not None and self.region.state is not _CLOSING:
            link.report(self.status, now)
            if link.outflow.awaits_report and timers.get(AgentTimer.GRANT) is None:
                timers.set(AgentTimer.GRANT, now.mono + GRANT_S)
            if timers.get(AgentTimer.PING) is None:
                timers.arm(AgentTimer.PING, link.liveness.deadline)
            timers.arm(AgentTimer.STALL, link.stall_deadline)
            timers.arm(AgentTimer.STATUS, link.status_deadline)
            timers.arm(AgentTimer.SETTLE, self.desk.outbox.deadline(self._config.ping_timeout))
        timers.arm(AgentTimer.COMMANDS, self.desk.deadline)

    def put_off_look(self) -> None:
        """What was received puts off the look at liveness, which else would take its turn before other timers."""
        if self.link is not None and self._timers.get(AgentTimer.PING) is not None:
            self._timers.arm(AgentTimer.PING, self.link.liveness.deadline)

    def timer_due(self, link: AgentLink, timer: AgentTimer, now: Instant) -> Failure | None:
        """A deadline of the link's has passed."""
        match timer:
            case AgentTimer.HEARTBEAT:
                self._beat(link, now)
            case AgentTimer.PING:
                return self._check_liveness(link, now)
            case AgentTimer.STALL:
                return self.abort(link, Failure(FailureKind.OTHER, "writing stalled", "LINK-8"))
            case AgentTimer.CLOSE:
                reason = "the closing handshake was not answered"
                return self.abort(link, Failure(FailureKind.OTHER, reason, "LINK-8"))
            case AgentTimer.SETTLE:
                self.desk.settle_without_pong(link, now)
            case _:  # GRANT
                link.grant(now.mono)
        return None

    def _beat(self, link: AgentLink, now: Instant) -> None:
        link.beat(self.status, *self.metrics, now)
        self._timers.set(AgentTimer.HEARTBEAT, link.heartbeat_at)

    def _check_liveness(self, link: AgentLink, now: Instant) -> Failure | None:
        verdict = link.liveness.verdict(now.mono)
        if verdict is Verdict.PING:
            link.ping(now.mono)
        elif verdict is Verdict.LOST:
            return self.abort(link, Failure(FailureKind.OTHER, link.liveness.explain(now.mono), "LINK-7"))
        return None


_MESSAGE_ENVELOPE_BYTES: Final = len(encode("message", f"msg-{0:032x}", msgspec.Raw(), 0.0))
